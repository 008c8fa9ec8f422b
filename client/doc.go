// Package client is the Go client of Rollcall. It logs on, sends heartbeats, sends and answers messages, and reconnects when the
// connection is lost, unless the server's close code forbids it.
//
//	c, err := client.Dial(ctx, "localhost:9000", client.Config{
//		UserID: "alice",
//		Handle: map[uint16]client.Handler{
//			chat: func(c *client.Client, m *protocol.Message) error {
//				fmt.Printf("%s: %s\n", m.UserID, m.Body)
//				return nil
//			},
//		},
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer c.Close()
//	err = c.SendTo("bob", chat, []byte("hello"))
//
// Handlers run one at a time and may block. They may call any method of the client, Request and Close included.
//
// # Goroutines and locks
//
// A client has three goroutines. One reads, and makes new connections (reconnect.go). One writes queued messages and heartbeats
// (write.go). One runs the application's functions in order: handlers, OnPush and OnState (inbox.go). While a session has an expiry
// time, a fourth goroutine renews it (renew.go). Replies are read while a handler waits, which is why a handler may call Request.
//
// There is one lock per Client, one per connection (type conn), and one per inbox. A goroutine holds no lock while it takes another,
// runs a handler, or reads from the network or writes to it.
package client
