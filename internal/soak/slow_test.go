//go:build linux

package soak

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// receivers are users who read what is pushed to them.
type receivers struct {
	peers   []*peer
	reading sync.WaitGroup

	mu   sync.Mutex
	ages []time.Duration
}

func startReceivers(t testing.TB, at target, n int) *receivers {
	t.Helper()
	r := new(receivers)
	for i := range n {
		p := online(t, at, fmt.Sprint("reader", i))
		r.peers = append(r.peers, p)
		r.reading.Go(func() {
			p.pushed(func(age time.Duration) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.ages = append(r.ages, age)
			})
		})
	}
	return r
}

// take returns how old what came since the last call was.
func (r *receivers) take() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	ages := r.ages
	r.ages = nil
	return ages
}

func (r *receivers) stop() {
	for _, p := range r.peers {
		p.reset()
	}
	r.reading.Wait()
}

// deafMain logs users on who never read, a few hundred a second, and prints "ready". They leave when its input ends.
func deafMain() {
	var c crowd
	childIsTold(&c)
	// Segments of a network's size: for those of the loopback interface, 64 KiB long, the kernel holds megabytes.
	small := func(fd int) {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400)
	}
	var peers []*peer
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := range c.Users {
		<-tick.C
		p, err := dialIn(c.At, patience, small)
		if err == nil {
			err = p.write(logonFrame(fmt.Sprint(c.Prefix, i)))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "a client that never reads:", err)
			os.Exit(1)
		}
		peers = append(peers, p)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, p := range peers {
		p.reset()
	}
}

// neverRead is one way of dealing with peers that never read.
type neverRead struct {
	name   string
	cfg    settings
	does   dealing
	secure bool
}

// dealing is what the server does with peers that never read.
type dealing int

const (
	closes     dealing = iota // each of them
	drops                     // what is sent to them
	closesMost                // until what waits for the others fits into the budget
)

// overBudget is what the engine logs of each connection that the budget closes.
const overBudget = "a connection is closed: more waits than the memory budget allows"

// Rules 14 and 15: 200 peers that never read beside 200 that do. All are pushed 64 B messages, those who never read some
// KiB besides. Each of those is closed, or loses messages, as the policy says, the server's memory stays within what it
// allows them, and the others get all that is pushed.
func TestPeersThatNeverRead(t *testing.T) {
	returnsTheDescriptors(t)
	n := sized(20, 50, 200)
	const limit, budget = 256 << 10, 80 << 20
	within := sized(200*time.Millisecond, 300*time.Millisecond, 2*time.Second)
	byBudget := n * 64 << 10
	for _, v := range []neverRead{
		{"OutboundLimit", settings{OutboundLimit: limit, WriteTimeout: -1, Limits: limits{MemoryBudget: budget}}, closes, false},
		{"OutboundLimit over TLS", settings{OutboundLimit: limit, WriteTimeout: -1, Limits: limits{MemoryBudget: budget}}, closes, true},
		{"WriteTimeout", settings{WriteTimeout: within, Limits: limits{MemoryBudget: 2 * budget}}, closes, false},
		{"MemoryBudget", settings{WriteTimeout: -1, Limits: limits{MemoryBudget: byBudget}}, closesMost, false},
		{"SlowDropNewest", settings{OutboundLimit: limit, SlowPolicy: engine.SlowDropNewest, Limits: limits{MemoryBudget: budget}}, drops, false},
		{"SlowDropOldest", settings{OutboundLimit: limit, SlowPolicy: engine.SlowDropOldest, Limits: limits{MemoryBudget: budget}}, drops, false},
	} {
		t.Run(v.name, func(t *testing.T) { v.run(t, n) })
	}
}

