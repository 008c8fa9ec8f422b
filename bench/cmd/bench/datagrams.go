//go:build linux

package main

import (
	"fmt"

	"github.com/rollcall-go/rollcall/bench/internal/report"
)

// datagrams measures sessions over UDP.
func datagrams(b *bench) (report.Section, error) {
	s := report.Section{Intro: `
The benchmarks of packages engine, client and internal/udpwire: what they measure is said in their comments. The server by hand reads and writes with the same
system calls, recvmmsg and sendmmsg, sends back what comes, and does nothing else: it has no sessions. An echo is a datagram there and back, with frames of 64
bytes. Generator and server share the two processors. The generator keeps 1,024 datagrams of a hundred sessions under way, or sends 64 of one session and waits for
all of them: then what counts is how soon a server that sleeps wakes up, and Rollcall's wakes two goroutines, the one that waits for the socket and the event
loop. Where a fifth of all datagrams is lost, either way, a hundred clients log on at a time; what is not answered is sent again after 200 ms. A
datagram beside TLS is sealed and opened besides. Each figure is the median of three runs.`}
	var f figures
	for _, run := range [][3]string{
		{"./engine", "^BenchmarkUDPEcho$", "500000x"}, {"./engine", "^BenchmarkUDPIdle$", "1x"},
		{"./client", "^BenchmarkLogonsWithLoss$", "2000x"}, {"./internal/udpwire", "^BenchmarkSealed$", "1s"},
	} {
		if err := b.goBench(&f, ".", run[0], run[1], run[2]); err != nil {
			return s, err
		}
	}
	echoes := report.Table{Head: []string{"an echo", "engine, µs", "by hand, µs", "rate ÷ by hand"}}
	ratio := func(load string) float64 {
		own, byHand := f.of("UDPEcho/engine,_"+load, "ns/op"), f.of("UDPEcho/by_hand,_"+load, "ns/op")
		return byHand / own
	}
	for _, of := range [][2]string{
		{"a frame a datagram, 1,024 under way", "a_frame,_1024_under_way"}, {"14 frames a datagram, 1,024 under way", "14_frames,_1024_under_way"},
		{"a frame a datagram, 64 and wait", "a_frame,_64_and_wait"}, {"14 frames a datagram, 64 and wait", "14_frames,_64_and_wait"},
	} {
		echoes.Row(of[0], fmt.Sprintf("%.2f", f.of("UDPEcho/engine,_"+of[1], "ns/op")/1000), fmt.Sprintf("%.2f", f.of("UDPEcho/by_hand,_"+of[1], "ns/op")/1000),
			fmt.Sprintf("%.3f", ratio(of[1])))
	}
	others := report.Table{Head: []string{"", ""}}
	for _, of := range []struct{ what, name, unit, format string }{
		{"a logon where a fifth is lost: half within, ms", "LogonsWithLoss", "p50-ms", "%.0f"},
		{"the same: 99 % within, ms", "LogonsWithLoss", "p99-ms", "%.0f"},
		{"the same: the longest of 2,000, ms", "LogonsWithLoss", "longest-ms", "%.0f"},
		{"to seal and open 64 B, ns", "Sealed/64B", "ns/op", "%.0f"},
		{"to seal and open 1,166 B, ns", "Sealed/1166B", "ns/op", "%.0f"},
		{"to make the two ciphers of a session, ns", "Sealed/ciphers", "ns/op", "%.0f"},
	} {
		others.Row(of.what, fmt.Sprintf(of.format, f.of(of.name, of.unit)))
	}
	atHand, within := ratio("a_frame,_1024_under_way"), f.of("LogonsWithLoss", "%-within-3s")
	s.Targets = []report.Target{
		{What: "an echo, a frame a datagram, 1,024 under way", Must: "≥ 0.80 × by hand", Measured: fmt.Sprintf("%.3f", atHand), Met: atHand >= 0.8},
		upTo("an idle session, with its user", f.of("UDPIdle", "B/session"), 600, "B"),
		{What: "logons within 3 s where a fifth is lost", Must: "≥ 99.9 %", Measured: fmt.Sprintf("%.1f %%", within), Met: within >= 99.9},
	}
	s.Body = echoes.String() + "\n" + others.String()
	return s, f.complete()
}
