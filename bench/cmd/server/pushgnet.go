//go:build linux

package main

import (
	"sync"

	"github.com/panjf2000/gnet/v2"

	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// gnetPusher pushes as gnet's documentation says to write from other goroutines: one AsyncWrite a message. The frame is
// built once, so that only gnet is measured.
type gnetPusher struct {
	raw
	o       options
	mu      sync.Mutex
	conns   []gnet.Conn
	arrived chan struct{} // closed when all expected connections are open
}

func gnetPush(o options) error {
	s := &gnetPusher{raw: raw{addr: o.addr}, o: o, arrived: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- gnet.Run(s, "tcp://"+o.addr, gnet.WithNumEventLoop(o.loops)) }()
	select {
	case err := <-ended:
		return err
	case <-s.arrived:
	}
	frame := wire.Rollcall.AppendFrame(nil, o.size)
	return roundRobin(o.conns, func(i int) { mustSend(s.conns[i].AsyncWrite(frame, nil)) }).obey()
}

func (s *gnetPusher) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	if len(s.conns) == s.o.conns {
		close(s.arrived)
	}
	return nil, gnet.None
}
