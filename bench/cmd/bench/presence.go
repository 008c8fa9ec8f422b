//go:build linux

package main

import (
	"fmt"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// withPresence measures what package presence costs the heart, and what it does by itself.
func withPresence(b *bench) (report.Section, error) {
	without := kind("without", wire.Rollcall, "rollcall-presence", "-alone")
	again := renamed(without, "without, again")
	with := kind("with presence", wire.Rollcall, "rollcall-presence")
	s := report.Section{Intro: `
A server without and with a presence service, whose store is in memory: the echo, and then clients who come, send a message and go, as in "Churn".
Below that are the benchmarks of the package itself, without sockets but for the notices: what they measure is said in presence/bench_test.go. A pair is
a change and a user who is told of it. In the storm 10,000 users with 1,000 contacts each come, or go, all at once; a tick tells 200,000 pairs at most, and is
a second in a server. A notice is late by what it comes after the change beyond the interval of a second, which is on average less than nothing.`}

	echoes := b.enter([]peer{again, without, with}, shown.conns, shown.size)
	b.alternate(echoes, func(p *contestant) (load.Result, error) { return p.group.Saturate(shown.inFlight, b.warmUp, b.length) })
	leave(echoes)
	come := b.enter([]peer{again, without, with}, 0, 64)
	b.alternate(come, func(c *contestant) (load.Result, error) {
		return load.Churn(c.server, c.dialect, 64, 64, b.warmUp, b.length)
	})
	leave(come)
	var f figures
	for _, run := range [][2]string{{"^Benchmark(Pair|UserMemory)$", "10x"}, {"^BenchmarkStorm$", "4x"}, {"^BenchmarkNotice$", "1x"}} {
		if err := b.goBench(&f, ".", "./presence", run[0], run[1]); err != nil {
			return s, err
		}
	}
	s.Targets = []report.Target{
		atLeast("echo, "+shown.String(), find(echoes, with), find(echoes, without), 0.98, nil),
		atLeast("logons", find(come, with), find(come, without), 0.95, nil),
		upTo("a user who is online", f.of("UserMemory", "B/user"), 150, "B"),
		upTo("a pair", f.of("Pair", "ns/pair"), 300, "ns"),
		upTo("a tick in a storm, on average", f.of("Storm", "cpu-ms/tick")/10, 30, "% of a core"),
		upTo("a tick in a storm, the longest", f.of("Storm", "max-cpu-ms/tick")/10, 30, "% of a core"),
		upTo("a storm", f.of("Storm", "ticks"), 60, "ticks"),
		upTo("a notice at 1,000 changes/s, 99 % of them", f.of("Notice", "p99-ms"), 100, "ms late"),
	}
	s.Body = fmt.Sprintf("### The echo, %s\n\n%s\n### Logons\n\n%s", shown, rateTable("messages", echoes, find(echoes, without)),
		rateTable("connections", come, find(come, without)))
	return s, f.complete()
}
