// Package chatclient is the client's side of package chat. It sends messages until they are stored, and hands out every message of the user's
// conversations once and in order, whatever happens to the connection.
//
//	c, err := chatclient.Dial(ctx, "localhost:9000", client.Config{UserID: "alice"}, chatclient.Config{
//		OnMessage: func(c *chatclient.Client, m *chatclient.Message) {
//			fmt.Printf("%s %d: %s: %s\n", m.Conversation, m.Seq, m.From, m.Content)
//		},
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer c.Close()
//	_, err = c.Send(ctx, chatclient.ToUser("bob"), 1, []byte("hello"), chatclient.SendOptions{})
//
// # Goroutines and locks
//
// A Client has the goroutines of its client.Client, and one more, the worker (worker.go). The worker calls the functions of Config, one at a time,
// and alone knows the state of the conversations (talk.go). Others put tasks into its mail (mail.go). The worker never waits for the network:
// its requests run on goroutines of their own, a few at a time, which put the answers into the mail. When it ends it waits for them.
//
// There is one lock in the mail, and one in Client for what methods read. No goroutine holds one of them while it takes another, calls the
// program, or uses the connection.
package chatclient
