//go:build linux

package main

import (
	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/presence"
)

// rollcallPresence echoes, and has a presence service, with its store in memory.
func rollcallPresence(o options) error {
	_, err := newRollcallWith(o, rollcall.Config{}, func(s *rollcallServer) error {
		if !o.alone {
			presence.New(s.bridge)
		}
		return nil
	})
	if err != nil {
		return err
	}
	select {}
}
