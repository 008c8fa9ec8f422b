package presence_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/presence"
)

// team is an application's Contacts: a list of users who all see one another.
type team []string

func (t team) Watchers(_ context.Context, userID string) ([]string, error) {
	return slices.DeleteFunc(slices.Clone(t), func(id string) bool { return id == userID }), nil
}

func (t team) Watched(ctx context.Context, userID string) ([]string, error) {
	return t.Watchers(ctx, userID)
}

func (t team) MaySee(_ context.Context, _ string, about []string) (see, blocked []string, err error) {
	return slices.DeleteFunc(slices.Clone(about), func(id string) bool { return !slices.Contains(t, id) }), nil, nil
}

func Example() {
	srv, err := rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	changes := make(chan presence.Change, 10)
	states := presence.New(srv.Bridge, presence.Config{
		Contacts: team{"ann", "bob"},
		Interval: -1, // each change is told at once
		Changed:  func(c presence.Change) { changes <- c },
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()

	bob, err := client.Dial(ctx, srv.Addrs()[0].String(), client.Config{UserID: "bob", Fields: map[string]string{"presence": "busy"}})
	if err != nil {
		log.Fatal(err)
	}
	c := <-changes
	fmt.Println(c.UserID, "was", c.Old, "and is", c.New)
	seen, err := states.Get(ctx, "ann", "bob", "nobody")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range seen {
		fmt.Println("ann sees that", p.UserID, "is", p.State)
	}
	_ = bob.Close()
	c = <-changes
	fmt.Println(c.UserID, "was", c.Old, "and is", c.New)
	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	if err := states.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// bob was offline and is busy
	// ann sees that bob is busy
	// bob was busy and is offline
}
