//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/histogram"
	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/stats"
)

// latency measures how long an answer takes when messages come at a rate that every server can bear.
func latency(b *bench) (report.Section, error) {
	const conns, size = 100, 64
	all := b.enter(b.echoPeers(), conns, size)
	defer leave(all)
	rate := b.bearableRate(all)
	if rate == 0 {
		return report.Section{}, fmt.Errorf("no server answers")
	}
	found := make(map[*contestant]*observed)
	for _, c := range all {
		found[c] = new(observed)
	}
	b.alternate(all, func(c *contestant) (load.Result, error) {
		var h histogram.Histogram
		r, err := c.group.OpenLoop(rate, b.warmUp, 2*b.length, &h)
		found[c].all.Add(&h)
		found[c].p99s = append(found[c].p99s, float64(h.Percentile(99)))
		return r, err
	})

	s := report.Section{Intro: fmt.Sprintf(`
Open loop: %s messages of %d B a second over %d connections, round robin, sent when it is their time whether or not those
before are answered. The rate is half of the lowest that a server reached with one message in flight a connection. A
latency runs from the moment at which the message was to be sent, so that a stall counts with all that had to wait for it
(corrected for coordinated omission). Percentiles are those of all runs together; the ratio is of the p99 of neighbouring
runs. %s`, report.Count(rate), size, conns, b.noC)}
	hand, bare := found[find(all, byHand)], find(all, minimal)
	t := report.Table{Head: []string{"server", "p50 µs", "p99 µs", "p99.9 µs", "p99 ÷ by hand", "messages", "server", "generator"}}
	for _, c := range all {
		if c.failed != nil {
			t.Row(c.name, "failed")
			continue
		}
		o := found[c]
		relative := stats.Ratios(o.p99s, hand.p99s)
		cells := cpuCells(c.total())
		t.Row(c.name, micros(o.all.Percentile(50)), micros(o.all.Percentile(99)), micros(o.all.Percentile(99.9)),
			relative.String(), report.Count(float64(o.all.Count())), cells[2], cells[3])
		if c.name == rollcall.name {
			const most = 1.3
			target := report.Target{What: "p99", Must: fmt.Sprintf("≤ %.2f × by hand", most), Measured: relative.String(),
				Met: relative.Median <= most}
			if bare.failed == nil {
				p99s := found[bare].p99s
				least := stats.Ratios(p99s, hand.p99s)
				target.Minimal = &report.Minimal{Measured: least.String(), Met: least.Median <= most,
					Ours: stats.Ratios(o.p99s, p99s).String()}
			}
			s.Targets = []report.Target{target}
		}
	}
	s.Body = t.String()
	return s, nil
}

// observed is what the runs of one server have shown.
type observed struct {
	all  histogram.Histogram
	p99s []float64 // of each run
}

// bearableRate is half of the lowest rate that a server reaches with one message in flight a connection.
func (b *bench) bearableRate(all []*contestant) float64 {
	var rates []float64
	for _, c := range all {
		if c.failed != nil {
			continue
		}
		r, err := c.group.Saturate(1, b.warmUp, b.length)
		if c.failed = err; err != nil {
			c.complain()
			continue
		}
		rates = append(rates, r.Rate())
	}
	if len(rates) == 0 {
		return 0
	}
	return slices.Min(rates) / 2
}

func micros(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e3) }
