//go:build linux

package soak

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// receivers are users who read what is pushed to them.
type receivers struct {
	peers   []*peer
	reading sync.WaitGroup

	mu   sync.Mutex
	ages []time.Duration
}

func startReceivers(t testing.TB, addr string, n int) *receivers {
	t.Helper()
	r := new(receivers)
	for i := range n {
		p := online(t, addr, fmt.Sprint("reader", i))
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

func (r *receivers) latency() latency {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := latencyOf(r.ages)
	r.ages = nil
	return l
}

func (r *receivers) stop() {
	for _, p := range r.peers {
		_ = p.Close()
	}
	r.reading.Wait()
}

// Rules 14 and 15: 200 peers that never read, while 200 others are pushed 64 B messages. Each slow one is closed with
// SlowConsumer, the server's memory stays within what it allows them, and the others get all that is pushed.
func TestPeersThatNeverRead(t *testing.T) {
	returnsTheDescriptors(t)
	n := sized(20, 200, 200)
	const limit = 256 << 10
	s := startServer(t, settings{OutboundLimit: limit, PushEvery: 20 * time.Millisecond, PushBulk: sized(192, 48, 48) << 10,
		CloseTimeout: 500 * time.Millisecond, CollectBeforeStats: true})
	r := startReceivers(t, s.addr, n)
	calm := sized(300*time.Millisecond, 2*time.Second, 5*time.Second)
	time.Sleep(calm) // what is pushed meanwhile is measured
	without, before := r.latency(), s.stats()

	var slow []*peer
	highest, after := before.Resident, before
	for round := range sized(1, 1, 10) {
		for i := range n {
			p, err := dial(s.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.reset)
			_ = p.SetReadBuffer(4096)
			if err := p.write(logonFrame(fmt.Sprintf("slow%d.%d", round, i))); err != nil {
				t.Fatal(err)
			}
			slow = append(slow, p)
		}
		s.until("every slow one is closed by SlowConsumer", func(now state) bool {
			highest = max(highest, now.Resident)
			return now.Codes[protocol.SlowConsumer.String()] == len(slow)
		})
		after = s.until("only those who read are left", func(now state) bool { return now.Engine.Connections == n })
		t.Logf("round %d: at most %d MB, %d MB after it", round+1, highest>>20, after.Resident>>20)
	}
	with := r.latency()
	t.Logf("%d readers without them: %v; with %d × %d that never read: %v", n, without, len(slow)/n, n, with)
	t.Logf("memory: %d MB before, at most %d MB, %d MB after", before.Resident>>20, highest>>20, after.Resident>>20)
	// A full queue has up to twice its size in memory, and what is being written is there once more.
	if allowed := 4*n*limit + 64<<20; !raced && highest-before.Resident > allowed {
		t.Errorf("memory grew by %d MB", (highest-before.Resident)>>20)
	}
	if without.n == 0 || with.n == 0 || after.Users != n {
		t.Errorf("%d readers are left, who got %d and %d pushes", after.Users, without.n, with.n)
	}
	r.stop()
	s.until("everybody is gone", func(now state) bool { return now.Users == 0 && now.Engine.Connections == 0 })
}
