//go:build linux

package main

import (
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// guard measures what a cluster costs the messages between a client and its node.
func guard(b *bench) (report.Section, error) {
	alone := kind("alone", wire.Rollcall, "rollcall-clustered", "-alone")
	again := renamed(alone, "alone, again")
	node := kind("a node", wire.Rollcall, "rollcall-clustered")
	s := report.Section{Intro: `
The echo of a server alone, and of the same server as the only node of a cluster, whose store is in its process. A node's engine looks at
the node's lease once a read: what comes when the lease is over is not delivered.`}
	var body strings.Builder
	for _, c := range []cell{{64, 100, 1}, shown, {1024, 1000, 32}} {
		all := b.enter([]peer{again, alone, node}, c.conns, c.size)
		b.alternate(all, func(p *contestant) (load.Result, error) { return p.group.Saturate(c.inFlight, b.warmUp, b.length) })
		leave(all)
		s.Targets = append(s.Targets, atLeast(c.String(), find(all, node), find(all, alone), 0.98, nil))
		body.WriteString("### " + c.String() + "\n\n" + rateTable("messages", all, find(all, alone)) + "\n")
	}
	s.Body = body.String()
	return s, nil
}
