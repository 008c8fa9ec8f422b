//go:build linux

package soak

import (
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
)

// floodBudget is the memory budget of servers that are flooded.
const floodBudget = 64 << 20

// advised are the limits that docs/security.md advises for 10,000 connections.
var advised = limits{MaxPerAddress: 100, MaxPerSubnet: 1000, AcceptRate: 2000, Bans: engine.Bans{FailedLogons: 100, Flaps: 300},
	MemoryBudget: floodBudget, MaxMessageRate: 2000, MaxAuthenticating: 256, MaxLogons: 256, Procs: runtime.NumCPU() + 2}

// Rule 15: a flood of connections that want nothing good, against a server with the default limits, and against one with
// those that are advised. Healthy connections go on, and when it is over the server holds no more than before.
func TestFloods(t *testing.T) {
	returnsTheDescriptors(t)
	for _, name := range slices.Sorted(maps.Keys(floods)) {
		t.Run(name, func(t *testing.T) {
			besideOthers(t)
			t.Run("default limits", func(t *testing.T) { floods[name].run(t, name, limits{}) })
			t.Run("advised limits", func(t *testing.T) { floods[name].run(t, name, advised) })
		})
	}
}

func (f flood) run(t *testing.T, name string, l limits) {
	besideOthers(t)
	duration := sized(200*time.Millisecond, 200*time.Millisecond, min(soakTime()/3, 20*time.Second))
	cfg := settings{Authenticate: true, CloseTimeout: time.Second, Limits: l, Web: f.over == overWeb, UDP: f.over == overUDP}
	if f.over == overTLS {
		cfg.TLS = newCertificate(t)
	}
	if f.unfinished {
		wait := sized(100*time.Millisecond, 200*time.Millisecond, 5*time.Second)
		cfg.LogonTimeout, cfg.HandshakeTimeout = wait, wait
	}
	s := startServer(t, cfg)
	h := startHealthy(t, s.at, 4)
	s.until("nobody is there but the healthy", func(now state) bool { return now.Engine.Conns.Open == 4 && now.Users == 4 })
	before := s.collected()
	h.newcomers(s.at)

	calm := h.phase(duration / 2)
	attack := startIdle(t, "attack", orders{At: s.at, Flood: name, Attackers: f.attackers, Addresses: f.addresses, Rate: f.rate})
	if got := attack.line(); got != "ready" {
		t.Fatal(got)
	}
	flooded := h.phase(duration)
	seen := attack.stop()
	during := s.stats()
	after := s.isBackAt(before)
	calm = calm.and(h.phase(duration / 2))
	h.stop()
	last := s.collected()

	t.Logf("%.0f attacks a second: %v; refused %+v; %d bans", float64(seen.Done)/seen.Took.Seconds(), seen.Ends,
		during.Engine.Refused, during.Engine.Bans)
	t.Logf("answers without: %v; with: %v; ratio of p99 %.1f", calm.answers(), flooded.answers(), flooded.answers().over(calm.answers()))
	t.Logf("log-ons without: %v, %d failed; with: %v, %d failed", calm.logons(), calm.turnedAway, flooded.logons(), flooded.turnedAway)
	t.Logf("before %v; at most %d MB; after %v; %v", before.usage, after.Peak>>20, last.usage, last.Warnings)

	if seen.Done == 0 {
		t.Error("there was no attack")
	}
	for end, n := range seen.Ends {
		gaveWay := end == notReached && f.over == overTLS && n <= int(after.Engine.Refused.Handshake) // a slow handshake, to others that waited
		if l.none() && end != left && !gaveWay && !slices.Contains(f.ends, end) {
			t.Errorf("%d attacks ended with %q", n, end)
		}
	}
	if !l.none() {
		f.wasRefused(t, name, seen, during)
	}
	if grown := after.Peak - before.Resident; !raced && grown > floodBudget {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
}

// wasRefused checks that the limits that this flood is about were at work.
func (f flood) wasRefused(t *testing.T, name string, seen toll, during state) {
	by, bans := during.Engine.Refused, during.Engine.Bans
	perAddress := seen.Done / f.addresses
	switch {
	case name == "bad logons" && perAddress > 4*advised.Bans.FailedLogons && (bans != f.addresses || by.Banned == 0):
		t.Errorf("%d addresses that cannot log on are banned", bans)
	case f.ends == nil && perAddress > 2*advised.Bans.Flaps && (bans != f.addresses || by.Banned == 0):
		t.Errorf("%d addresses that come and go are banned", bans)
	case soakTime() > 0 && f.unfinished && by.Address == 0 && by.Banned == 0: // a short flood may not come so far
		t.Errorf("%d connections from one address were let in", f.attackers/f.addresses)
	case soakTime() > 0 && f.over == overWeb && !f.unfinished && seen.Ends[f.ends[0]] == 0:
		t.Errorf("nobody was thrown out with %s", f.ends[0])
	}
}
