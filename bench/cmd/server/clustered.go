//go:build linux

package main

import (
	"context"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
)

// rollcallClustered echoes as the only node of a cluster, whose store is in this process: what it adds to the message path is the look
// at the node's lease.
func rollcallClustered(o options) error {
	var cfg rollcall.Config
	joined := func(*rollcallServer) error { return nil }
	if !o.alone {
		node, err := cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh(), Lease: 2 * time.Second})
		if err != nil {
			return err
		}
		cfg.Users.Claims, cfg.Bridge.Elsewhere = node, node
		joined = func(*rollcallServer) error {
			ended := make(chan error, 1)
			go func() { ended <- node.Run(context.Background()) }()
			if err := node.Joined(context.Background()); err != nil {
				return err
			}
			go func() { mustSend(<-ended) }()
			return nil
		}
	}
	if _, err := newRollcallWith(o, cfg, joined); err != nil {
		return err
	}
	select {}
}
