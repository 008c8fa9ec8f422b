//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/stats"
)

// contestant is a server in a comparison.
type contestant struct {
	peer
	server *process.Process
	group  *load.Group // its connections; nil where each run opens its own
	runs   []load.Result
	failed error // it is out of the comparison
}

// enter starts the servers and opens conns connections to each, for messages of size bytes; none when conns is 0.
func (b *bench) enter(peers []peer, conns, size int) []*contestant {
	var all []*contestant
	for _, p := range peers {
		c := &contestant{peer: p}
		all = append(all, c)
		if c.server, c.failed = b.start(p); c.failed == nil && conns > 0 {
			c.group, c.failed = load.Dial(c.server, conns, p.dialect, size)
		}
		c.complain()
	}
	return all
}

func (c *contestant) complain() {
	if c.failed != nil {
		fmt.Fprintf(os.Stderr, "bench: %s is out: %v\n", c.name, c.failed)
	}
}

// leave ends what enter has started.
func leave(all []*contestant) {
	for _, c := range all {
		if c.group != nil {
			c.group.Close()
		}
		if c.server != nil {
			c.server.Stop()
		}
	}
}

// alternate runs every contestant once in each round, forwards and backwards in turn. One that fails is out: the others
// go on.
func (b *bench) alternate(all []*contestant, run func(*contestant) (load.Result, error)) {
	b.rounds = b.pairs
	for round := range b.pairs {
		order := slices.Clone(all)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			if c.failed != nil {
				continue
			}
			r, err := run(c)
			if err == nil && r.Messages == 0 {
				err = fmt.Errorf("nothing was answered")
			}
			if err != nil {
				c.failed = err
				c.complain()
				continue
			}
			c.runs = append(c.runs, r)
		}
	}
}

// find returns the contestant of this name, or one without runs.
func find(all []*contestant, p peer) *contestant {
	for _, c := range all {
		if c.name == p.name {
			return c
		}
	}
	return &contestant{peer: p}
}

func (c *contestant) rates() []float64 {
	var rates []float64
	for _, r := range c.runs {
		rates = append(rates, r.Rate())
	}
	return rates
}

func (c *contestant) total() load.Result {
	var total load.Result
	for _, r := range c.runs {
		total = total.Add(r)
	}
	return total
}

// ratio compares the rates of two contestants, run by run. There is none if one has failed.
func ratio(a, b *contestant) (stats.Quartiles, bool) {
	if a.failed != nil || b.failed != nil || len(a.runs) == 0 || len(b.runs) == 0 {
		return stats.Quartiles{}, false
	}
	return stats.Ratios(a.rates(), b.rates()), true
}

func ratioText(a, b *contestant) string {
	if a == b {
		return "1"
	}
	if q, ok := ratio(a, b); ok {
		return q.String()
	}
	return "–"
}

// atLeast is the target that a is at least least times as fast as b. The minimal program, if not nil, is compared with
// b too.
func atLeast(what string, a, b *contestant, least float64, bare *contestant) report.Target {
	t := report.Target{What: what, Must: fmt.Sprintf("≥ %.2f × %s", least, b.name)}
	t.Measured, t.Met = reached(a, b, least)
	if bare != nil {
		m := &report.Minimal{Ours: ratioText(a, bare)}
		m.Measured, m.Met = reached(bare, b, least)
		t.Minimal = m
	}
	return t
}

func reached(a, b *contestant, least float64) (measured string, met bool) {
	q, ok := ratio(a, b)
	if !ok {
		return "not measured", false
	}
	return q.String(), q.Median >= least
}

// rateTable shows the rates of the contestants, and their ratios to some of them.
func rateTable(unit string, all []*contestant, against ...*contestant) string {
	t := report.Table{Head: []string{"server", unit + "/s", "quartiles"}}
	for _, a := range against {
		t.Head = append(t.Head, "÷ "+a.name)
	}
	t.Head = append(t.Head, "CPU ns/"+unit[:len(unit)-1], "user + system", "server", "generator", "limited by")
	for _, c := range all {
		if c.failed != nil || len(c.runs) == 0 {
			t.Row(c.name, "failed")
			continue
		}
		q := stats.Of(c.rates())
		row := []string{c.name, report.Count(q.Median), report.Count(q.Q1) + "–" + report.Count(q.Q3)}
		for _, a := range against {
			row = append(row, ratioText(c, a))
		}
		t.Row(append(row, cpuCells(c.total())...)...)
	}
	return t.String()
}

// cpuCells are the last columns of a rate table.
func cpuCells(r load.Result) []string {
	perMessage := func(d time.Duration) float64 { return float64(d) / float64(r.Messages) }
	server, generator := r.Server.Total().Seconds()/r.Elapsed.Seconds(), r.Generator.Total().Seconds()/r.Elapsed.Seconds()
	return []string{
		fmt.Sprintf("%.0f", perMessage(r.Server.Total())),
		fmt.Sprintf("%.0f + %.0f", perMessage(r.Server.User), perMessage(r.Server.System)),
		fmt.Sprintf("%.0f %%", 100*server), fmt.Sprintf("%.0f %%", 100*generator), limitedBy(server, generator),
	}
}

func limitedBy(server, generator float64) string {
	const full = 0.95
	switch {
	case server >= full && generator >= full:
		return "both"
	case server >= full:
		return "server"
	case generator >= full:
		return "generator"
	}
	return "neither"
}
