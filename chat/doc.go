// Package chat adds friends, groups, and messages that are stored before they are delivered to a server of Rollcall.
//
//	messages, err := chat.New(b, chat.Config{Store: store}) // b is the bridge; before the engine runs; package presence comes with it
//	...
//	err = messages.Close(ctx) // after Run; what was accepted is stored and answered
//
// The store is [NewMemory] for tests, or SQLite or PostgreSQL of module chat/sqlstore. Clients use messages of the types
// [protocol.TypeContacts], [protocol.TypeGroup] and [protocol.TypeChat]: package chat/chatclient speaks them, docs/chat.md has them, and rules P29
// to P44 of docs/contract.md have what is promised. The program acts by the methods of [Service], with [Server] as its ID, or for a user.
//
// # Where to look
//
// A client's request is read on an event loop (request.go) and runs on the user's lane (lanes.go). Who may do what is decided by pure functions
// (policy.go, contact_change.go, group_change.go), which the [Store] calls inside its transactions. What has an order in a conversation, its
// messages, recalls and changes of the group, goes to the conversation's writer (writer.go), which stores it in batches; the writer's
// deliverer (deliver.go, changed.go) answers and delivers in that order. Who is in a group comes from the store, by version (roster.go).
//
// # Goroutines and locks
//
// Each user with requests has a goroutine, and each writer two. They end when [Service.Close] has been called and all is answered.
// lanes, rosters, newcomers, quotas and each writer's queue have a lock of their own, which is held for a few instructions, with no
// other lock, and never while the store, a handler or a connection is called.
package chat
