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
	length := 2 * b.length
	b.alternate(all, func(c *contestant) (load.Result, error) {
		windows := make([]histogram.Histogram, length/window)
		r, err := c.group.OpenLoop(rate, b.warmUp, length, func(due, took time.Duration) {
			windows[min(int(due/window), len(windows)-1)].Record(took)
		})
		found[c].add(windows)
		return r, err
	})

	s := report.Section{Intro: fmt.Sprintf(`
Open loop: %s messages of %d B a second over %d connections, round robin, sent when it is their time whether or not those
before are answered. The rate is half of the lowest that a server reached with one message in flight a connection. A
latency runs from the moment at which the message was to be sent, so that a stall counts with all that had to wait for it
(corrected for coordinated omission).

A machine that stops for a few milliseconds now and then, as a virtual one does, decides the 99th percentile of a run: one
message in a hundred is soon delayed, and by nothing that a server did. So it is given twice: of whole runs, and of windows
of %d ms, of which half have less than what is given. A column says how many windows were hit by a stall. Percentiles are
those of all runs together; a ratio is that of neighbouring runs. The generator never sleeps; its share says nothing of its
load. %s`,
		report.Count(rate), size, conns, window.Milliseconds(), b.noC)}
	hand, bare := found[find(all, byHand)], new(observed)
	if m := find(all, minimal); m.failed == nil {
		bare = found[m]
	}
	t := report.Table{Head: []string{"server", "p50 µs", "p99 µs", "p99.9 µs", "p99 ÷ by hand", "p99 of a window µs", "÷ by hand",
		"windows with p99 > 1 ms", "CPU ns/message", "server", "generator"}}
	for _, c := range all {
		if c.failed != nil {
			t.Row(c.name, "failed")
			continue
		}
		o := found[c]
		cells := cpuCells(c.total())
		t.Row(c.name, micros(o.all.Percentile(50)), micros(o.all.Percentile(99)), micros(o.all.Percentile(99.9)),
			stats.Ratios(o.runs, hand.runs).String(),
			micros(time.Duration(stats.Of(o.windows).Median)), stats.Ratios(o.typical, hand.typical).String(),
			fmt.Sprintf("%.1f %%", 100*o.stalled()), cells[0], cells[2], cells[3])
		if c.name == rollcall.name {
			s.Targets = []report.Target{
				tail("p99 of whole runs", o.runs, hand.runs, bare.runs),
				tail("p99 of windows", o.typical, hand.typical, bare.typical),
			}
		}
	}
	s.Body = t.String()
	return s, nil
}

// window is the time for which a percentile is taken by itself: long enough for some hundreds of messages, and short enough
// that most have no stall of the machine in them.
const window = 20 * time.Millisecond

// observed has the results of one server's runs.
type observed struct {
	all     histogram.Histogram
	runs    []float64 // the p99 of each run
	windows []float64 // the p99 of each window
	typical []float64 // the median of the windows' p99, of each run
}

// add takes in one run.
func (o *observed) add(windows []histogram.Histogram) {
	var run histogram.Histogram
	var p99s []float64
	for i := range windows {
		run.Add(&windows[i])
		p99s = append(p99s, float64(windows[i].Percentile(99)))
	}
	o.all.Add(&run)
	o.runs = append(o.runs, float64(run.Percentile(99)))
	o.windows = append(o.windows, p99s...)
	o.typical = append(o.typical, stats.Of(p99s).Median)
}

// stalled is the share of windows in which one message in a hundred took more than a millisecond.
func (o *observed) stalled() float64 {
	n := 0
	for _, p99 := range o.windows {
		if p99 > float64(time.Millisecond) {
			n++
		}
	}
	return float64(n) / float64(max(len(o.windows), 1))
}

// tail compares the 99th percentiles of Rollcall, and of minimal if there are any, with those of the server by hand.
func tail(what string, ours, hand, bare []float64) report.Target {
	const most = 1.3
	measured := stats.Ratios(ours, hand)
	t := report.Target{What: what, Must: fmt.Sprintf("≤ %.2f × by hand", most), Measured: measured.String(),
		Met: measured.Median <= most}
	if len(bare) > 0 {
		least := stats.Ratios(bare, hand)
		t.Minimal = &report.Minimal{Measured: least.String(), Met: least.Median <= most, Ours: stats.Ratios(ours, bare).String()}
	}
	return t
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
