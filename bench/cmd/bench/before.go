//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/stats"
	"github.com/rollcall-go/rollcall/bench/internal/users"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// of returns the peer with its program from the checkout of an earlier version.
func (p peer) of(programs string) peer {
	command := p.command
	p.command = func(b *bench, addr string, loops int) []string {
		c := command(b, addr, loops)
		c[0] = filepath.Join(programs, filepath.Base(c[0]))
		return c
	}
	return p
}

// buildBefore builds the earlier version's programs and says which version it is.
func (b *bench) buildBefore() (programs, version string, err error) {
	programs = b.program("before")
	if err := os.Mkdir(programs, 0o700); err != nil {
		return "", "", err
	}
	if err := goBuild(filepath.Join(b.before, "bench"), "-o", programs, "./cmd/server", "./cmd/users"); err != nil {
		return "", "", err
	}
	now := b.dir
	defer func() { b.dir = now }()
	b.dir = programs
	if err := b.buildEchoOf(b.before); err != nil {
		return "", "", err
	}
	out, err := exec.Command("git", "-C", b.before, "describe", "--always").Output()
	return programs, strings.TrimSpace(string(out)), err
}

// beforeAndAfter compares Rollcall with an earlier version of itself, in turn. The earlier version runs twice: how far its ratio to
// itself is from 1 is the noise.
func beforeAndAfter(b *bench) (report.Section, error) {
	if b.before == "" {
		return report.Section{}, fmt.Errorf("the table %q needs -before, a checkout of the earlier version", "before")
	}
	programs, version, err := b.buildBefore()
	if err != nil {
		return report.Section{}, err
	}
	t := report.Table{Head: []string{"cell", "after ÷ before", "before, again ÷ before", "CPU after ÷ before", "CPU before, again ÷ before"}}
	compare := func(what string, p peer, alternate func([]peer) []*contestant) {
		if !b.cells.MatchString(what) {
			return
		}
		before, again := renamed(p.of(programs), "before"), renamed(p.of(programs), "before, again")
		all := alternate([]peer{again, before, p})
		first, second, after := find(all, before), find(all, again), find(all, p)
		t.Row(what, ratioText(after, first), ratioText(second, first), cpuRatio(after, first), cpuRatio(second, first))
	}
	compareProcesses := func(what string, p peer, run func(peer) (load.Result, error)) {
		compare(what, p, func(peers []peer) []*contestant {
			var all []*contestant
			for _, p := range peers {
				all = append(all, &contestant{peer: p})
			}
			b.alternate(all, func(c *contestant) (load.Result, error) { return run(c.peer) })
			return all
		})
	}
	for _, c := range b.echoCells() {
		compare("echo, "+c.String(), rollcall, func(peers []peer) []*contestant {
			all := b.enter(peers, c.conns, c.size)
			defer leave(all)
			b.alternate(all, func(p *contestant) (load.Result, error) { return p.group.Saturate(c.inFlight, b.warmUp, b.length) })
			return all
		})
	}
	length := 2 * b.length // the rate of eight goroutines swings within a second
	for _, cell := range []pushCell{{1, 64}, {8, 256}} {
		for _, p := range []peer{connSend, bridgeSend} {
			// A process for each run: how fast eight goroutines send differs by a tenth from one process to the next, and stays as it is.
			compareProcesses("push, "+strings.TrimPrefix(p.name, "Rollcall ")+", "+cell.String(), p, func(p peer) (load.Result, error) {
				return b.withGroup(p, pushConns, pushSize, func(_ *process.Process, g *load.Group) (load.Result, error) {
					return g.Receive(fmt.Sprint(cell.goroutines), cell.underWay*pushConns, b.warmUp, length)
				})
			})
		}
	}
	conns := b.either(10_000, 2_000)
	toAll := kind("Rollcall", wire.Rollcall, "rollcall-broadcast", "-conns", fmt.Sprint(conns), "-size", fmt.Sprint(broadcastSize))
	for _, underWay := range []int{1, 4} {
		compareProcesses(fmt.Sprintf("broadcast to %s, %d under way", report.Count(float64(conns)), underWay), toAll, func(p peer) (load.Result, error) {
			return b.broadcastOnce(p, conns, underWay)
		})
	}
	compare("churn, connections", rollcall, func(peers []peer) []*contestant {
		all := b.enter(peers, 0, 64)
		defer leave(all)
		b.alternate(all, func(c *contestant) (load.Result, error) {
			return load.Churn(c.server, c.dialect, 64, 64, b.warmUp, b.length)
		})
		return all
	})
	if err := b.usersBeforeAndAfter(&t, programs); err != nil {
		return report.Section{}, err
	}
	const idleUser = "idle user, 10,000 of them"
	idle := report.Table{Head: []string{idleUser, "B", "after traffic", "as seen, cold", "as seen, warm"}}
	peers := []peer{renamed(rollcall.of(programs), "before"), renamed(rollcall, "after"), renamed(rollcall.of(programs), "before, again"),
		renamed(rollcall, "after, again")}
	if !b.cells.MatchString(idleUser) {
		peers = nil
	}
	for _, p := range peers {
		const size = 64
		users := b.either(10_000, 2_000)
		m, err := b.measureMemory(p, users, size)
		if err != nil {
			return report.Section{}, err
		}
		row := []string{p.name, report.Count(m.idle), report.Count(m.afterTraffic)}
		for _, warm := range []bool{false, true} {
			seen, err := b.measureSeen(p, users, size, warm)
			if err != nil {
				return report.Section{}, err
			}
			row = append(row, report.Count(seen))
		}
		idle.Row(row...)
	}
	return report.Section{Intro: fmt.Sprintf(`
Rollcall beside itself at version %s, each a process of its own, in turn; in push and broadcast each run has new processes. The earlier version is there twice: how far its ratio to
itself is from 1 is the noise. CPU is the server's processor time a message; less is better. An idle user's memory is that of
"Idle memory"; as seen is right after the logons, before a collection is asked for: cold is a server that was just started, warm one
where others have come and gone.`, version), Body: t.String() + "\n" + idle.String()}, nil
}

