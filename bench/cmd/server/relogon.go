//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/contract"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// relogon is Rollcall for clients that take one user ID from each other. When they have all gone and standard input says
// "report" it tells how many sessions there were, and, with -check, whether all that happened was as the contract has it.
// The rate is measured without -check, because the record takes time.
func relogon(o options) error {
	var came, pushedOut, left atomic.Int64
	var (
		users  usermgr.UserManager
		online func() int
		check  = func() error { return nil }
		events = usermgr.Events{
			Connected:    func(usermgr.SessionInfo) { came.Add(1) },
			PushedOut:    func(usermgr.SessionInfo, usermgr.Address) { pushedOut.Add(1) },
			Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { left.Add(1) },
		}
	)
	if o.check {
		m := contract.New(usermgr.Config{})
		m.Subscribe(events)
		users, online = m, m.Count
		check = func() error {
			m.AtRest()
			return m.Check()
		}
	} else {
		m, err := usermgr.New(usermgr.Config{})
		if err != nil {
			return err
		}
		m.Subscribe(events)
		users, online = m, m.Count
	}
	e, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: o.addr}}, Loops: o.loops})
	if err != nil {
		return err
	}
	if _, err := bridge.Attach(e, users, nil, bridge.Config{RelogonBurst: -1}); err != nil {
		return err
	}
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	if err := e.Listen(); err != nil {
		return err
	}
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			if err := awaitQuiet(func() bool { return online() == 0 && came.Load() == left.Load() }); err != nil {
				broken(fmt.Errorf("%w: %d users online, %d sessions began, %d ended", err, online(), came.Load(), left.Load()))
			} else if err := check(); err != nil {
				broken(err)
			}
			fmt.Fprintln(os.Stderr, "sessions", came.Load(), pushedOut.Load())
		}
	}()
	listening(o.addr)
	return e.Run(context.Background())
}

// awaitQuiet waits until nothing is under way.
func awaitQuiet(quiet func() bool) error {
	for deadline := time.Now().Add(10 * time.Second); !quiet(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return context.DeadlineExceeded
		}
	}
	time.Sleep(100 * time.Millisecond) // for the last events
	return nil
}

func broken(err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(os.Stderr, "broken:", strings.TrimSpace(line))
	}
}
