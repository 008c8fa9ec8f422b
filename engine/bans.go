package engine

import (
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/protocol"
)

// Bans says when addresses are banned for a while. Both reasons are off by default. Many users may share an address, such as the
// address of a company or of a mobile network: set the numbers high enough for all of them. All addresses of an IPv6 network of 64
// bits count as one.
//
// New connections from a banned address are closed at once, without a notice. Open connections stay.
type Bans struct {
	// FailedLogons is the number of failed log-ons within Window after which an address is banned. A failed log-on is a
	// connection that was closed with Unauthorized before a user was bound to it, or a renewal of a token that was refused with
	// Unauthorized. A failure of the server (InternalError), a timeout, and a log-on that a relogon rule refused do not count. A
	// successful log-on does not reset the count. 0 or less means no limit.
	FailedLogons int
	// Window is the time over which FailedLogons are counted, from the first one on. 0 or less means 10 minutes.
	Window time.Duration
	// Flaps is the number of connections of an address that end within a minute, from the first such end on, after which the address
	// is banned. A failed TLS handshake counts too. Three kinds of connections do not count: connections that the server did not let
	// in or ended because it was stopping; connections that the server or another client of the user ended (PushedOut,
	// AlreadyLoggedOn, KickedOut, SessionExpired, TokenExpired); and connections that ended because the server itself, stopped or
	// busy, did not read for a while. 0 or less means no limit.
	Flaps int
	// For is how long a ban lasts. 0 or less means 5 minutes.
	For time.Duration
	// Exempt lists addresses that are never banned, not by Engine.Ban either, such as the addresses of a load balancer that probes the
	// server every few seconds. A prefix may be a part of an IPv6 network of 64 bits. MaxPerAddress and MaxPerSubnet apply to exempt
	// addresses too. An invalid prefix is an error of New.
	Exempt []netip.Prefix
}

func (b Bans) withDefaults() Bans {
	if b.Window <= 0 {
		b.Window = 10 * time.Minute
	}
	if b.For <= 0 {
		b.For = 5 * time.Minute
	}
	b.Window, b.For = min(b.Window, never/8), min(b.For, never/8)
	return b
}

// longPause is the length of a pause of the server after which clients may have given up by themselves.
const longPause = 2 * time.Second

// byPause reports whether a connection has ended with this code during or shortly after a time in which the server did
// not read. Such an end does not count towards Bans.Flaps.
func byPause(of *clock.Clock, code protocol.CloseCode) bool {
	switch code {
	case protocol.RateLimited, protocol.LogonTimeout, protocol.HeartbeatTimeout, protocol.SlowConsumer, protocol.InternalError:
		return of.Pause() > 0
	}
	return of.Pause() >= longPause
}

// flapWindow is the time over which Bans.Flaps are counted.
const flapWindow = time.Minute

// sweepInterval is the interval at which bans that have ended are removed.
const sweepInterval = 2 * time.Second

// tableSize limits the suspects, and the bans, that are remembered. A flood from more addresses makes the gate forget
// some. An entry takes some 100 bytes.
const tableSize = 1 << 16

// The texts of Ban.Reason.
const (
	byApplication   = "by the application"
	forFailedLogons = "failed logons"
	forFlapping     = "flapping"
)

// Ban is a banned address.
type Ban struct {
	// Prefix is the IPv4 address, or the IPv6 network of 64 bits.
	Prefix netip.Prefix
	// Until is when the ban ends.
	Until time.Time
	// Reason says why: "failed logons" (Bans.FailedLogons), "flapping" (Bans.Flaps) or "by the application" (Engine.Ban).
	Reason string
}

// Ban bans an address for a while, or sets a new end for its ban: new connections from it are closed at once, without a notice. Open
// connections stay. For an IPv6 address the whole network of 64 bits is banned. A duration of 0 or less means Bans.For. At a
// listener with ProxyProtocol the client's address counts, not the load balancer's. Invalid and exempt (Bans.Exempt) addresses are
// ignored. Some 65,000 bans are remembered; beyond that the bans that end soonest are forgotten. Any goroutine may call it.
func (e *Engine) Ban(addr netip.Addr, duration time.Duration) {
	if !addr.IsValid() || e.gate.exempts(addr) {
		return
	}
	if duration <= 0 {
		duration = e.gate.bans.For
	}
	e.gate.mu.Lock()
	defer e.gate.mu.Unlock()
	e.gate.ban(originOf(addr), duration, byApplication)
}