// usersBeforeAndAfter compares the user managers alone, with 100,000 users. Each run is a process, with everything on one processor: an
// operation's time is processor time.
func (b *bench) usersBeforeAndAfter(t *report.Table, programs string) error {
	type operation struct {
		what string
		ns   func(users.Figures) float64
	}
	operations := []operation{
		{"users, register", func(f users.Figures) float64 { return f.Register }},
		{"users, unregister", func(f users.Figures) float64 { return f.Unregister }},
		{"users, look up", func(f users.Figures) float64 { return f.LookUp }},
		{"users, beat, everybody", func(f users.Figures) float64 { return f.BeatAll }},
		{"users, count a message, everybody", func(f users.Figures) float64 { return f.CountAll }},
		{"users, page through all", func(f users.Figures) float64 { return f.Page }},
		{"users, range over all", func(f users.Figures) float64 { return f.Iterate }},
	}
	if !slices.ContainsFunc(operations, func(o operation) bool { return b.cells.MatchString(o.what) }) {
		return nil
	}
	var before, again, after []users.Figures
	for round := range b.pairs {
		order := []struct {
			program string
			to      *[]users.Figures
		}{{filepath.Join(programs, "users"), &again}, {filepath.Join(programs, "users"), &before}, {b.program("users"), &after}}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, o := range order {
			f, err := b.runUsers(o.program, users.Settings{Users: 100_000, Pairs: 1})
			if err != nil {
				return err
			}
			*o.to = append(*o.to, f)
		}
	}
	for _, o := range operations {
		rates := func(all []users.Figures) (r []float64) {
			for _, f := range all {
				r = append(r, 1/o.ns(f))
			}
			return r
		}
		t.Row(o.what, stats.Ratios(rates(after), rates(before)).String(), stats.Ratios(rates(again), rates(before)).String(), "", "")
	}
	return nil
}

// cpuRatio compares what a message cost two servers.
func cpuRatio(a, b *contestant) string {
	if a.failed != nil || b.failed != nil || len(a.runs) == 0 || len(b.runs) == 0 {
		return "–"
	}
	cost := func(c *contestant) float64 {
		r := c.total()
		return r.Server.Total().Seconds() / float64(r.Messages)
	}
	return fmt.Sprintf("%.3f", cost(a)/cost(b))
}
