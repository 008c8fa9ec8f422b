// Package engine is a TCP server for framed messages: it accepts connections, cuts their bytes into messages, calls handlers and
// sends. It is built on gnet and exposes none of gnet's types. It knows no users; package bridge joins it to a user manager.
//
//	e, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: ":9000"}}})
//	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
//		return c.Reply(m, m.Body) // m and its body are valid until the handler returns
//	})
//	e.Handle(2, engine.Async(func(c *engine.Conn, m *protocol.Message) error {
//		return c.Reply(m, compute(m.Body)) // may block: it runs on a goroutine of its own, with a copy
//	}))
//	err = e.Run(ctx)
//
// With Config.Workers all handlers may block and may keep their messages: see Handler. docs/guide.md introduces the engine together
// with the other parts; docs/recipes.md has programs, among them rooms, slow handlers and load balancers.
//
// # Goroutines
//
// A few goroutines accept connections (accept.go). Each connection is given to one event loop (loop.go) and stays there. The loop
// does all reading from and writing to the connection's socket. Handlers run on the loop too, or on the pool of Config.Workers
// (workers.go). Other goroutines post tasks to a loop. A byte on the loop's socket pair wakes it, so that tasks and input take turns;
// each turn has a limit on tasks, connections and bytes.
//
// The engine itself keeps the bytes that a socket does not take (backlog.go), so that every goroutine can see how many wait. One
// goroutine is notified when such sockets can be written to again (writable_linux.go). A connection that was given to ServeConn has
// two goroutines, one that reads and one that writes; its loop does the rest (socket_feed.go).
//
// # Locks
//
// Every lock is held for a few instructions. None is held while a handler, an Admission, the Decode of a shared codec, or a write to
// a connection runs. A codec made by Listener.NewCodec is used under its connection's lock. Locks are taken in this order:
//
//   - the memory budget's (memory_budget.go); senders wait for it
//   - a mailbox's, then a connection's, then a loop's or that of the list of drop reports
//   - an arrival's, then the gate's (addr_limits.go)
//   - that of the handshakes (handshake_limits.go), then a handshakeConn's (tls_handshake.go)
//
// A shard of the table of connections and the roster of a loop are taken alone.
package engine
