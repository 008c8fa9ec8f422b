// Package server is the server of the chat example. It is one with any chat.Store: examples/chat has one in memory, chat/sqlstore/example
// one on SQLite or PostgreSQL.
package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Options are the flags of the server, and Beside.
type Options struct {
	Addr      string
	Events    bool
	Grace     time.Duration
	Strangers bool

	// Beside, when set, runs beside the server. It returns soon after ctx has ended.
	Beside func(ctx context.Context, messages *chat.Service)
}

// Flags declares the flags.
func Flags(flags *flag.FlagSet) *Options {
	o := &Options{}
	flags.StringVar(&o.Addr, "addr", "127.0.0.1:9000", "TCP address to listen on")
	flags.BoolVar(&o.Events, "events", false, "print each event as a line of JSON")
	flags.DurationVar(&o.Grace, "grace", 2*time.Second, "how long a user may be gone before others are told")
	flags.BoolVar(&o.Strangers, "strangers", false, "let users write to users who are not their friends")
	return o
}

// Run serves until ctx ends. The caller closes the store.
func Run(ctx context.Context, o *Options, store chat.Store) error {
	srv, err := rollcall.New(rollcall.Config{
		Addr:  o.Addr,
		Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}, OfflineGrace: o.Grace},
	})
	if err != nil {
		return err
	}
	messages, err := chat.New(srv.Bridge, chat.Config{Store: store, Strangers: o.Strangers})
	if err != nil {
		return err
	}
	if o.Events {
		printEvents(srv.Users, messages)
	}

	if err := srv.Listen(); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "listening on", srv.Addrs()[0])
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	if o.Beside != nil {
		beside.Go(func() { o.Beside(ctx, messages) })
	}
	err = srv.Run(ctx)
	stop()
	beside.Wait()
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = errors.Join(err, messages.Close(closing)) // what was accepted is stored and answered
	fmt.Fprintln(os.Stderr, "stopped:", srv.Stats().Stop)
	return err
}
