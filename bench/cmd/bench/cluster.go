//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/nodes"
	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/report"
)

// clusterStore measures what a cluster's store on Redis adds to logons.
func clusterStore(b *bench) (report.Section, error) {
	users, length := b.either(1_000_000, 50_000), 10*time.Second
	if b.short {
		length = 2 * time.Second
	}
	var f nodes.Figures
	version, err := b.measureNodes(&f, "-users", fmt.Sprint(users), "-for", length.String())
	if err != nil {
		return report.Section{}, err
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1e3) }
	atMost := func(what string, is, limit float64, unit string) report.Target {
		return report.Target{What: what, Must: fmt.Sprintf("≤ %.3g %s", limit, unit), Measured: fmt.Sprintf("%.3g %s", is, unit), Met: is <= limit}
	}
	within := func(what, must string, is, limit time.Duration) report.Target {
		return report.Target{What: what, Must: must + " = " + ms(limit), Measured: ms(is), Met: is <= limit}
	}
	rtt := f.RoundTrip.P50
	targets := []report.Target{
		atMost("a logon", f.LogonOps, 1.01, "operations"),
		within("a logon, half of them", "≤ a round trip + 0.15 ms", f.Logon.P50, rtt+150*time.Microsecond),
		within("a logon that replaces a session at another node, half of them", "≤ 3 round trips + 0.5 ms", f.Replace.P50, 3*rtt+500*time.Microsecond),
		within(fmt.Sprintf("the same at %d a second, 99 %% of them", nodes.Rate), "≤ 20 ms", f.ReplaceAtRate.P99, 20*time.Millisecond),
		atMost("a node's lease", f.LeaseOps, 0.3, "operations/s"),
		atMost("a user in the store", f.BytesPerUser, 65, "B"),
	}
	t := report.Table{Head: []string{"", "operations", "half within", "99 % within"}}
	t.Row("a PING", "", ms(f.RoundTrip.P50), ms(f.RoundTrip.P99))
	t.Row("a logon of a user who is nowhere else", fmt.Sprintf("%.2f", f.LogonOps), ms(f.Logon.P50), ms(f.Logon.P99))
	t.Row("the end of a session", fmt.Sprintf("%.2f", f.EndOps), "", "")
	t.Row("a logon that replaces a session at another node, with that session's end", fmt.Sprintf("%.2f", f.ReplaceOps), ms(f.Replace.P50), ms(f.Replace.P99))
	t.Row(fmt.Sprintf("the same at %d a second", nodes.Rate), "", ms(f.ReplaceAtRate.P50), ms(f.ReplaceAtRate.P99))

	memory := report.Table{Head: []string{"a user in the heap of", "B"}}
	memory.Row("a node", fmt.Sprintf("%.0f", f.BytesOnNode))
	memory.Row("a user manager without a cluster", fmt.Sprintf("%.0f", f.BytesAlone))

	inStore := report.Table{Head: []string{"a user in the store", "B"}}
	inStore.Row("one session", fmt.Sprintf("%.1f", f.BytesPerUser))
	for _, shape := range []struct {
		what string
		args []string
	}{
		{"one session, with a token", []string{"-token"}},
		{"two sessions of two device classes", []string{"-sessions", "2"}},
		{"two sessions with tokens", []string{"-sessions", "2", "-token"}},
		{"one session, an ID of 36 bytes", []string{"-id", "36"}},
	} {
		var bytes float64
		if _, err := b.measureNodes(&bytes, append(shape.args, "-what", "bytes", "-users", fmt.Sprint(users))...); err != nil {
			return report.Section{}, err
		}
		inStore.Row(shape.what, fmt.Sprintf("%.1f", bytes))
		if shape.args[0] != "-id" {
			targets = append(targets, atMost("the same, "+shape.what, bytes, 100, "B"))
		}
	}

	p, err := b.pages(length)
	if err != nil {
		return report.Section{}, err
	}
	const page = 5 * time.Millisecond
	targets = append(targets,
		report.Target{What: "a page of all users, 99 % of them", Must: "≤ " + ms(page), Measured: ms(p.Page.P99), Met: p.Page.P99 <= page},
		report.Target{What: "users counted at rest", Must: report.Count(float64(p.Users)), Measured: report.Count(float64(p.Counted)), Met: p.Counted == p.Users},
		report.Target{What: "users of a listing at rest", Must: report.Count(float64(p.Users)), Measured: report.Count(float64(p.Listed)), Met: p.Listed == p.Users})
	all := report.Table{Head: []string{report.Count(float64(p.Users)) + " users at three nodes", "half within", "99 % within"}}
	all.Row("a page of 100 of them", ms(p.Page.P50), ms(p.Page.P99))
	all.Row("their number", ms(p.Count.P50), ms(p.Count.P99))

	sizes := report.Table{Head: []string{"computed from that", "1 million users, 20 nodes", "10 million users, 200 nodes"}}
	both := func(what string, of func(users, nodes float64) string) { sizes.Row(what, of(1e6, 20), of(1e7, 200)) }
	both("the store's records", func(u, _ float64) string { return fmt.Sprintf("%.0f MB", u*f.BytesPerUser/1e6) })
	both("the heap of a node", func(u, n float64) string { return fmt.Sprintf("%.0f MB", u*f.BytesOnNode/n/1e6) })
	both("leases", func(_, n float64) string { return fmt.Sprintf("%.1f operations/s", n*f.LeaseOps) })
	core := func(perSecond float64) string { return fmt.Sprintf("%.1f %%", perSecond*f.StoreCPU/1e6*100) }
	both("the store's processor, sessions of an hour: logons and ends", func(u, _ float64) string { return core(2 * u / 3600) })
	both("the store's processor, everyone logs on again within a minute", func(u, _ float64) string { return core(u / 60) })
	both("the store's processor, a node is restarted, its users move within 30 s", func(u, n float64) string { return core(2 * u / n / 30) })

	return report.Section{Intro: fmt.Sprintf(`
Two nodes of a cluster, in a process of their own, whose store and mesh are %s on the same machine: user managers without engines, and
links that do nothing, so that this is what the store and the other node add to a logon. An operation is a call of one of the store's
functions. With 64 logons under way the nodes and the server did %s logons a second, and a logon took %.1f µs of the server's processor.
The bytes of a user are those of the server, with %s users online, an ID of 13 bytes and one session each; those of the
heaps have the session, and the text of the ID. Pages and counts of all users are those of Node.UserPage and Node.Count, asked at each node in turn, one at a
time; a node counts anew when its last count is a second old. More than 8 million users want more than the default number of buckets.`,
		version, report.Count(f.LogonsPerS), f.StoreCPU, report.Count(float64(users))),
		Targets: targets, Body: t.String() + "\n" + inStore.String() + "\n" + memory.String() + "\n" + all.String() + "\n" + sizes.String()}, nil
}

