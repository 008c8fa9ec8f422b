//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// broadcastSize is the size of the one message, header included.
const broadcastSize = 128

// broadcast measures how many copies of one message a second a server sends to all its connections.
func broadcast(b *bench) (report.Section, error) {
	conns := b.either(10_000, 2_000)
	args := []string{"-conns", fmt.Sprint(conns), "-size", fmt.Sprint(broadcastSize)}
	write := kind("write(2)", wire.Rollcall, append([]string{"write-broadcast"}, args...)...)
	ours := kind("Rollcall", wire.Rollcall, append([]string{"rollcall-broadcast"}, args...)...)
	service := kind("Rollcall, push", wire.Rollcall, append([]string{"rollcall-broadcast", "-by", "service"}, args...)...)
	bare := kind("minimal", wire.Rollcall, append([]string{"minimal-broadcast"}, args...)...)
	peers := []peer{renamed(write, "write(2), again"), write, bare, ours, service}

	s := report.Section{Intro: fmt.Sprintf(`
One message of %d B to %s connections, over and over, counted where it is received. write(2) is the least that could do it:
one thread that calls write for one socket after the other, past Go's scheduler. Rollcall is Engine.Broadcast to all its
connections, on one event loop; "Rollcall, push" is push.Service to everyone, which tells for each user what happened. minimal encodes once, and has one task on the event loop call gnet's Write for each
connection; of the broadcasts that are under way it makes a write each, where Rollcall makes one of those that wait. Each run
is a new process, since two servers have more connections than the generator has descriptors.`, broadcastSize, report.Count(float64(conns)))}
	var body strings.Builder
	for _, underWay := range []int{1, 4} {
		var all []*contestant
		for _, p := range peers {
			all = append(all, &contestant{peer: p})
		}
		b.alternate(all, func(c *contestant) (load.Result, error) { return b.broadcastOnce(c.peer, conns, underWay) })
		what := "each begins when everybody has the one before"
		if underWay > 1 {
			what = fmt.Sprintf("%d are under way at a time", underWay)
		}
		hand := find(all, write)
		fmt.Fprintf(&body, "### %s\n\n%s\n", strings.ToUpper(what[:1])+what[1:], rateTable("messages", all, hand, find(all, bare)))
		s.Targets = append(s.Targets, atLeast(what, find(all, ours), hand, 0.9, find(all, bare)),
			atLeast(what+", push", find(all, service), hand, 0.9, find(all, bare)))
	}
	s.Body = body.String()
	return s, nil
}

// broadcastOnce has a server of its own broadcast for one run.
func (b *bench) broadcastOnce(p peer, conns, underWay int) (load.Result, error) {
	return b.withGroup(p, conns, broadcastSize, func(_ *process.Process, g *load.Group) (load.Result, error) {
		return g.Receive("1", underWay*conns, b.warmUp, b.length)
	})
}

// withGroup starts a server, opens connections to it, and ends both when run has returned.
func (b *bench) withGroup(p peer, conns, size int, run func(*process.Process, *load.Group) (load.Result, error)) (load.Result, error) {
	server, err := b.start(p)
	if err != nil {
		return load.Result{}, err
	}
	defer server.Stop()
	g, err := load.Dial(server, conns, p.dialect, size)
	if err != nil {
		return load.Result{}, err
	}
	defer g.Close()
	return run(server, g)
}
