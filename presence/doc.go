// Package presence tells users who of their contacts is online, busy or gone.
//
//	states := presence.New(b, presence.Config{Contacts: friends}) // b is the bridge; before the engine runs
//	...
//	err := states.Close(ctx) // after the user manager's Close
//
// A user is Online, Busy or in Stealth, as the user chooses; to others a user without a session, or in Stealth, is Offline. [Contacts], which
// the application brings, says which users see each other, and [Store] keeps what users have chosen. Clients choose, watch and ask by
// messages of type [protocol.TypePresence]: docs/chat.md has them, and rules P19 to P28 of docs/contract.md have what is promised.
//
// Where the bridge's Elsewhere is a cluster.Node, users and watchers are those of all nodes: the services tell each other (elsewhere.go,
// abroad.go). All nodes need one Store.
//
// # Goroutines
//
// The handlers of the user manager's events, and of clients' requests, note what has changed, and return. One goroutine does the rest
// (inbox.go): it tells changes once an interval (tick.go), answers requests (requests.go, query.go), and knows who watches (watch.go). It
// never waits for code of the application: each call of a method of Contacts or Store has a goroutine of its own, and is given up at
// [Config].StoreTimeout (calls.go). [Config].Changed runs on one more goroutine (changes.go). [Service.Close] waits for all of them.
//
// # Locks
//
// The table of users (state.go) has a lock, and so have the inbox and the queue of changes. Each is held for a few instructions, but the
// table's for a pass over all users when another server dies or asks for the whole; under the table's lock only the inbox's and the queue's are
// taken. No lock is held while a connection is written to or code of the application runs.
package presence
