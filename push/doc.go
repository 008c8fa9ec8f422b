// Package push sends messages to users and reports which sessions have got them: to one user, to many, to everyone, or to the
// sessions that a filter selects. A message can wait for a user who is away.
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
// one message at a time, so that older messages leave first. This turn is not a lock: a caller who finds it free runs what is queued;
// what comes meanwhile is left to a goroutine, one for each contended user.
//
// The functions given to [Service.Go] run on one goroutine, which lives while there are results to report (news.go). A pusher has
// a goroutine while messages of Go wait for it (pusher.go). One timer ends what has waited too long (deadlines.go); another forgets
// who got the pushes to everyone (audience.go). [Service.Close] waits for all of these.
//
// # Locks
//
// Locks are taken in this order: a shard of the outboxes; an outbox; then one of: a call's, that of the total of kept bytes, the
// deadlines', the news'. While an outbox's lock is held, the only call outside is for a connection's context. No lock is held while a
// message is sent or a function of the application runs.
package push
