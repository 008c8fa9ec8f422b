//go:build linux

// Users measures the user manager alone, and prints what it found as a line of JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/users"
)

func main() {
	var s users.Settings
	flag.IntVar(&s.Users, "users", 1000, "users who are online")
	flag.IntVar(&s.Pairs, "pairs", 15, "pairs of runs that are compared")
	flag.DurationVar(&s.HeartbeatInterval, "interval", time.Second, "how often silence is looked for")
	flag.DurationVar(&s.HeartbeatTimeout, "timeout", 30*time.Second, "how long a user may be silent")
	flag.DurationVar(&s.HeartbeatFor, "heartbeat", 0, "how long to measure the heartbeat; 0 for not at all")
	flag.Parse()
	f, err := users.Measure(s)
	if err != nil {
		fmt.Println("users:", err)
		os.Exit(1)
	}
	b, err := json.Marshal(f)
	if err != nil {
		fmt.Println("users:", err)
		os.Exit(1)
	}
	fmt.Println("figures", string(b))
}
