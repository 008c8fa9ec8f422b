//go:build !race

package presence_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// lookouts are Contacts in which some users watch all others, and not each other.
type lookouts struct{ watchers, all []string }

func (l *lookouts) Watchers(_ context.Context, userID string) ([]string, error) {
	if slices.Contains(l.watchers, userID) {
		return nil, nil
	}
	return l.watchers, nil
}
func (l *lookouts) Watched(context.Context, string) ([]string, error) { return l.all, nil }
func (l *lookouts) MaySee(_ context.Context, _ string, about []string) (see, blocked []string, err error) {
	return about, nil, nil
}

// BenchmarkNotice is the time from a change until a client has the notice, at 1,000 changes a second for ten seconds, beyond the default Interval. 10 clients
// watch 5,000 users, who come and go.
func BenchmarkNotice(b *testing.B) {
	const users, clients, changes, aSecond = 5000, 10, 10_000, 1000
	l := &lookouts{}
	for i := range users {
		l.all = append(l.all, fmt.Sprintf("user%04d", i))
	}
	for i := range clients {
		l.watchers = append(l.watchers, fmt.Sprintf("watcher%d", i))
	}
	for b.Loop() {
		late := notices(b, l, changes, aSecond)
		slices.Sort(late)
		if len(late) != changes*clients {
			b.Fatalf("%d notices have come, and not %d", len(late), changes*clients)
		}
		b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-ms")
	}
}

// notices has users come, and go when all have come, and returns how much later than the Interval each notice has come.
func notices(b *testing.B, l *lookouts, changes, aSecond int) (late []time.Duration) {
	var states *presence.Service
	server := rollcalltest.NewServer(b, rollcall.Config{}, func(s *rollcall.Server) { states = presence.New(s.Bridge, presence.Config{Contacts: l}) })
	defer func() {
		server.Stop()
		if err := states.Close(context.Background()); err != nil {
			b.Error(err)
		}
	}()
	var mu sync.Mutex
	var reading sync.WaitGroup
	changed := make(map[string]time.Time)
	for _, id := range l.watchers {
		c := watching(b, server.Addr, id)
		reading.Go(func() {
			defer func() { _ = c.Close() }()
			var in wiretest.Reader
			for n := 0; n < changes; {
				m, err := in.Next(c.Read)
				if err != nil {
					b.Error(err)
					return
				}
				o, err := protocol.ParseOperation(m.Body)
				if err != nil || o.Op != protocol.PresenceNotice {
					continue
				}
				came := time.Now()
				all, err := protocol.ParsePresences(o.Content)
				if err != nil {
					b.Error(err)
					return
				}
				n += len(all)
				mu.Lock()
				for _, p := range all {
					late = append(late, came.Sub(changed[p.UserID])-time.Second)
				}
				mu.Unlock()
			}
		})
	}
	pace := time.NewTicker(time.Second / time.Duration(aSecond))
	defer pace.Stop()
	for i := range changes {
		id, do := l.all[i%len(l.all)], states.Come
		if i/len(l.all)%2 == 1 {
			do = states.Go
		}
		<-pace.C
		mu.Lock()
		changed[id] = time.Now()
		mu.Unlock()
		do(id)
	}
	reading.Wait()
	return late
}

// watching returns the connection of a client that watches.
func watching(b *testing.B, addr, user string) net.Conn {
	c := testkit.Must(net.Dial("tcp", addr))
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	for _, m := range []*protocol.Message{wiretest.Logon(user), wiretest.Request(protocol.TypePresence, 2, protocol.PresenceWatch, nil)} {
		if _, err := c.Write(testkit.Must(protocol.Binary.Append(nil, m))); err != nil {
			b.Fatal(err)
		}
		var in wiretest.Reader
		if _, err := in.Next(c.Read); err != nil {
			b.Fatal(err)
		}
	}
	return c
}