func (v neverRead) run(t *testing.T, n int) {
	besideOthers(t)
	v.cfg.PushEvery, v.cfg.PushBulk, v.cfg.CloseTimeout = 20*time.Millisecond, sized(16, 16, 4)<<10, 500*time.Millisecond
	if v.secure {
		v.cfg.TLS = newCertificate(t)
	}
	s := startServer(t, v.cfg)
	r := startReceivers(t, s.at, n)
	before := s.collected()
	r.take()

	// The last round measures memory, which takes the server's time.
	var with, without []time.Duration
	rounds := sized(1, 1, 6)
	highest := before
	for round := range rounds {
		last := round == rounds-1
		began := time.Now()
		slow := startIdle(t, "deaf", crowd{At: s.at, Prefix: fmt.Sprintf("slow%d.", round), Users: n})
		if got := slow.line(); got != "ready" {
			t.Fatal(got)
		}
		look := func() state {
			if !last {
				return s.stats()
			}
			st := s.collected()
			if st.Resident > highest.Resident {
				highest = st
			}
			return st
		}
		deadline := began.Add(patience)
		for ; ; time.Sleep(50 * time.Millisecond) {
			st := look()
			if time.Since(began) > v.least() && v.isDealingWith(n, round, st) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the slow ones were not dealt with: %+v", st)
			}
		}
		took := time.Since(began)
		if !last || rounds == 1 {
			with = append(with, r.take()...)
		}
		slow.end()
		s.until("only those who read are left", func(now state) bool { return now.Engine.Conns.Open == n })
		if rounds == 1 {
			took = took / 4 // no time matters
		}
		if r.take(); !last || rounds == 1 {
			for calm := time.Now(); time.Since(calm) < took; time.Sleep(50 * time.Millisecond) { // what is pushed meanwhile is measured
				s.stats()
			}
			without = append(without, r.take()...)
		}
	}
	after := s.collected()
	a, b := latencyOf(without), latencyOf(with)
	t.Logf("%d readers without them: %v; with %d that never read, %d times: %v; ratio of p99 %.1f", n, a, n, rounds, b, b.over(a))
	t.Logf("memory: %d MB before, at most %d MB in use, %d MB with what was not yet collected, %d MB after; dropped %d", before.Resident>>20,
		highest.Resident>>20, after.Peak>>20, after.Resident>>20, after.Engine.Dropped.Messages)

	if a.n == 0 || b.n == 0 || after.Users != n {
		t.Errorf("%d readers are left, who got %d and %d pushes", after.Users, a.n, b.n)
	}
	v.hasDealtWith(t, n*rounds, n*rounds/2, after)
	// What waits may have twice its size in memory, as a slice that has grown; the rest is for buffers that are kept.
	allowed := 2*v.cfg.Limits.MemoryBudget + 32<<20
	if grown := highest.Resident - before.Resident; !raced && grown > allowed {
		t.Errorf("memory in use grew by %d MB, %d MB are allowed", grown>>20, allowed>>20)
	}
	r.stop()
	s.until("everybody is gone", func(now state) bool { return now.Users == 0 && now.Engine.Conns.Open == 0 })
}

// least is how long a round takes at least: where no connection is closed only the time ends it.
func (v neverRead) least() time.Duration {
	if v.does == closes {
		return 0
	}
	return sized(300*time.Millisecond, 500*time.Millisecond, 5*time.Second)
}

// isDealingWith reports whether a round, of which there were some before, has come so far that its peers may go.
func (v neverRead) isDealingWith(n, rounds int, now state) bool {
	switch v.does {
	case closes:
		return now.Codes[protocol.SlowConsumer.Error()] == n*(rounds+1)
	case closesMost:
		return now.Codes[protocol.SlowConsumer.Error()] >= (rounds+1)*n/2
	}
	return now.Droppers == n*(rounds+1)
}

// hasDealtWith checks what became of all who never read.
func (v neverRead) hasDealtWith(t *testing.T, all, most int, after state) {
	slow, byBudget := after.Codes[protocol.SlowConsumer.Error()], after.Warnings[overBudget]
	var ok bool
	switch v.does {
	case closes:
		ok = slow == all && byBudget == 0
	case closesMost:
		ok = slow >= most && byBudget > 0 // the log has some lines of a kind, not all
	case drops:
		ok = slow == 0 && byBudget == 0 && after.SessionsDropped == all
	}
	if !ok || after.Disconnected != all {
		t.Errorf("of %d that never read %d were closed by SlowConsumer, %d of them by the budget; %d lost messages; %v", all, slow,
			byBudget, after.SessionsDropped, after.Codes)
	}
}
