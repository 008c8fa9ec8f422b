package redisdir_test

import (
	"context"
	"log"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A node whose cluster has its store on a Redis server.
func Example() {
	ctx := context.Background()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"redis:6379"}})
	if err != nil {
		log.Fatal(err)
	}
	store, err := redisdir.New(ctx, client, redisdir.Config{})
	if err != nil {
		log.Fatal(err) // it says what to change on the server
	}
	mesh := redisdir.NewMesh(client, redisdir.MeshConfig{})
	defer mesh.Close()
	node, err := cluster.New(cluster.Config{Directory: store, Mesh: mesh, Name: "gate-1"})
	if err != nil {
		log.Fatal(err)
	}
	srv, err := rollcall.New(rollcall.Config{
		Addr: ":9000", Users: usermgr.Config{Claims: node}, Bridge: bridge.Config{Elsewhere: node},
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Print(srv.Run(ctx)) }()
	if err := node.Run(ctx); err != nil { // until ctx ends
		log.Fatal(err)
	}
}
