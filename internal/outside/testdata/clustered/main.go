// Clustered is a node of a cluster. Of this repository it requires the main module and cluster/redisdir. Without a server's address its
// store is in memory.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func main() {
	cfg := cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh(), Name: "a"}
	if len(os.Args) > 1 {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: os.Args[1:]})
		if err != nil {
			log.Fatal(err)
		}
		if cfg.Directory, err = redisdir.New(context.Background(), client, redisdir.Config{}); err != nil {
			log.Fatal(err)
		}
		cfg.Mesh = redisdir.NewMesh(client, redisdir.MeshConfig{})
	}
	node, err := cluster.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	users, err := usermgr.New(usermgr.Config{Claims: node})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(node.Run(context.Background())) }()
	if err := node.Joined(context.Background()); err != nil {
		log.Fatal(err)
	}
	if _, err := users.Register(context.Background(), usermgr.Logon{UserID: "ann"}, link{}); err != nil {
		log.Fatal(err)
	}
	places, err := node.Where(context.Background(), "ann")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ann is at", places[0].Node)
}

// link is a connection that is not there.
type link struct{}

func (link) Address() usermgr.Address { return usermgr.Address{Conn: 1} }
func (link) Quiesce(done func())      { done() }

func (link) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(0)
	}
}
