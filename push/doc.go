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
// A user with messages that wait for an acknowledgement has an outbox (outbox.go). Messages to that user go through the outbox one at
// a time, so that older messages leave first. If no other goroutine is sending through the outbox, the caller sends its message
// itself, and holds no lock while it sends. Otherwise the message is queued, and one goroutine for this user sends the queued messages
// (turn.go). Push waits until its message has been sent; Go does not.
//
// The functions given to [Service.Go] run on one goroutine, which lives while there are results to report (news.go). A pusher has a
// goroutine while messages of [Service.Go] wait for it (pusher.go). One timer ends the deliveries that have waited too long
// (deadlines.go). Another timer drops the cached list of receivers of [ToEveryone] when it is outdated or unused (audience.go).
// [Service.Close] stops the timers and waits for the goroutines.
//
// # Locks
//
// Locks are taken in this order: a shard of the outboxes (outboxes.go); an outbox (outbox.go) or the queue of a pusher (pusher.go); a
// call (call.go); the deadlines (deadlines.go) or the news (news.go). All other locks are taken alone. Of other packages'
// functions that take a lock, code that holds an outbox's lock calls only engine.Conn.Context. No lock is held while a message is sent or a
// function of the application runs.
package push
