//go:build !race

package usermgr_test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const crowd = 100_000

// crowded returns a manager with a crowd online, and the users' IDs.
func crowded(b *testing.B) (*usermgr.Manager, []string) {
	m := newManager(b, usermgr.Config{})
	userIDs := make([]string, crowd)
	for i := range userIDs {
		userIDs[i] = fmt.Sprintf("user%06d", i)
		logOn(b, m, userIDs[i], newLink(uint64(i)))
	}
	return m, userIDs
}

// BenchmarkUserMemory reports what a user who is online takes, without the ID and the link.
func BenchmarkUserMemory(b *testing.B) {
	userIDs, links := make([]string, crowd), make([]*testLink, crowd)
	for i := range userIDs {
		userIDs[i], links[i] = fmt.Sprintf("user%06d", i), newLink(uint64(i))
	}
	for b.Loop() {
		b.StopTimer()
		m := testkit.Must(usermgr.New(usermgr.Config{}))
		before := testkit.Heap().HeapAlloc
		b.StartTimer()
		for i, userID := range userIDs {
			logOn(b, m, userID, links[i])
		}
		b.StopTimer()
		b.ReportMetric(float64(testkit.Heap().HeapAlloc-before)/crowd, "B/user")
		closeManager(b, m)
		b.StartTimer()
	}
}

// ownLink is a link that the manager calls as it does Rollcall's own: on the goroutine of the turn.
type ownLink struct{}

var somewhere = netip.MustParseAddrPort("192.0.2.1:1234")

func (ownLink) TrustedLink() bool { return true }
func (ownLink) Address() usermgr.Address {
	return usermgr.Address{Conn: crowd, Remote: somewhere}
}
func (ownLink) Quiesce(done func()) { done() }
func (ownLink) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// BenchmarkRegister is a user who comes, to a crowd.
func BenchmarkRegister(b *testing.B) {
	m, _ := crowded(b)
	link, i := ownLink{}, 0
	for b.Loop() {
		logOnAs(b, m, usermgr.Logon{UserID: fmt.Sprint("new", i)}, link)
		i++
	}
}

// BenchmarkRegisterAndEnd is a user who comes and goes.
func BenchmarkRegisterAndEnd(b *testing.B) {
	m, _ := crowded(b)
	link := ownLink{}
	for b.Loop() {
		logOnAs(b, m, usermgr.Logon{UserID: "new"}, link).End(protocol.ClientClosed)
	}
}

// BenchmarkClaim is a logon with claims that are granted at once: of Rollcall's own, and of a program's own, in a bridge's logon and in
// one whose goroutine must not end. A replacement gives the old session's claim back, too.
func BenchmarkClaim(b *testing.B) {
	bridged := expendable{b.Context()}
	for _, c := range []struct {
		name   string
		claims usermgr.Claims
		ctx    context.Context
	}{
		{"none", nil, bridged}, {"own", ownClaims{}, bridged}, {"foreign", noClaims{}, bridged}, {"foreign, apart", noClaims{}, b.Context()},
	} {
		logOn := func(b *testing.B, m *usermgr.Manager, userID string) {
			if _, err := m.Register(c.ctx, usermgr.Logon{UserID: userID, Address: ownLink{}.Address()}, ownLink{}); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("logon/"+c.name, func(b *testing.B) {
			m := newManager(b, usermgr.Config{Claims: c.claims})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				logOn(b, m, strconv.Itoa(i))
			}
		})
		b.Run("replacement/"+c.name, func(b *testing.B) {
			m := newManager(b, usermgr.Config{Claims: c.claims})
			b.ReportAllocs()
			for b.Loop() {
				logOn(b, m, "new")
			}
		})
	}
}

// noClaims are granted at once, and not noted.
type noClaims struct{}

func (noClaims) Claim(context.Context, usermgr.ClaimRequest) (usermgr.Claimed, error) {
	return usermgr.Claimed{}, nil
}
func (noClaims) Release(string, uuid.UUID, uint64, usermgr.SessionInfo) {}

type ownClaims struct{ noClaims }

func (ownClaims) Trusted() bool { return true }

// BenchmarkReplace is a user who logs on again.
func BenchmarkReplace(b *testing.B) {
	m, _ := crowded(b)
	logOnAs(b, m, usermgr.Logon{UserID: "new"}, ownLink{})
	for b.Loop() {
		logOnAs(b, m, usermgr.Logon{UserID: "new"}, ownLink{})
	}
}

func BenchmarkLookup(b *testing.B) {
	m, userIDs := crowded(b)
	b.Run("IsOnline", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			m.IsOnline(userIDs[i%crowd])
		}
	})
	b.Run("Links", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			m.Links(userIDs[i%crowd])
		}
	})
	b.Run("SessionAt", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			m.SessionAt(uint64(i % crowd))
		}
	})
	b.Run("User", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			m.User(userIDs[i%crowd])
		}
	})
	b.Run("IsOnlineParallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				m.IsOnline(userIDs[i%crowd])
			}
		})
	})
}

func BenchmarkMessagePath(b *testing.B) {
	m := newManager(b, usermgr.Config{})
	s := logOn(b, m, "ann", newLink(1))
	b.Run("Beat", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Beat()
		}
	})
	b.Run("Received", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Received(1, 1, 64)
		}
	})
	b.Run("Sent", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Sent(1, 1, 64)
		}
	})
}

// BenchmarkDisplayLook is one look at a crowd in which one session has new numbers; rule 18.
func BenchmarkDisplayLook(b *testing.B) {
	m, _ := crowded(b)
	s := logOn(b, m, "busy", newLink(crowd))
	shown := make(chan struct{}, 1)
	d := new(signalDisplayer)
	d.shown = shown
	defer m.Display(d, time.Nanosecond)()
	<-shown
	b.ResetTimer()
	for b.Loop() {
		s.Sent(1, 1, 64)
		<-shown
	}
}

// signalDisplayer signals the end of every look that showed something.
type signalDisplayer struct{ shown chan struct{} }

func (d *signalDisplayer) ClearAll()                               {}
func (d *signalDisplayer) SetOrUpdateUserItem(usermgr.DisplayItem) {}
func (d *signalDisplayer) RemoveUser(string, protocol.CloseCode)   {}
func (d *signalDisplayer) Refresh() {
	select {
	case d.shown <- struct{}{}:
	default:
	}
}
