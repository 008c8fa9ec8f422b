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
	ways := flag.Bool("mesh", false, "measure the ways between two nodes instead")
	flag.Parse()
	var f any
	var err error
	if *ways {
		f, err = nodes.MeasureMesh(s)
	} else {
		f, err = nodes.Measure(s)
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
