//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/users"
)

// userManager measures the user manager without an engine, each number of users in a process of its own.
func userManager(b *bench) (report.Section, error) {
	sizes := []int{1_000, 100_000, 1_000_000}
	settings := users.Settings{Pairs: b.pairs, HeartbeatInterval: time.Second, HeartbeatTimeout: 30 * time.Second,
		HeartbeatFor: 30 * time.Second}
	if b.short {
		sizes = sizes[:2]
		settings.HeartbeatTimeout, settings.HeartbeatFor = 3*time.Second, 2*time.Second
	}
	var found []users.Figures
	for _, settings.Users = range sizes {
		f, err := b.measureUsers(settings)
		if err != nil {
			return report.Section{}, err
		}
		found = append(found, f)
	}

	t := report.Table{Head: []string{"ns/op, users online:"}}
	for _, n := range sizes {
		t.Head = append(t.Head, report.Count(float64(n)))
	}
	most := found[len(found)-1]
	t.Head = append(t.Head, "the last ÷ the first")
	row := func(name string, text func(users.Figures) string, growth string) {
		cells := []string{name}
		for _, f := range found {
			cells = append(cells, text(f))
		}
		t.Row(append(cells, growth)...)
	}
	ns := func(name string, value func(users.Figures) float64) {
		row(name, func(f users.Figures) string { return fmt.Sprintf("%.1f", value(f)) }, fmt.Sprintf("%.1f", value(most)/value(found[0])))
	}
	ns("register, events told", func(f users.Figures) float64 { return f.Register })
	ns("unregister, events told", func(f users.Figures) float64 { return f.Unregister })
	ns("look up (IsOnline)", func(f users.Figures) float64 { return f.LookUp })
	ns("sync.Map.Load", func(f users.Figures) float64 { return f.SyncMapLoad })
	row("look up ÷ sync.Map.Load", func(f users.Figures) string { return f.LookUpRatio.String() }, "")
	ns("look up (Links)", func(f users.Figures) float64 { return f.Links })
	ns("beat, one session", func(f users.Figures) float64 { return f.Beat })
	ns("beat, everybody in random order", func(f users.Figures) float64 { return f.BeatAll })
	ns("count a message, one session", func(f users.Figures) float64 { return f.Count })
	ns("count a message, everybody in random order", func(f users.Figures) float64 { return f.CountAll })
	ns("page through all, 100 a page, a user", func(f users.Figures) float64 { return f.Page })
	ns("range over all, a user", func(f users.Figures) float64 { return f.Iterate })
	row("bytes a user, with its session", func(f users.Figures) string { return fmt.Sprintf("%.0f", f.BytesPerUser) },
		fmt.Sprintf("%.1f", most.BytesPerUser/found[0].BytesPerUser))
	row(fmt.Sprintf("heartbeat at %v and %v, of a core", settings.HeartbeatInterval, settings.HeartbeatTimeout),
		func(f users.Figures) string { return fmt.Sprintf("%.2f %%", f.HeartbeatCPU) }, "")

	count := report.Count(float64(sizes[len(sizes)-1]))
	var targets []report.Target
	for i, f := range found {
		targets = append(targets, report.Target{What: "look up, " + report.Count(float64(sizes[i])) + " users",
			Must: "≤ 1.00 × sync.Map.Load", Measured: f.LookUpRatio.String(), Met: f.LookUpRatio.Median <= 1})
	}
	targets = append(targets,
		upTo("beat, one session", most.Beat, 10, "ns"),
		upTo("count a message, one session", most.Count, 10, "ns"),
		upTo("a user, "+count+" users", most.BytesPerUser, 600, "B"),
		upTo("heartbeat, "+count+" users", most.HeartbeatCPU, 2, "% of a core"))
	return report.Section{Intro: `
No engine and no sockets; one goroutine on one processor asks. Users are asked for in random order, as messages come, so
that with many of them memory is what takes the time; the same holds for the sync.Map, which has the same keys. The last
column says how much slower an operation is among the most users than among the fewest: a search through all of them would
be a thousand times slower. The bytes of a user are those of the heap, without its connection and the text of its ID. For
the heartbeat every user beats three times a timeout; the CPU time is that of all threads but the one that sends the beats.`,
		Targets: targets, Body: t.String()}, nil
}

func upTo(what string, is, limit float64, unit string) report.Target {
	return report.Target{What: what, Must: fmt.Sprintf("≤ %.0f %s", limit, unit), Measured: fmt.Sprintf("%.1f %s", is, unit), Met: is <= limit}
}

func (b *bench) measureUsers(s users.Settings) (users.Figures, error) {
	return b.runUsers(b.program("users"), s)
}

// runUsers has a program measure.
func (b *bench) runUsers(program string, s users.Settings) (users.Figures, error) {
	var f users.Figures
	p, err := process.Run(b.serverCPUs(1), program, "-users", fmt.Sprint(s.Users), "-pairs", fmt.Sprint(s.Pairs),
		"-interval", s.HeartbeatInterval.String(), "-timeout", s.HeartbeatTimeout.String(), "-heartbeat", s.HeartbeatFor.String())
	if err != nil {
		return f, err
	}
	defer p.Stop()
	line, err := p.Await("figures ", 10*time.Minute)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal([]byte(line), &f)
}