// Unban ends the ban of an address, whatever its reason, and reports whether there was one. It also resets the address's counts of
// failed log-ons and ended connections. Any goroutine may call it.
func (e *Engine) Unban(addr netip.Addr) bool {
	g := &e.gate
	addr = originOf(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	b, found := g.banned[addr]
	g.lift(addr)
	delete(g.suspects, addr)
	return found && g.now().Before(b.until)
}

// Bans returns the bans in force, ordered by address. Any goroutine may call it.
func (e *Engine) Bans() []Ban {
	g := &e.gate
	g.mu.Lock()
	bans := make([]Ban, 0, len(g.banned))
	for a, b := range g.banned {
		if !g.now().Before(b.until) {
			continue
		}
		bits := 32
		if a.Is6() {
			bits = 64
		}
		bans = append(bans, Ban{Prefix: netip.PrefixFrom(a, bits), Until: b.until, Reason: b.reason})
	}
	g.mu.Unlock()
	slices.SortFunc(bans, func(x, y Ban) int { return x.Prefix.Addr().Compare(y.Prefix.Addr()) })
	return bans
}

// sweep forgets the bans that have ended, once in sweepInterval: a full table takes some milliseconds, for which new connections wait.
func (g *gate) sweep() {
	if g.bannedNow.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if now.Sub(g.swept) < sweepInterval {
		return
	}
	g.swept = now
	for a, b := range g.banned {
		if !now.Before(b.until) {
			g.lift(a)
		}
	}
}

type ban struct {
	until  time.Time
	reason string
}

// ban bans an origin. g.mu is held on entry.
func (g *gate) ban(a netip.Addr, duration time.Duration, why string) {
	if _, again := g.banned[a]; !again {
		evict(g.banned, g.maxBanned, func(b ban) time.Time { return b.until }, g.now())
	}
	g.banned[a] = ban{g.now().Add(duration), why}
	delete(g.suspects, a)
	g.bannedNow.Store(int64(len(g.banned)))
}

// lift ends a ban. g.mu is held on entry.
func (g *gate) lift(a netip.Addr) {
	delete(g.banned, a)
	g.bannedNow.Store(int64(len(g.banned)))
}

// suspect is an address with failed log-ons or disconnects in the current window.
type suspect struct {
	failures, disconnects tries
	forget                time.Time // when all of its counts are too old to matter
}

// suspect counts a failed log-on or an end against an origin, and bans the origin when the limit is reached.
func (g *gate) suspect(a netip.Addr, what string) {
	g.mu.Lock()
	now := g.now()
	if b, banned := g.banned[a]; banned && now.Before(b.until) { // a connection that was open before
		g.mu.Unlock()
		return
	}
	s := g.suspects[a]
	if s == nil {
		evict(g.suspects, g.maxSuspects, func(s *suspect) time.Time { return s.forget }, now)
		s = new(suspect)
		g.suspects[a] = s
	}
	s.forget = now.Add(max(g.bans.Window, flapWindow))
	var guilty bool
	if what == forFlapping {
		guilty = s.disconnects.add(now, flapWindow) >= g.bans.Flaps
	} else {
		guilty = s.failures.add(now, g.bans.Window) >= g.bans.FailedLogons
	}
	if guilty {
		g.ban(a, g.bans.For, what)
	}
	g.mu.Unlock()
	if guilty {
		g.log.Info("an address is banned", zap.Stringer("address", a), zap.String("reason", what),
			zap.Duration("for", g.bans.For))
	}
}

// tries counts events within a window of time, which begins with the first event.
type tries struct {
	since time.Time
	n     int
}

func (t *tries) add(now time.Time, window time.Duration) int {
	if t.n == 0 || now.Sub(t.since) >= window {
		*t = tries{since: now}
	}
	t.n++
	return t.n
}

// evict makes room for one more entry in a table. It looks at a few random entries, whatever the size of the table. It
// removes those that are over; if there still is no room, it removes the one that will be over first.
func evict[V any](table map[netip.Addr]V, size int, over func(V) time.Time, now time.Time) {
	var first netip.Addr
	var firstOver time.Time
	looked := 0
	for a, v := range table {
		switch end := over(v); {
		case !now.Before(end):
			delete(table, a)
		case !first.IsValid() || end.Before(firstOver):
			first, firstOver = a, end
		}
		if looked++; looked == 8 {
			break
		}
	}
	if len(table) >= size && first.IsValid() {
		delete(table, first)
	}
}
