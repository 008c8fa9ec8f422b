//go:build linux

package main

import (
	"fmt"
	"os"
	"sync"

	"github.com/rollcall-go/rollcall/bench/internal/minimal"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// newMinimal returns a server of package minimal whose handler answers every message with its body, as that of examples/echo.
func newMinimal(o options, onUser func(*minimal.Conn)) *minimal.Server {
	s := minimal.New(o.addr, o.loops, func() { listening(o.addr) }, onUser)
	s.HandleDefault(func(c *minimal.Conn, m *minimal.Message) { _ = c.Reply(m, m.Body) })
	return s
}

func minimalEcho(o options) error { return newMinimal(o, nil).Run() }

func minimalPush(o options) error {
	_, conns := awaitMinimal(o)
	body := make([]byte, o.size-wire.Rollcall.HeaderLen())
	return roundRobin(o.conns, func(i int) { mustSend(conns[i].Send(wire.MessageType, body)) }).obey()
}

func minimalBroadcast(o options) error {
	s, conns := awaitMinimal(o)
	body := make([]byte, o.size-wire.Rollcall.HeaderLen())
	return toAll(o.conns, func() { s.Broadcast(conns, wire.MessageType, body) }).obey()
}

// awaitMinimal runs a server, and returns it when all expected connections are open.
func awaitMinimal(o options) (*minimal.Server, []*minimal.Conn) {
	var (
		mu      sync.Mutex
		conns   []*minimal.Conn
		arrived = make(chan struct{})
	)
	s := newMinimal(o, func(c *minimal.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, c)
		if len(conns) == o.conns {
			close(arrived)
		}
	})
	go func() {
		fmt.Fprintln(os.Stderr, "server:", s.Run())
		os.Exit(1)
	}()
	<-arrived
	return s, conns
}
