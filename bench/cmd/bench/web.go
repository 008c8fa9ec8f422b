//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/stats"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// overWeb returns the peer with its address for WebSocket.
func (p peer) overWeb() peer {
	p.scheme = wire.Scheme
	return p
}

// Rollcall listens for both, so that the two processes differ in nothing but what their clients speak.
var (
	overTCP = peer{name: "TCP", dialect: wire.Rollcall, command: func(b *bench, addr string, loops int) []string {
		return append(rollcall.command(b, addr, loops), "-websocket", "127.0.0.1:0")
	}}
	overTCPAgain  = renamed(overTCP, "TCP, again")
	overWebSocket = peer{name: "WebSocket", dialect: wire.Rollcall, command: func(b *bench, addr string, loops int) []string {
		return append(rollcall.command(b, "127.0.0.1:0", loops), "-websocket", addr)
	}}.overWeb()
	nbioWeb = kind("nbio", wire.Rollcall, "nbio-web").overWeb()
	// nbio's documentation advises this way for as few connections.
	nbioWebBlocking = kind("nbio, blocking", wire.Rollcall, "nbio-web", "-blocking").overWeb()
	gws             = kind("gws", wire.Rollcall, "gws").overWeb()
)

// webCell is a cell with what WebSocket must reach in it: a part of TCP's rate, and a multiple of its processor time. 0 is no target.
type webCell struct {
	cell
	peers     []peer
	rate, cpu float64
}

// webSockets measures Rollcall's WebSocket beside its TCP, and beside other servers that speak WebSocket.
func webSockets(b *bench) (report.Section, error) {
	s := report.Section{Intro: `
The same server, its clients over TCP and over WebSocket, and two libraries that speak WebSocket. The generator's clients send a message of
WebSocket for each frame, with a mask, made beforehand. Rollcall takes frames off them, whose users it knows, and answers all that a read
brought with one message; the others know no frames and no users, and answer each message by one with the same payload. Compression is off.
nbio is its event loop (IOModNonBlocking), which handles messages itself; "nbio, blocking" is its goroutine a connection (IOModBlocking), which it
advises for few connections; gws has a goroutine a connection. Sizes are those of Rollcall's frames. Allocations are all that a server makes
meanwhile, those of a second's tick among them, divided by its messages.`}
	ours, theirs := []peer{overTCPAgain, overTCP, overWebSocket}, []peer{nbioWeb, nbioWebBlocking, gws}
	var body strings.Builder
	for _, c := range []webCell{
		{shown, slices.Concat(ours, theirs), 0.95, 1.12},
		{cell{4096, 100, 8}, slices.Concat(ours, theirs), 0.85, 1.2},
		{cell{64, 100, 1}, ours, 0, 0},
	} {
		body.WriteString(b.webEcho(&s, c))
	}
	body.WriteString(b.webBroadcast())
	body.WriteString(b.webMemory(&s))
	s.Body = body.String()
	return s, nil
}

// webEcho measures one cell of the echo.
func (b *bench) webEcho(s *report.Section, c webCell) string {
	all := b.enter(c.peers, c.conns, c.size)
	defer leave(all)
	allocated, received := make(map[*contestant]int), make(map[*contestant]int)
	b.alternate(all, func(p *contestant) (load.Result, error) {
		before, got := p.memory(), p.group.Received()
		r, err := p.group.Saturate(c.inFlight, b.warmUp, b.length)
		allocated[p] += p.memory().Allocated - before.Allocated
		received[p] += p.group.Received() - got
		return r, err
	})
	allocations := func(p *contestant) float64 { return float64(allocated[p]) / float64(max(received[p], 1)) }
	web, tcp := find(all, overWebSocket), find(all, overTCP)
	if c.rate > 0 {
		cpu := cpuRatios(web, tcp)
		s.Targets = append(s.Targets, atLeast(c.String(), web, tcp, c.rate, nil),
			report.Target{What: c.String() + ", processor time", Must: fmt.Sprintf("≤ %.2f × TCP", c.cpu), Measured: cpu.String(),
				Met: cpu.Median > 0 && cpu.Median <= c.cpu})
	}
	s.Targets = append(s.Targets, report.Target{What: c.String() + ", allocations a message", Must: "0.00",
		Measured: fmt.Sprintf("%.2f", allocations(web)), Met: web.failed == nil && allocations(web) < 0.005})

	t := report.Table{Head: []string{"server", "messages/s", "quartiles", "÷ TCP", "CPU ns/message", "user + system", "server", "generator",
		"limited by", "CPU ÷ TCP", "allocations/message"}}
	for _, p := range all {
		if p.failed != nil || len(p.runs) == 0 {
			t.Row(p.name, "failed")
			continue
		}
		q := stats.Of(p.rates())
		row := append([]string{p.name, report.Count(q.Median), report.Count(q.Q1) + "–" + report.Count(q.Q3), ratioText(p, tcp)},
			cpuCells(p.total())...)
		ratio := "1"
		if p != tcp {
			ratio = cpuRatios(p, tcp).String()
		}
		t.Row(append(row, ratio, fmt.Sprintf("%.3f", allocations(p)))...)
	}
	return fmt.Sprintf("### %v\n\n%s\n", c.cell, t.String())
}

