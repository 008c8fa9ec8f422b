//go:build linux

package main

import (
	"fmt"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
)

// perUser is what a server holds for each of its users, in bytes.
type perUser struct{ idle, afterTraffic float64 }

// memory measures what a server holds in RAM for users who do nothing.
func memory(b *bench) (report.Section, error) {
	const size = 64
	sizes := []int{1_000, 10_000, 19_000}
	if b.short {
		sizes = sizes[:2]
	}
	peers := []peer{rawGnet, byHand, byHandAgain, minimal, rollcall, plainNet, zinx}
	found := make(map[string]map[int]perUser)
	t := report.Table{Head: []string{"server"}}
	for _, n := range sizes {
		t.Head = append(t.Head, report.Count(float64(n))+" idle", "after traffic")
	}
	for _, p := range peers {
		found[p.name] = make(map[int]perUser)
		row := []string{p.name}
		for _, n := range sizes {
			m, err := b.measureMemory(p, n, size)
			if err != nil {
				(&contestant{peer: p, failed: err}).complain()
				row = append(row, "failed", "failed")
				continue
			}
			found[p.name][n] = m
			row = append(row, report.Count(m.idle), report.Count(m.afterTraffic))
		}
		t.Row(row...)
	}

	const many = 10_000
	chart := report.Chart{Title: "Memory for an idle connection", Note: "Resident bytes of the server, 10,000 connections. Shorter is better."}
	for _, p := range []peer{rawGnet, byHand, rollcall, plainNet, zinx} {
		if m, ok := found[p.name][many]; ok {
			chart.Bars = append(chart.Bars, report.Bar{Name: p.name, Value: m.idle, Text: fmt.Sprintf("%.1f KB", m.idle/1e3),
				Ours: p.name == rollcall.name})
		}
	}
	b.charts["benchmarks-memory.svg"] = chart
	return report.Section{Intro: `
Resident bytes a user: what the server has in RAM (Rss of smaps_rollup) with so many connections, less what it had without,
divided by their number, each time after it has collected its garbage and given free pages back. Every connection has
logged on; Rollcall and minimal find their users by ID, by session and by connection, count their traffic, and watch their
silence. The second figure is after one message of 64 B from each, and its answer.

![Memory for an idle connection](benchmarks-memory.svg)`,
		Targets: memoryTargets(found, many, sizes[len(sizes)-1]), Body: t.String()}, nil
}

func memoryTargets(found map[string]map[int]perUser, many, most int) []report.Target {
	ours, theirs, largest := found[rollcall.name][many], found[zinx.name][many], found[rollcall.name][most]
	bare := found[minimal.name][many]
	atMost := func(must string, most float64, text func(perUser) string) report.Target {
		fits := func(m perUser) bool { return m.idle > 0 && m.idle <= most }
		t := report.Target{What: "idle, 10,000 users", Must: must, Measured: text(ours), Met: fits(ours)}
		if bare.idle > 0 {
			t.Minimal = &report.Minimal{Measured: text(bare), Met: fits(bare), Ours: fmt.Sprintf("%.3f", ours.idle/bare.idle)}
		}
		return t
	}
	targets := []report.Target{
		atMost("≤ 1,400 B", 1400, func(m perUser) string { return report.Count(m.idle) + " B" }),
		atMost("≤ 0.125 × zinx", theirs.idle/8, func(m perUser) string { return fmt.Sprintf("%.3f", m.idle/theirs.idle) }),
	}
	if most > many {
		targets = append(targets, report.Target{What: fmt.Sprintf("%s users ÷ 10,000 users", report.Count(float64(most))),
			Must: "≤ 1.10 (linear)", Measured: fmt.Sprintf("%.3f", largest.idle/ours.idle),
			Met: ours.idle > 0 && largest.idle <= 1.1*ours.idle})
	}
	return targets
}

func (b *bench) measureMemory(p peer, users, size int) (m perUser, err error) {
	server, err := b.start(p)
	if err != nil {
		return m, err
	}
	defer server.Stop()
	empty, err := resident(server)
	if err != nil {
		return m, err
	}
	g, err := load.Dial(server, users, p.dialect, size)
	if err != nil {
		return m, err
	}
	defer g.Close()
	idle, err := resident(server)
	if err != nil {
		return m, err
	}
	if err := g.EachOnce(); err != nil {
		return m, err
	}
	after, err := resident(server)
	return perUser{float64(idle-empty) / float64(users), float64(after-empty) / float64(users)}, err
}

// measureSeen measures what a server has in RAM for each of its users right after they have logged on, one by one: nothing was collected
// but what the server itself did. warm says that others have come and gone before.
func (b *bench) measureSeen(p peer, users, size int, warm bool) (float64, error) {
	server, err := b.start(p)
	if err != nil {
		return 0, err
	}
	defer server.Stop()
	if warm {
		if _, err := load.Churn(server, p.dialect, 64, size, b.warmUp, b.length); err != nil {
			return 0, err
		}
	}
	empty, err := resident(server)
	if err != nil {
		return 0, err
	}
	g, err := load.Dial(server, users, p.dialect, size)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	seen, err := server.Resident()
	return float64(seen-empty) / float64(users), err
}

// resident returns the memory of a server in RAM after it has freed all that it can.
func resident(server *process.Process) (int64, error) {
	if err := server.FreeMemory(); err != nil {
		return 0, err
	}
	return server.Resident()
}
