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
// # WebSocket
//
// With an address such as "wss://example.com/rollcall" the client speaks WebSocket (RFC 6455), for servers behind HTTP proxies and in
// networks where nothing else passes. All else stays the same. It offers the subprotocol rollcall.v1 and no extension, follows no
// redirection, and uses no HTTP proxy of its own.
//
// Where the HTTP server refuses, the error has a *protocol.CloseError with the status and the first line of the text:
//
//   - TooManyConnections after 503 and 429; Retry-After in seconds is its retry-ms;
//   - Unauthorized after 401 and 403, and InvalidMessage after all other statuses of 4xx but 408: the client does not try again;
//   - NetworkError after any other status, such as 502 of a proxy or a page that a hotel's network shows: the client tries the next
//     address, and reconnects.
//
// An answer that is not one of HTTP, or begins no WebSocket with this client, is InvalidMessage.
//
// Why a connection has ended is what the server's Close of the Rollcall protocol says. Where only the Close of WebSocket comes, perhaps from a
// proxy, the code and text are those of its reason if that is as a Rollcall server writes it, "2002 KickedOut: text". Otherwise the
// reason is the text, and the code follows from that of WebSocket: ServerStopping from 1001 and 1012, InvalidMessage from 1002, 1003, 1007 and
// 1010, KickedOut from 1008, MessageTooLarge from 1009, InternalError from 1011, TooManyConnections from 1013; 3000 to 4999 are the application's
// own; all others are NetworkError.
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