// pages measures listings of the users of three nodes.
func (b *bench) pages(length time.Duration) (f nodes.PageFigures, err error) {
	_, err = b.measureNodes(&f, "-what", "pages", "-nodes", "3", "-users", fmt.Sprint(b.either(30_000, 3000)), "-for", length.String())
	return f, err
}

// clusterMesh measures the ways between two nodes.
func clusterMesh(b *bench) (report.Section, error) {
	length := 10 * time.Second
	if b.short {
		length = 2 * time.Second
	}
	var f nodes.MeshFigures
	version, err := b.measureNodes(&f, "-what", "mesh", "-for", length.String())
	if err != nil {
		return report.Section{}, err
	}
	var r nodes.RelayFigures
	if _, err = b.measureNodes(&r, "-what", "relay", "-for", length.String()); err != nil {
		return report.Section{}, err
	}
	us := func(d time.Duration) string { return fmt.Sprintf("%.0f µs", d.Seconds()*1e6) }
	t := report.Table{Head: []string{"", "frames/s", "there and back, half", "99 %", "µs of the nodes a frame", "µs of the server", "lost"}}
	row := func(what string, w nodes.WayFigures) {
		t.Row(what, report.Count(w.PerS), us(w.There.P50), us(w.There.P99), fmt.Sprintf("%.2f", w.CPU), fmt.Sprintf("%.2f", w.ServerCPU),
			fmt.Sprintf("%.2f %%", w.Lost*100))
	}
	row("direct, over TCP (cluster/mesh)", f.Direct)
	row("over the server, by SPUBLISH (cluster/redisdir)", f.Redis)
	row("without Rollcall: PUBLISH, one goroutine", f.Alone)
	row(fmt.Sprintf("without Rollcall: PUBLISH, %d goroutines", nodes.Publishers), f.Publish)
	relay := report.Table{Head: []string{"a request from user to user, and its answer", "half within", "99 % within", "requests/s, 64 under way"}}
	for _, c := range []struct {
		what string
		f    nodes.RelayFigure
	}{{"both at one node", r.OneNode}, {"at two nodes, direct", r.Direct}, {"at two nodes, over the server", r.Redis}} {
		relay.Row(c.what, us(c.f.There.P50), us(c.f.There.P99), report.Count(c.f.PerS))
	}
	slower := float64(r.Direct.There.P50) / float64(r.OneNode.There.P50)
	const least = 500_000
	return report.Section{Intro: fmt.Sprintf(`
Two nodes' meshes in one process send frames of %d bytes to each other: one at a time, each answered by another, and then as many as
go, from one node to the other. The server is %s, on the same machine. Beside them is what PUBLISH and SUBSCRIBE by rueidis do without Rollcall: a
goroutine waits for the server's answer before its next frame, and rueidis puts together what several goroutines send at once, which then has no
order. Then a client asks another one, with a body of as many bytes, by way of
their engines; clients, engines and nodes are one process.`, nodes.FrameSize, version),
		Targets: []report.Target{
			{What: "frames from node to node in a second, direct", Must: "≥ " + report.Count(least),
				Measured: report.Count(f.Direct.PerS), Met: f.Direct.PerS >= least},
			{What: "a request from user to user over two nodes, direct", Must: "≤ 1.5 × one node", Measured: fmt.Sprintf("%.2f", slower), Met: slower <= 1.5},
		},
		Body: t.String() + "\n" + relay.String()}, nil
}

// measureNodes starts an empty redis-server, and has the program nodes measure with it. It returns the server's version.
func (b *bench) measureNodes(figures any, args ...string) (version string, err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", fmt.Errorf("this table needs redis-server 7.0 or later: apt-get install redis-server")
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "", err
	}
	version = "redis-server"
	if _, after, ok := strings.Cut(string(out), " v="); ok {
		version += " " + strings.Fields(after)[0]
	}
	folder, err := os.MkdirTemp(b.dir, "redis")
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(addr)
	server, err := process.Run(b.cpus, path, "--bind", "127.0.0.1", "--port", port, "--dir", folder, "--save", "", "--appendonly", "no",
		"--stop-writes-on-bgsave-error", "no", "--hash-max-listpack-value", "256")
	if err != nil {
		return "", err
	}
	defer server.Stop()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(end) {
			return "", err
		}
	}
	p, err := process.Run(b.cpus, b.program("nodes"), append([]string{"-redis", addr}, args...)...)
	if err != nil {
		return "", err
	}
	defer p.Stop()
	line, err := p.Await("figures ", 10*time.Minute)
	if err != nil {
		return "", err
	}
	return version, json.Unmarshal([]byte(line), figures)
}
