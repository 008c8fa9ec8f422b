//go:build linux

package main

import (
	"fmt"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/report"
)

// churn measures how many connections a second open, log on, echo one message, and close.
func churn(b *bench) (report.Section, error) {
	const parallel, size = 64, 64
	all := b.enter([]peer{byHandAgain, byHand, minimal, rollcall, rawGnet, plainNet, zinx}, 0, size)
	defer leave(all)
	b.alternate(all, func(c *contestant) (load.Result, error) {
		return load.Churn(c.server, c.dialect, parallel, size, b.warmUp, b.length)
	})
	hand := find(all, byHand)
	return report.Section{
		Intro: fmt.Sprintf(`
Connect, log on (a first message, and its answer), one message of %d B and its answer, close; %d connections at a time, each
a new user. Only Rollcall and minimal know users, and minimal binds them on the event loop, where nothing may block: it has
no authenticator and no events. For the others the logon is a message like any other. Raw gnet, by hand and minimal accept
by gnet's own acceptor.`, size, parallel),
		Targets: []report.Target{atLeast("connections", find(all, rollcall), hand, 0.6, find(all, minimal))},
		Body:    rateTable("connections", all, hand),
	}, nil
}
