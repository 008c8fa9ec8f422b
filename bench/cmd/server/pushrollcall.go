//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// rollcallServer is Rollcall with all that examples/echo has: users, statistics, heartbeat, events.
type rollcallServer struct {
	engine *engine.Engine
	bridge *bridge.Bridge
	users  *usermgr.Manager
	push   *push.Service

	mu      sync.Mutex
	online  []string
	conns   []*engine.Conn
	arrived chan struct{} // closed when all expected users are online
}

// newRollcall returns a server that runs, and whose handlers answer every message with its body.
func newRollcall(o options) (*rollcallServer, error) {
	return newRollcallWith(o, rollcall.Config{}, func(*rollcallServer) error { return nil })
}

// newRollcallWith is newRollcall with further settings, and something that must be done before clients may come.
func newRollcallWith(o options, cfg rollcall.Config, before func(*rollcallServer) error) (*rollcallServer, error) {
	cfg.Engine.Loops, cfg.Users.HeartbeatTimeout = o.loops, 10*time.Minute
	at := engine.Listener{Addr: o.addr}
	if o.web {
		at.WebSocket = new(engine.WebSocket)
		o.addr = wire.Scheme + o.addr
	}
	cfg.Engine.Listeners = []engine.Listener{at}
	srv, err := rollcall.New(cfg)
	if err != nil {
		return nil, err
	}
	s := &rollcallServer{arrived: make(chan struct{}), users: srv.Users, engine: srv.Engine, bridge: srv.Bridge}
	s.users.Subscribe(usermgr.Events{
		Connected: func(i usermgr.SessionInfo) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.online = append(s.online, i.UserID)
			s.conns = append(s.conns, s.engine.Conn(i.Address.Conn))
			if len(s.conns) == o.conns {
				close(s.arrived)
			}
		},
		Disconnected: func(i usermgr.SessionInfo, why protocol.CloseCode) {},
	})
	s.push = push.New(s.bridge)
	s.engine.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	if err := before(s); err != nil {
		return nil, err
	}
	if err := s.engine.Listen(); err != nil {
		return nil, err
	}
	go func() {
		if err := s.engine.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
		}
		os.Exit(1)
	}()
	listening(o.addr)
	return s, nil
}

func rollcallPush(o options) error {
	s, err := newRollcall(o)
	if err != nil {
		return err
	}
	<-s.arrived
	body := make([]byte, o.size-layout.HeaderLen)
	sendTo := func(i int) { mustSend(s.conns[i].Send(wire.MessageType, body)) }
	if o.by == "user" {
		sendTo = func(i int) { mustSend(s.bridge.Send(s.online[i], wire.MessageType, body)) }
	}
	return roundRobin(o.conns, sendTo).obey()
}

func rollcallBroadcast(o options) error {
	s, err := newRollcall(o)
	if err != nil {
		return err
	}
	<-s.arrived
	if o.by == "service" {
		return toAll(o.conns, s.pushToEveryone(o.size)).obey()
	}
	body := make([]byte, o.size-layout.HeaderLen)
	return toAll(o.conns, func() { s.broadcast(wire.MessageType, body) }).obey()
}

// pushToEveryone returns a function that pushes one message, of size bytes on the wire, to everyone.
func (s *rollcallServer) pushToEveryone(size int) func() {
	body, err := system.AppendPush(nil, push.Binary(nil))
	mustSend(err)
	content := make([]byte, size-layout.HeaderLen-len(body))
	return func() {
		r, err := s.push.Push(context.Background(), push.ToEveryone(), push.Binary(content), nil)
		if n := r.Sessions(); n != len(s.conns) {
			mustSend(fmt.Errorf("a push went to %d of %d sessions: %w", n, len(s.conns), err))
		}
	}
}

// broadcast sends one message to everybody.
func (s *rollcallServer) broadcast(typ uint16, body []byte) {
	n, err := s.engine.Broadcast(slices.Values(s.conns), &protocol.Message{Type: typ, Body: body}, nil)
	if n != len(s.conns) {
		err = fmt.Errorf("a broadcast went to %d of %d connections: %w", n, len(s.conns), err)
	}
	mustSend(err)
}

// mustSend ends the process on an error, because a lost message would count as a fast one.
func mustSend(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "server: a message could not be sent:", err)
		os.Exit(1)
	}
}
