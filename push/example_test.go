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

// A push to two users, one of whom is online and confirms it.
func Example() {
	users := usermgr.New(usermgr.Config{})
	srv := engine.New(engine.Config{Addr: "127.0.0.1:0"})
	b := bridge.Attach(srv, users, bridge.Config{})
	service := push.New()
	service.Register("engine", push.NewEngine(b)) // before the engine runs

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

	m := push.Text("lunch is ready")
	m.Confirm = true
	result := service.Push(ctx, push.ToUsers("alice", "bob"), m)
	for _, d := range result.Outcomes[0].Deliveries {
		fmt.Println(d.UserID, "has confirmed:", d.Confirmed, "error:", d.Err)
	}

	_ = alice.Close()
	stop()
	<-ended
	_ = users.Close(context.Background())
	// Output:
	// alice reads: lunch is ready
	// alice has confirmed: 1 error: <nil>
	// bob has confirmed: 0 error: rollcall: UserOffline: the user is offline
}
