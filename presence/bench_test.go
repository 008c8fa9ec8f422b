//go:build !race && unix

package presence_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// benched returns a server that does not run, with a service if cfg is not nil.
func benched(b *testing.B, cfg *presence.Config) (*rollcall.Server, *presence.Service) {
	server := testkit.Must(rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"}))
	var states *presence.Service
	if cfg != nil {
		states = presence.New(server.Bridge, *cfg)
	}
	b.Cleanup(func() {
		if err := server.Users.Close(context.Background()); err != nil {
			b.Error(err)
		}
		if states != nil {
			if err := states.Close(context.Background()); err != nil {
				b.Error(err)
			}
		}
	})
	return server, states
}

// flock are users who come or go all at once, without sessions, and are watched by each other.
type flock struct {
	ring   *ring
	states *presence.Service
	here   bool
}

func newFlock(b *testing.B, users, contacts int) *flock {
	r := newRing(users, contacts)
	_, states := benched(b, &presence.Config{Contacts: r, Interval: time.Hour})
	states.Follow(r.users())
	return &flock{ring: r, states: states}
}

// turn has all come, or go, and calls tick for each tick until all is told.
func (f *flock) turn(tick func()) {
	do := f.states.Come
	if f.here {
		do = f.states.Go
	}
	f.here = !f.here
	for _, user := range f.ring.users() {
		do(user)
	}
	for left := true; left; _, left = f.states.Spent() {
		for !f.states.Quiet() {
		}
		tick()
	}
}

// BenchmarkPair is what a pair of a change and a watcher costs: 2,000 users with 200 contacts each come or go, in ticks of 200,000 pairs.
func BenchmarkPair(b *testing.B) {
	f := newFlock(b, 2000, 200)
	before := f.states.Stats().Told
	for b.Loop() {
		f.turn(f.states.Tick)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(f.states.Stats().Told-before), "ns/pair")
}

// BenchmarkStorm is how many ticks it takes to tell that 10,000 users with 1,000 contacts each have come, or gone, and the processor time of the
// process in a tick, on average and at most. A tick is a second in a server.
func BenchmarkStorm(b *testing.B) {
	f := newFlock(b, 10_000, 1000)
	var ticks int
	var all, most time.Duration
	for b.Loop() {
		f.turn(func() {
			before := testkit.ProcessorTime()
			f.states.Tick()
			took := testkit.ProcessorTime() - before
			ticks, all, most = ticks+1, all+took, max(most, took)
		})
	}
	b.ReportMetric(float64(ticks)/float64(b.N), "ticks")
	b.ReportMetric(all.Seconds()*1000/float64(ticks), "cpu-ms/tick")
	b.ReportMetric(most.Seconds()*1000, "max-cpu-ms/tick")
}

// BenchmarkUserMemory reports what a user who is online takes in presence, without the ID and what the store keeps.
func BenchmarkUserMemory(b *testing.B) {
	const users = 100_000
	ids := make([]string, users)
	for i := range ids {
		ids[i] = fmt.Sprintf("user%06d", i)
	}
	for b.Loop() {
		_, states := benched(b, &presence.Config{Store: nowhere{}, Interval: time.Hour})
		before := testkit.Heap().HeapAlloc
		for _, id := range ids {
			states.Come(id)
		}
		for !states.Quiet() {
		}
		states.Tick()
		for !states.Quiet() {
		}
		b.ReportMetric((float64(testkit.Heap().HeapAlloc)-float64(before))/users, "B/user")
	}
}

// nowhere is a store that keeps nothing.
type nowhere struct{}

func (nowhere) LoadPresence(context.Context, []string) ([]presence.Record, error) { return nil, nil }
func (nowhere) SavePresence(context.Context, []presence.Record) error             { return nil }

// BenchmarkLogonAndEnd is a user who comes and goes, without and with presence.
func BenchmarkLogonAndEnd(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  *presence.Config
	}{{"without presence", nil}, {"with presence", &presence.Config{}}} {
		b.Run(c.name, func(b *testing.B) {
			server, _ := benched(b, c.cfg)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l := usermgr.Logon{UserID: fmt.Sprint("user", i%100_000), Address: quickLink{}.Address()}
				s, err := server.Users.Register(b.Context(), l, quickLink{})
				if err != nil {
					b.Fatal(err)
				}
				s.End(protocol.ClientClosed)
			}
		})
	}
}

// quickLink is a link of the kind that the bridge has: the manager calls it on the goroutine of the turn.
type quickLink struct{}

func (quickLink) TrustedLink() bool { return true }
func (quickLink) Address() usermgr.Address {
	return usermgr.Address{Conn: 1, Remote: netip.MustParseAddrPort("192.0.2.1:1234")}
}
func (quickLink) Quiesce(done func()) { done() }
func (quickLink) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}
