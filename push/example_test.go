package push_test

import (
	"context"
	"fmt"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A push to two users. One is online and confirms it.
func Example() {
	users, err := usermgr.New(usermgr.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := bridge.Attach(srv, users, nil, bridge.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	pushes := push.New(b) // before the engine runs

	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- srv.Run(ctx) }()

	alice, err := client.Dial(ctx, srv.Addrs()[0].String(), client.Config{
		UserID: "alice",
		OnPush: func(_ *client.Client, p *protocol.PushMessage) { fmt.Printf("alice reads: %s\n", p.Content) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	result, err := pushes.Push(ctx, push.ToUsers("alice", "bob"), push.Text("lunch is ready"), &push.Options{Confirm: true})
	if err != nil {
		fmt.Println(err)
	}
	for _, d := range result.Deliveries {
		fmt.Println(d.UserID, "has confirmed:", d.Confirmed, "error:", d.Err)
	}

	_ = alice.Close()
	stop()
	<-ended
	_ = users.Close(context.Background())
	_ = pushes.Close(context.Background())
	// Output:
	// alice reads: lunch is ready
	// alice has confirmed: true error: <nil>
	// bob has confirmed: false error: rollcall: UserOffline: the user is offline
}
