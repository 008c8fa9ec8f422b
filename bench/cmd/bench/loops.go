//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/report"
)

// loops measures the echo with one and two event loops.
func loops(b *bench) (report.Section, error) {
	c := cell{64, 1000, 32}
	generator := "The generator has a processor of its own."
	if len(b.cpus) < 3 {
		generator = "There are only two processors: with two loops the generator shares the second one with a loop."
	}
	var body strings.Builder
	for _, n := range []int{1, 2} {
		var all []*contestant
		for _, p := range []peer{byHandAgain, byHand, minimal, rollcall, rawGnet} {
			member := &contestant{peer: p}
			all = append(all, member)
			member.server, member.failed = b.startLoops(p, n, b.serverCPUs(n))
			if member.failed == nil {
				member.group, member.failed = load.Dial(member.server, c.conns, p.dialect, c.size)
			}
			member.complain()
		}
		b.alternate(all, func(p *contestant) (load.Result, error) {
			return p.group.Saturate(c.inFlight, b.warmUp, b.length)
		})
		leave(all)
		what := "1 loop"
		if n > 1 {
			what = fmt.Sprintf("%d loops", n)
		}
		fmt.Fprintf(&body, "### %s\n\n%s\n", what, rateTable("messages", all, find(all, byHand), find(all, minimal), find(all, rawGnet)))
	}
	return report.Section{Intro: fmt.Sprintf("The echo (%v), by servers with so many event loops and processors. %s", c, generator),
		Body: body.String()}, nil
}