// memory is what the contestant's server tells; nothing if it has failed.
func (c *contestant) memory() (m process.Memory) {
	if c.failed == nil {
		m, c.failed = c.server.Memory()
		c.complain()
	}
	return m
}

// cpuRatios compares what a message cost two servers, run by run.
func cpuRatios(a, b *contestant) stats.Quartiles {
	costs := func(c *contestant) (all []float64) {
		for _, r := range c.runs {
			all = append(all, r.Server.Total().Seconds()/float64(r.Messages))
		}
		return all
	}
	return stats.Ratios(costs(a), costs(b))
}

// webBroadcast measures one message to all connections.
func (b *bench) webBroadcast() string {
	conns := b.either(3_000, 1_000) // the generator has as many to each server, and a limit of descriptors
	args := []string{"-conns", fmt.Sprint(conns), "-size", fmt.Sprint(broadcastSize)}
	ours := func(name string, more ...string) peer {
		return kind(name, wire.Rollcall, append(append([]string{"rollcall-broadcast"}, args...), more...)...)
	}
	theirs := func(p peer, kindOf string) peer {
		return kind(p.name, wire.Rollcall, append([]string{kindOf, "-broadcast"}, args...)...).overWeb()
	}
	tcp := ours("TCP")
	all := b.enter([]peer{renamed(tcp, "TCP, again"), tcp, ours("WebSocket", "-web").overWeb(), theirs(nbioWeb, "nbio-web"), theirs(gws, "gws")},
		conns, broadcastSize)
	defer leave(all)
	b.alternate(all, func(c *contestant) (load.Result, error) { return c.group.Receive("1", conns, b.warmUp, b.length) })
	return fmt.Sprintf(`### Broadcast

One message of %d B to %s connections, over and over, as in "Broadcast"; each begins when everybody has the one before. gws has its
Broadcaster, which makes the WebSocket frame once.

%s
`, broadcastSize, report.Count(float64(conns)), rateTable("messages", all, find(all, tcp)))
}

// webMemory measures what a server holds for connections that do nothing.
func (b *bench) webMemory(s *report.Section) string {
	users := b.either(10_000, 2_000)
	t := report.Table{Head: []string{"server", "heap and stack", "resident"}}
	found := make(map[string]float64)
	for _, p := range []peer{overTCP, overWebSocket, nbioWeb, nbioWebBlocking, gws} {
		heap, resident, err := b.measureWebMemory(p, users)
		if err != nil {
			(&contestant{peer: p, failed: err}).complain()
			t.Row(p.name, "failed")
			continue
		}
		found[p.name] = heap
		t.Row(p.name, report.Count(heap), report.Count(resident))
	}
	tcp, web := found[overTCP.name], found[overWebSocket.name]
	s.Targets = append(s.Targets, report.Target{What: "an idle connection", Must: "≤ 100 B more than TCP", Measured: fmt.Sprintf("%.0f B", web-tcp),
		Met: tcp > 0 && web > 0 && web-tcp <= 100})
	return fmt.Sprintf(`### Idle memory

Bytes a connection, %s of them, each with its user where there are users, after a collection: what Go's runtime counts of heap and
stacks, and what the process has in RAM, both less what they were without connections.

%s`, report.Count(float64(users)), t.String())
}

func (b *bench) measureWebMemory(p peer, users int) (heap, inRAM float64, err error) {
	server, err := b.start(p)
	if err != nil {
		return 0, 0, err
	}
	defer server.Stop()
	look := func() (heap, inRAM int, err error) {
		rss, err := resident(server)
		if err != nil {
			return 0, 0, err
		}
		m, err := server.Memory()
		return m.Heap + m.Stack, int(rss), err
	}
	emptyHeap, empty, err := look()
	if err != nil {
		return 0, 0, err
	}
	g, err := load.Dial(server, users, p.dialect, 64)
	if err != nil {
		return 0, 0, err
	}
	defer g.Close()
	full, most, err := look()
	return float64(full-emptyHeap) / float64(users), float64(most-empty) / float64(users), err
}
