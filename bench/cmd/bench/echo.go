//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/stats"
)

// cell is one of the ways in which the echo is measured.
type cell struct{ size, conns, inFlight int }

func (c cell) String() string {
	return fmt.Sprintf("%d B, %d connections, %d in flight", c.size, c.conns, c.inFlight)
}

// shown is the cell of the chart, and the one that zinx is compared in.
var shown = cell{64, 100, 32}

func (b *bench) echoCells() []cell {
	if b.short {
		return []cell{{64, 100, 1}, shown, {64, 1000, 32}, {1024, 100, 32}}
	}
	var all []cell
	for _, size := range []int{64, 1024} {
		for _, conns := range []int{100, 1000} {
			for _, inFlight := range []int{1, 32} {
				all = append(all, cell{size, conns, inFlight})
			}
		}
	}
	return all
}

// echo measures how many messages a second a server echoes when every answer is followed by another message.
func echo(b *bench) (report.Section, error) {
	s := report.Section{Intro: `
Each connection keeps a number of messages in flight: for every answer it sends another message. Sizes are those of whole
frames, header included.

![Messages echoed a second](benchmarks-echo.svg)

` + b.noC}
	var body strings.Builder
	for _, c := range b.echoCells() {
		all := b.enter(b.echoPeers(), c.conns, c.size)
		b.alternate(all, func(p *contestant) (load.Result, error) {
			return p.group.Saturate(c.inFlight, b.warmUp, b.length)
		})
		leave(all)
		ours, bare, hand, raw := find(all, rollcall), find(all, minimal), find(all, byHand), find(all, rawGnet)
		fmt.Fprintf(&body, "### %v\n\n%s\n", c, rateTable("messages", all, hand, bare, raw))
		s.Targets = append(s.Targets,
			atLeast(c.String(), ours, hand, 0.95, bare),
			atLeast(c.String(), ours, raw, 0.80, bare))
		if c == shown {
			s.Targets = append(s.Targets, atLeast(c.String(), ours, find(all, zinx), 15, nil))
			b.charts["benchmarks-echo.svg"] = echoChart(c, all)
		}
	}
	s.Body = body.String()
	return s, nil
}

func echoChart(c cell, all []*contestant) report.Chart {
	chart := report.Chart{Title: "Messages echoed a second", Note: "One processor; " + c.String() + ". Longer is better."}
	for _, p := range []peer{epollC, rawGnet, byHand, rollcall, nbio, plainNet, zinx} {
		if found := find(all, p); found.failed == nil && len(found.runs) > 0 {
			rate := stats.Of(found.rates()).Median
			chart.Bars = append(chart.Bars, report.Bar{Name: p.name, Value: rate, Text: fmt.Sprintf("%.2f M", rate/1e6),
				Ours: p.name == rollcall.name})
		}
	}
	return chart
}
