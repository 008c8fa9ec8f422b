//go:build linux

// Nodes measures what a cluster's store adds to logons, or the ways between nodes, and prints what it found as a line of JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/nodes"
)

func main() {
	var s nodes.Settings
	flag.StringVar(&s.Redis, "redis", "", "the address of an empty redis-server")
	flag.IntVar(&s.Nodes, "nodes", 2, "nodes of the cluster")
	flag.IntVar(&s.Users, "users", 1_000_000, "users who are online when their bytes are counted")
	flag.DurationVar(&s.For, "for", 5*time.Second, "how long each measurement takes")
	what := flag.String("what", "store", "what to measure: store, mesh (the ways between two nodes), relay (requests from user to user), bytes (of a user in the store), or pages (of all users)")
	flag.IntVar(&s.Sessions, "sessions", 1, "of bytes: sessions of each user")
	flag.BoolVar(&s.Token, "token", false, "of bytes: each logon has a token")
	flag.IntVar(&s.IDSize, "id", 13, "of bytes: bytes of a user's ID")
	flag.Parse()
	var f any
	var err error
	switch *what {
	case "store":
		f, err = nodes.Measure(s)
	case "mesh":
		f, err = nodes.MeasureMesh(s)
	case "relay":
		f, err = nodes.MeasureRelay(s)
	case "bytes":
		f, err = nodes.MeasureBytes(s)
	case "pages":
		f, err = nodes.MeasurePages(s)
	default:
		err = fmt.Errorf("-what %q: it is store, mesh, relay, bytes or pages", *what)
	}
	if err != nil {
		fmt.Println("nodes:", err)
		os.Exit(1)
	}
	b, err := json.Marshal(f)
	if err != nil {
		fmt.Println("nodes:", err)
		os.Exit(1)
	}
	fmt.Println("figures", string(b))
}
