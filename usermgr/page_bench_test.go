//go:build !race

package usermgr_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const million = 1_000_000

// bareLink is as little of a connection as a session needs.
type bareLink uint64

func (l bareLink) Address() usermgr.Address {
	return usermgr.Address{Conn: uint64(l), Remote: somewhere}
}
func (bareLink) Quiesce(done func()) { done() }
func (bareLink) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// aMillion returns a manager with a million users online. It is left as it is: to log a million off takes longer than what
// is measured.
func aMillion(b *testing.B) *usermgr.Manager {
	m := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1}))
	for i := range million {
		link := bareLink(i)
		l := usermgr.Logon{UserID: fmt.Sprintf("user%07d", i), Address: link.Address()}
		if _, err := m.Register(b.Context(), l, link); err != nil {
			b.Fatal(err)
		}
	}
	return m
}

// BenchmarkPage is a page of 100 out of a million.
func BenchmarkPage(b *testing.B) {
	m := aMillion(b)
	page := func(name string, q usermgr.PageQuery) {
		b.Run("users/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p, err := m.UserPage(q); err != nil || len(p.Items) == 0 {
					b.Fatalf("a page of %d: %v", len(p.Items), err)
				}
			}
		})
		b.Run("sessions/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p, err := m.SessionPage(q); err != nil || len(p.Items) == 0 {
					b.Fatalf("a page of %d: %v", len(p.Items), err)
				}
			}
		})
	}
	page("cursor", usermgr.PageQuery{})
	page("first", usermgr.PageQuery{Page: 1})
	page("last", usermgr.PageQuery{Page: million / 100})
	page("filtered", usermgr.PageQuery{Page: 1, Filter: usermgr.Filter{IdleFor: time.Nanosecond}})
}

// BenchmarkRegisterWhilePaging reports the 99th percentile of a logon's time at a million users, by itself and while
// another goroutine asks for pages without a pause, and the ratio of the second to the first. By cursor these are all
// pages; by number, where each costs more, some 20 all over the listing.
func BenchmarkRegisterWhilePaging(b *testing.B) {
	m := aMillion(b)
	idle, tagged := usermgr.Filter{IdleFor: time.Nanosecond}, usermgr.Filter{Tag: "tag"}
	for i := range million / 100 {
		m.SetTag(fmt.Sprintf("user%07d", 100*i), "tag")
	}
	const hundredth = million / 100
	for _, c := range []struct {
		name string
		walk func() (listed int)
		want int
	}{
		{"users/limit=100", func() int { return byCursorAll(b, m.UserPage, usermgr.PageQuery{Limit: 100}) }, million},
		{"users/limit=1000", func() int { return byCursorAll(b, m.UserPage, usermgr.PageQuery{Limit: 1000}) }, million},
		{"users/idle", func() int { return byCursorAll(b, m.UserPage, usermgr.PageQuery{Limit: 1000, Filter: idle}) }, million},
		{"users/tag", func() int { return byCursorAll(b, m.UserPage, usermgr.PageQuery{Limit: 1000, Filter: tagged}) }, hundredth},
		{"users/number", func() int { return byNumberSome(b, m.UserPage, usermgr.PageQuery{}) }, 2000},
		{"users/number,idle", func() int { return byNumberSome(b, m.UserPage, usermgr.PageQuery{Filter: idle}) }, 2000},
		{"sessions/limit=1000", func() int { return byCursorAll(b, m.SessionPage, usermgr.PageQuery{Limit: 1000}) }, million},
		{"sessions/tag", func() int { return byCursorAll(b, m.SessionPage, usermgr.PageQuery{Limit: 1000, Filter: tagged}) }, hundredth},
		{"sessions/number", func() int { return byNumberSome(b, m.SessionPage, usermgr.PageQuery{}) }, 2000},
	} {
		b.Run(c.name, func(b *testing.B) {
			var alone, paging []time.Duration
			var walks time.Duration
			for b.Loop() {
				rounds := 0
				began := time.Now()
				paged := make(chan struct{})
				go func() {
					defer close(paged)
					if n := c.walk(); n < c.want {
						b.Errorf("%d items are listed", n)
					}
				}()
				for done := false; !done; rounds++ {
					paging = append(paging, timeLogons(b, m)...)
					select {
					case <-paged:
						walks += time.Since(began)
						done = true
					default:
					}
				}
				for range rounds {
					alone = append(alone, timeLogons(b, m)...)
				}
			}
			slices.Sort(alone)
			slices.Sort(paging)
			a, p := percentile(alone, 99), percentile(paging, 99)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(percentile(alone, 50), "p50-ns-alone")
			b.ReportMetric(percentile(paging, 50), "p50-ns-paging")
			b.ReportMetric(a, "p99-ns-alone")
			b.ReportMetric(p, "p99-ns-paging")
			b.ReportMetric(p/a, "p99-ratio")
			b.ReportMetric(walks.Seconds()/float64(b.N), "s/walk")
		})
	}
}

// byNumberSome asks for 20 pages of 100 by number and returns how many items they had.
func byNumberSome[T any](b *testing.B, page func(usermgr.PageQuery) (usermgr.Page[T], error), q usermgr.PageQuery) (n int) {
	for i := range 20 {
		q.Page = 1 + i*million/100/20
		p, err := page(q)
		if err != nil {
			b.Error(err)
			return n
		}
		n += len(p.Items)
	}
	return n
}

// byCursorAll goes through a listing by cursor and returns how many items there were.
func byCursorAll[T any](b *testing.B, page func(usermgr.PageQuery) (usermgr.Page[T], error), q usermgr.PageQuery) (n int) {
	for {
		p, err := page(q)
		if err != nil {
			b.Error(err)
			return n
		}
		n += len(p.Items)
		if q.Cursor = p.Next; p.Next == "" {
			return n
		}
	}
}

// timeLogons logs 100 users on, 20,000 a second, returns what each logon took, and logs them off again.
func timeLogons(b *testing.B, m *usermgr.Manager) []time.Duration {
	took, sessions := make([]time.Duration, 100), make([]usermgr.Session, 100)
	for i := range took {
		link := bareLink(million + i)
		l := usermgr.Logon{UserID: fmt.Sprint("new", i), Address: link.Address()}
		began := time.Now()
		s, err := m.Register(b.Context(), l, link)
		took[i] = time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		sessions[i] = s
	}
	for _, s := range sessions {
		s.End(protocol.ClientClosed)
	}
	time.Sleep(5 * time.Millisecond)
	return took
}

func percentile(sorted []time.Duration, p int) float64 { return float64(sorted[len(sorted)*p/100]) }
