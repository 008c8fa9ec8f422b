//go:build linux

package main

import (
	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
)

// nbioEcho is a byte echo on nbio, set up as its own example does it.
func nbioEcho(o options) error {
	logging.SetLevel(logging.LevelError)
	e := nbio.NewEngine(nbio.Config{Network: "tcp", Addrs: []string{o.addr}, NPoller: o.loops})
	e.OnData(func(c *nbio.Conn, data []byte) { _, _ = c.Write(data) }) // Write keeps a copy of what it cannot send
	if err := e.Start(); err != nil {
		return err
	}
	listening(o.addr)
	select {}
}
