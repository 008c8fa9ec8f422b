//go:build linux

package soak

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// fewDescriptors is the limit of open files of the server.
const fewDescriptors = 256

// backlogged is how long a connection without any answer counts as one that was not accepted.
const backlogged = time.Second

// burst is what became of connections that came at once.
type burst struct{ served, refused, cut, waiting atomic.Int64 }

func (b *burst) String() string {
	return fmt.Sprintf("%d served, %d told TooManyConnections, %d closed untold, %d not accepted",
		b.served.Load(), b.refused.Load(), b.cut.Load(), b.waiting.Load())
}

// startBurst makes n connections at once, which log on and stay until they are released.
func startBurst(at target, n int, release <-chan struct{}) (b *burst, wait func()) {
	b = new(burst)
	var left, gone sync.WaitGroup
	left.Add(n)
	for i := range n {
		gone.Go(func() {
			p, err := dial(at)
			if err != nil {
				b.cut.Add(1)
				left.Done()
				return
			}
			defer p.reset()
			_ = p.write(logonFrame(fmt.Sprint("burst", i)))
			_ = p.SetReadDeadline(time.Now().Add(patience))
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				var ce *protocol.CloseError
				if _, err := p.answer(); err == nil {
					b.served.Add(1)
				} else if errors.As(err, &ce) && ce.Code == protocol.TooManyConnections {
					b.refused.Add(1)
				} else {
					b.cut.Add(1)
				}
			}()
			select {
			case <-answered:
			case <-time.After(backlogged):
				// It is in the backlog, where only the system has accepted it.
				b.waiting.Add(1)
				_ = p.SetReadDeadline(time.Now())
				<-answered
				b.cut.Add(-1)
			}
			left.Done()
			<-release
		})
	}
	left.Wait()
	return b, gone.Wait
}

// Rule 15: 1,500 simultaneous connections come to a server that may open 256 files, again and again. It serves as many as
// it has room for, goes on serving earlier ones, refuses the rest, and has lost nothing afterwards.
func TestBurstsWithFewDescriptors(t *testing.T) {
	for name, limit := range map[string]int{"default limit": 0, "no limit": -1} {
		t.Run(name, func(t *testing.T) {
			returnsTheDescriptors(t)
			s := startServer(t, settings{Descriptors: fewDescriptors, MaxConnections: limit, CloseTimeout: time.Second})
			h := startHealthy(t, s.at, 2)
			before := s.stats()
			for range sized(1, 2, 20) {
				release := make(chan struct{})
				b, gone := startBurst(s.at, sized(500, 1500, 1500), release)
				t.Logf("%v; the healthy: %v", b, h.p99())
				if n := b.served.Load(); n < fewDescriptors/4 {
					t.Errorf("%d were served", n)
				}
				close(release)
				gone()
				after := s.isBackAt(before)
				before.usage = after.usage // the first burst brings in what the process keeps
				b, gone = startBurst(s.at, 50, release)
				gone()
				if n := b.served.Load(); n != 50 {
					t.Errorf("after the burst %v", b)
				}
				s.isBackAt(before)
			}
			h.stop()
		})
	}
}

// Rule 15: an application that opens files until there are none left takes nothing from those who are connected, and the
// engine takes others in again when there is room.
func TestApplicationThatEatsTheDescriptors(t *testing.T) {
	returnsTheDescriptors(t)
	s := startServer(t, settings{Descriptors: fewDescriptors, CloseTimeout: time.Second})
	h := startHealthy(t, s.at, 2)
	before := s.stats()
	for range sized(1, 2, 20) {
		eaten := s.ask("eat")
		release := make(chan struct{})
		b, gone := startBurst(s.at, 20, release)
		t.Logf("%s files were opened: %v; the healthy: %v", eaten, b, h.p99())
		if n := b.served.Load(); n > 2 { // what was on its way to be closed when the files were opened
			t.Errorf("%d were served without a descriptor", n)
		}
		if s.ask("spew") != eaten {
			t.Error("not all were closed again")
		}
		close(release)
		gone()
		b, gone = startBurst(s.at, 50, release)
		gone()
		if n := b.served.Load(); n != 50 {
			t.Errorf("when there is room again: %v", b)
		}
		before.usage.Descriptors = max(before.usage.Descriptors, s.isBackAt(before).usage.Descriptors)
	}
	h.stop()
}
