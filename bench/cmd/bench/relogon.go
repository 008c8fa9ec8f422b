//go:build linux

package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/storm"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// relogon has many connections take one user ID from each other.
func relogon(b *bench) (report.Section, error) {
	const connections = 64
	measured, checked := 10*time.Second, 2*time.Second
	if b.short {
		measured, checked = 2*time.Second, time.Second
	}
	rate, err := b.storm(kind("Rollcall", wire.Rollcall, "relogon"), connections, measured)
	if err != nil {
		return report.Section{}, err
	}
	held, err := b.storm(kind("Rollcall, checked", wire.Rollcall, "relogon", "-check"), connections, checked)
	if err != nil {
		return report.Section{}, err
	}
	t := report.Table{Head: []string{"", "logons/s", "logons", "pushed out", "told so", "CPU µs/logon", "broken"}}
	var problems []string
	total := 0
	for _, s := range []stormResult{rate, held} {
		broken := 0
		for what, times := range s.broken {
			broken += times
			problems = append(problems, fmt.Sprintf("%s: %s (%d times)", s.name, what, times))
		}
		total += broken
		t.Row(s.name, report.Count(float64(s.logons)/s.length.Seconds()), report.Count(float64(s.logons)), report.Count(float64(s.pushedOut)),
			report.Count(float64(s.told)), fmt.Sprintf("%.1f", s.cpu.Total().Seconds()*1e6/float64(s.logons)), fmt.Sprint(broken))
	}
	body := t.String()
	if len(problems) > 0 {
		body += "\n```\n" + strings.Join(problems, "\n") + "\n```\n"
	}
	return report.Section{
		Intro: fmt.Sprintf(`
%d connections take one user ID from each other for %v: each logs on, is pushed out by the next, is told so, and comes back
at once. The clients check that each gets the answer to its logon, then the notice of being pushed out, then the end, and
nothing else; the server, that every session that began has ended. In the second run, of %v, all that the user manager does
is written down besides and held against every rule of the contract, which takes time.`, connections, measured, checked),
		Targets: []report.Target{{What: "rules of the contract", Must: "all hold", Measured: fmt.Sprintf("broken %d times", total), Met: total == 0}},
		Body:    body,
	}, nil
}

type stormResult struct {
	name                    string
	length                  time.Duration
	logons, pushedOut, told int
	cpu                     process.CPU
	broken                  map[string]int // what should not have happened, and how often
}

func (b *bench) storm(p peer, connections int, length time.Duration) (stormResult, error) {
	r := stormResult{name: p.name, length: length, broken: make(map[string]int)}
	server, err := b.start(p)
	if err != nil {
		return r, err
	}
	defer server.Stop()
	var (
		mu   sync.Mutex
		wait sync.WaitGroup
	)
	before, end := server.CPU(), time.Now().Add(length)
	for range connections {
		wait.Go(func() {
			o := storm.Client(server.Addr, "storm", end)
			mu.Lock()
			defer mu.Unlock()
			r.told += o.PushedOut
			for what, times := range o.Broken {
				r.broken[what] += times
			}
		})
	}
	wait.Wait()
	r.cpu = server.CPU().Sub(before)
	if err := server.Tell("report"); err != nil {
		return r, err
	}
	for {
		line, err := server.Await("", 2*time.Minute)
		if err != nil {
			return r, err
		}
		if n, _ := fmt.Sscanf(line, "sessions %d %d", &r.logons, &r.pushedOut); n == 2 {
			return r, nil
		}
		if what, ok := strings.CutPrefix(line, "broken: "); ok {
			r.broken[what]++
		}
	}
}
