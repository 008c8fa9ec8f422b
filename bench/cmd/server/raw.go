//go:build linux

package main

import "github.com/panjf2000/gnet/v2"

// raw is gnet and nothing else: what has come is sent back. It is the ceiling of every program on gnet.
type raw struct {
	gnet.BuiltinEventEngine
	addr string
}

func rawEcho(o options) error {
	return gnet.Run(&raw{addr: o.addr}, "tcp://"+o.addr, gnet.WithNumEventLoop(o.loops))
}

func (s *raw) OnBoot(gnet.Engine) gnet.Action {
	listening(s.addr)
	return gnet.None
}

func (s *raw) OnTraffic(c gnet.Conn) gnet.Action {
	b, _ := c.Next(-1)
	_, _ = c.Write(b)
	return gnet.None
}
