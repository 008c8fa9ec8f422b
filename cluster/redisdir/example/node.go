package main

import (
	"context"
	"fmt"
	"os"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// run serves until ctx ends.
func (n *nodeConfig) run(ctx context.Context) error {
	cfg, end, err := n.store.open(ctx)
	if err != nil {
		return err
	}
	defer end()
	node, err := cluster.New(cfg)
	if err != nil {
		return err
	}
	n.users.Claims, n.bridge.Elsewhere = node, node
	srv, err := rollcall.New(rollcall.Config{Engine: n.engine, Users: n.users, Bridge: n.bridge, Authenticate: n.auth})
	if err != nil {
		return err
	}
	srv.Users.Subscribe(eventPrinter(n.events, n.store.node))
	srv.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	handleQueries(srv, node)

	// The node leaves the cluster when all sessions have ended: so it has a context of its own. If it cannot join, the server stops.
	serving, stop := context.WithCancel(ctx)
	defer stop()
	joined, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	left := make(chan error, 1)
	go func() {
		defer stop()
		left <- node.Run(joined)
	}()
	if err := node.Joined(serving); err == nil { // clients would be refused before
		if err := srv.Listen(); err != nil {
			return err
		}
		for _, addr := range srv.Addrs() {
			fmt.Fprintln(os.Stderr, "listening on", addr)
		}
		if err := srv.Run(serving); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "stopped:", srv.Stats().Stop)
	}
	leave()
	return <-left
}
