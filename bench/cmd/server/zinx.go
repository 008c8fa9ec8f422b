//go:build linux

package main

import (
	"net"
	"strconv"
	"time"

	"github.com/aceld/zinx/zconf"
	"github.com/aceld/zinx/ziface"
	"github.com/aceld/zinx/znet"
)

// zinxEcho is an echo on zinx as its documentation shows it: its default framing, workers and buffers; only the number of
// connections is raised, and the log is off.
func zinxEcho(o options) error {
	host, port, err := net.SplitHostPort(o.addr)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	s := znet.NewUserConfServer(&zconf.Config{Host: host, TCPPort: n, MaxConn: 100_000, LogIsolationLevel: 4})
	s.AddRouter(1, &zinxRouter{})
	s.Start()
	for range 100 { // Start does not say when it listens
		if c, err := net.Dial("tcp", o.addr); err == nil {
			_ = c.Close()
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	listening(o.addr)
	select {}
}

type zinxRouter struct{ znet.BaseRouter }

func (*zinxRouter) Handle(r ziface.IRequest) {
	_ = r.GetConnection().SendMsg(r.GetMsgID(), r.GetData())
}
