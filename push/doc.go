// Package push sends messages to one user, to many, to everyone, or to the sessions that a filter selects, and reports which sessions
// have got them. A message can wait for a user who is away.
//
//	pushes := push.New(b) // b is the bridge; before the engine runs
//	result, err := pushes.Push(ctx, push.ToUsers("alice", "bob"), push.Text("lunch is ready"), nil)
//
// A [Service] delivers to the sessions on the bridge's engine, then hands the message to every registered [Pusher], such as one that
// writes to the push service of a mobile system. With [Options] clients acknowledge what they have handled, and messages wait for
// users who are away.
//
// # Goroutines
//
// A user with messages that wait for an acknowledgement has an outbox (outbox.go). What is sent to that user goes through the outbox
// one message at a time, so that older messages leave first. A caller sends its message itself, without a lock, unless another
// goroutine is sending through the same outbox. Then the message is queued, and one goroutine for this user sends what is queued
// (turn.go). Push waits until its message has been sent, Go does not.
//
// The functions given to [Service.Go] run on one goroutine, which lives while there are results to report (news.go). A pusher has
// a goroutine while messages of [Service.Go] wait for it (pusher.go). One timer ends what has waited too long (deadlines.go). Another
// drops the list of receivers that is kept from one push to everyone to the next, when it is out of date or not used any more
// (audience.go). [Service.Close] stops the timers and waits for the goroutines.
//
// # Locks
//
// Locks are taken in this order: a shard of the outboxes; an outbox, or the queue of a pusher; a call; the deadlines, or the news. All
// other locks are taken alone. Under an outbox's lock, engine.Conn.Context is the only function of the module's other packages that
// takes a lock. No lock is held while a message is sent or a function of the application runs.
package push
