// Chat is a chat server, and a client for the terminal:
//
//	go run ./examples/chat server
//	go run ./examples/chat client -user alice
//	go run ./examples/chat client -user alice -device phone
//
// It shows users with several devices, messages that the server relays, pushes, lists of users in pages, and kicks.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The application's message types. Type say goes from user to user without the server's doing, and to everyone through
// its handler; the others are requests, whose bodies are JSON.
const (
	say     = 1
	who     = 2
	devices = 3
	kick    = 4
)

// The bodies of the requests and of their replies.
type (
	whoRequest struct {
		Next string `json:"next,omitempty"` // from the page before
	}
	whoReply struct {
		Users  []string `json:"users"`
		Online int      `json:"online"`
		Next   string   `json:"next,omitempty"` // empty on the last page
	}
	devicesReply struct {
		Devices []string `json:"devices"`
	}
	kickRequest struct {
		User   string `json:"user"`
		Reason string `json:"reason"`
	}
	kickReply struct {
		Sessions []string `json:"sessions"` // what became of each
	}
	nothing struct{}
)

// deviceNames are the device classes of this application. 0 is for who does not say.
var deviceNames = map[string]uint16{"other": 0, "phone": 1, "desktop": 2, "tablet": 3}

func deviceName(device uint16) string {
	for name, d := range deviceNames {
		if d == device {
			return name
		}
	}
	return fmt.Sprintf("device %d", device)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch what := append(os.Args, "")[1]; what {
	case "server":
		err = server(ctx, os.Args[2:])
	case "client":
		err = terminal(ctx, os.Args[2:], os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("usage: chat server [-listen :9000], or chat client -user alice [-device phone] [-server localhost:9000]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
