package cluster_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/clustertest"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// link stands for a connection. In a program a bridge logs on the connections of an engine.
type link = clustertest.Link

// Two nodes, here in one program: a user who logs on at the second leaves the first.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	store, mesh := memory.New(), memory.NewMesh()

	start := func(name string) *usermgr.Manager {
		node, err := cluster.New(cluster.Config{Directory: store, Mesh: mesh, Name: name})
		if err != nil {
			log.Fatal(err)
		}
		users, err := usermgr.New(usermgr.Config{Claims: node})
		if err != nil {
			log.Fatal(err)
		}
		users.Subscribe(usermgr.Events{
			Connected: func(s usermgr.SessionInfo) { fmt.Println(name, "Connected", s.UserID) },
			PushedOut: func(s usermgr.SessionInfo, _ usermgr.Address) { fmt.Println(name, "PushedOut", s.UserID) },
			Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
				if why != protocol.ServerStopping {
					fmt.Println(name, "Disconnected", s.UserID, why)
				}
			},
		})
		go func() {
			if err := node.Run(ctx); err != nil {
				log.Fatal(err)
			}
		}()
		if err := node.Joined(ctx); err != nil {
			log.Fatal(err)
		}
		return users
	}
	a, b := start("a"), start("b")
	for i, users := range []*usermgr.Manager{a, b} {
		if _, err := users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(i+1)); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// a Connected ann
	// a PushedOut ann
	// a Disconnected ann PushedOut
	// b Connected ann
}
