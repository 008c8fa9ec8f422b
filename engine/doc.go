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
// A few goroutines accept connections (accept.go). Each connection is given to one event loop (loop.go) and stays with it. The loop
// reads from the connection's socket and writes to it. The exception is a connection that was given to ServeConn: one goroutine reads
// from it and another writes to it, and its loop does the rest (socket_feed.go). Handlers run on the loop too, or on the pool of
// Config.Workers (workers.go).
//
// Other goroutines post tasks to a loop and wake it with a byte on a socket pair. The loop treats the byte as input. When the loop
// reads it, the loop runs posted tasks, up to a limit on tasks, connections and bytes. The remaining tasks run when the next byte
// wakes the loop. So tasks do not delay input for long, and input does not delay tasks for long.
//
// The engine, not gnet, keeps the bytes that do not fit into a socket's send buffer (backlog.go), so that every goroutine can see how
// many wait. On Linux one goroutine is notified when such sockets have room again (writable_linux.go).
//
// # Locks
//
// Every lock except the memory budget's is held briefly. No lock is held during a call of a handler, of an Admission or of a shared
// codec's Decode, nor during a write to a connection. A codec made by Listener.NewCodec is used under its connection's lock. A
// goroutine that holds several locks at once has taken them in the order of one of these lists; it may skip some:
//
//   - memory budget (memory_budget.go), mailbox (workers.go), connection (conn.go), and then either loop (loop.go) or list of drop
//     reports (drop_report.go)
//   - arrival, gate (addr_limits.go)
//   - handshakes, handshakeConn (both in handshakes.go)
//
// A goroutine holds the memory budget's lock while it checks all connections. A sender that waits for this lock holds no other lock.
// A goroutine that holds a connection's lock may take the lock of the connection's feedSocket. Under any lock, a goroutine may take
// the locks of internal/clock.
//
// Neither of these locks is held together with another lock of the engine: the lock of a shard of the connection table (conn_table.go),
// and the lock of a loop's list of connections (roster.go).
package engine
