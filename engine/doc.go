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
// reads from the connection's socket and writes to it. The exception is a connection that was given to ServeConn: one goroutine reads
// from it and another writes to it, and its loop does the rest (socket_feed.go). Handlers run on the loop too, or on the pool of
// Config.Workers (workers.go).
//
// Other goroutines post tasks to a loop and wake it with a byte on a socket pair. To the loop that byte is one more input. When its
// turn comes the loop runs posted tasks, up to a limit on tasks, connections and bytes; what is left waits for another byte. So tasks
// do not keep input waiting for long, nor input tasks.
//
// The engine, not gnet, keeps the bytes that do not fit into a socket's send buffer (backlog.go), so that every goroutine can see how
// many wait. On Linux one goroutine is notified when such sockets have room again (writable_linux.go).
//
// # Locks
//
// Every lock but the memory budget's is held briefly. No lock is held during a call of a handler, of an Admission or of a shared
// codec's Decode, nor during a write to a connection. A codec made by Listener.NewCodec is used under its connection's lock. A
// goroutine that takes one lock while it holds another follows one of these lines, from left to right; it may leave locks out:
//
//   - memory budget (memory_budget.go), mailbox (workers.go), connection, then loop or list of drop reports
//   - arrival, gate (addr_limits.go)
//   - handshakes (handshake_limits.go), handshakeConn (tls_handshake.go)
//
// The memory budget's lock is held while all connections are looked at. A sender that must wait for it holds no other lock. Under a
// connection's lock that of its feedSocket may be taken, and under any lock those of internal/clock.
//
// The locks of the shards of the connection table (conn_table.go) and of a loop's list of connections (roster.go) are held together
// with no other lock of the engine.
package engine
