package engine

import (
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
)

// newTestGate returns a gate whose clock the test turns.
func newTestGate(cfg Config) (g *gate, clock *time.Time) {
	g = new(gate)
	cfg = cfg.withDefaults()
	g.init(&cfg, zap.NewNop())
	now := time.Unix(1_000_000, 0)
	g.now = func() time.Time { return now }
	return g, &now
}

func (g *gate) mustEnter(t *testing.T, a string) *origin {
	t.Helper()
	o, r := g.enter(netip.MustParseAddr(a))
	if r != letIn {
		t.Fatalf("%s is refused: %d", a, r)
	}
	return o
}

func (g *gate) wantRefused(t *testing.T, a string, want refusal) {
	t.Helper()
	if _, r := g.enter(netip.MustParseAddr(a)); r != want {
		t.Fatalf("%s: refusal %d, want %d", a, r, want)
	}
}

// An IPv6 address counts as its network of 64 bits, an IPv4 address in IPv6's clothes as an IPv4 address.
func TestWhatCountsAsOneAddress(t *testing.T) {
	for _, c := range []struct{ a, b, other string }{
		{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"},
		{"fe80::1%eth0", "fe80::2%eth1", "fe80:1::1"},
	} {
		g, _ := newTestGate(Config{Accept: Accept{MaxPerAddress: 1}})
		o := g.mustEnter(t, c.a)
		g.wantRefused(t, c.b, refusedAddress)
		g.mustEnter(t, c.other)
		g.leave(o, true)
		g.mustEnter(t, c.b)
	}
}

func TestWhatCountsAsOneSubnet(t *testing.T) {
	for _, c := range []struct {
		v4, v6   int
		in, next string
	}{
		{0, 0, "192.0.2.200", "192.0.3.1"},
		{16, 0, "192.0.255.1", "192.1.0.1"},
		{99, 0, "192.0.2.1", "192.0.2.2"},
		{0, 0, "2001:db8:0:ffff::1", "2001:db8:1::1"},
		{0, 32, "2001:db8:ffff::1", "2001:db9::1"},
		{0, 128, "2001:db8::2", "2001:db8:0:1::1"},
	} {
		g, _ := newTestGate(Config{Accept: Accept{MaxPerSubnet: 1, SubnetV4Bits: c.v4, SubnetV6Bits: c.v6}})
		first := "192.0.2.1"
		if netip.MustParseAddr(c.in).Is6() {
			first = "2001:db8::1"
		}
		o := g.mustEnter(t, first)
		g.wantRefused(t, c.in, refusedSubnet)
		g.mustEnter(t, c.next)
		g.leave(o, true)
		g.mustEnter(t, c.in)
	}
}

// A connection that one limit refuses takes no place of the other.
func TestARefusedConnectionTakesNoPlace(t *testing.T) {
	g, _ := newTestGate(Config{Accept: Accept{MaxPerAddress: 1, MaxPerSubnet: 2}})
	a := g.mustEnter(t, "192.0.2.1")
	g.wantRefused(t, "192.0.2.1", refusedAddress)
	b := g.mustEnter(t, "192.0.2.2")
	g.wantRefused(t, "192.0.2.3", refusedSubnet)
	g.leave(a, false)
	g.leave(b, false)
	if len(g.origins) != 0 || len(g.subnets) != 0 {
		t.Errorf("%d origins and %d subnets stay counted", len(g.origins), len(g.subnets))
	}
}

// With TLS, a client over its address's limit gets no notice; with a PROXY header before TLS, no client gets one.
func TestWhoIsToldOfALimit(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, c := range []struct {
		at                             entrance
		full, address, subnet, waiting bool
	}{
		{entrance{}, true, true, true, true},
		{entrance{proxies: proxies}, true, true, true, true},
		{entrance{tls: new(tls.Config)}, true, false, false, true},
		{entrance{tls: new(tls.Config), proxies: proxies}, false, false, false, false},
	} {
		told := func(r refusal) bool { return r.notice(&c.at) != nil }
		if told(refusedFull) != c.full || told(refusedAddress) != c.address || told(refusedSubnet) != c.subnet ||
			told(refusedHandshake) != c.waiting || told(refusedBanned) {
			t.Errorf("wrong at an entrance with TLS %v and PROXY protocol %v", c.at.tls != nil, c.at.proxies != nil)
		}
	}
}

// bansSwept counts the bans after those that have ended were forgotten.
func (g *gate) bansSwept() int {
	g.sweep()
	return int(g.bannedNow.Load())
}

// Failed log-ons count within their window, and a ban ends by itself.
func TestBanWindowAndEnd(t *testing.T) {
	g, clock := newTestGate(Config{Bans: Bans{FailedLogons: 3, Window: time.Minute, For: time.Hour}})
	o := g.mustEnter(t, "192.0.2.1")
	g.failedLogon(o)
	g.failedLogon(o)
	*clock = clock.Add(time.Minute)
	g.failedLogon(o) // the first of a new window
	g.failedLogon(o)
	g.mustEnter(t, "192.0.2.1")
	g.failedLogon(o)
	g.wantRefused(t, "192.0.2.1", refusedBanned)
	if n := g.bansSwept(); n != 1 {
		t.Errorf("%d bans are in force", n)
	}
	*clock = clock.Add(time.Hour - 1)
	g.failedLogon(o) // of a connection that was open before: it does not prolong the ban
	g.failedLogon(o)
	g.failedLogon(o)
	g.wantRefused(t, "192.0.2.1", refusedBanned)
	*clock = clock.Add(1)
	*clock = clock.Add(sweepInterval)
	if n := g.bansSwept(); n != 0 {
		t.Errorf("%d bans are in force after their end", n)
	}
	g.mustEnter(t, "192.0.2.1")
}

// Disconnects count within a minute; those that did not come in do not count.
func TestFlapsWindow(t *testing.T) {
	g, clock := newTestGate(Config{Bans: Bans{Flaps: 3}})
	for range 10 {
		g.leave(g.mustEnter(t, "192.0.2.1"), false)
	}
	for range 10 { // one in 30 s
		*clock = clock.Add(30 * time.Second)
		g.leave(g.mustEnter(t, "192.0.2.1"), true)
	}
	*clock = clock.Add(time.Minute)
	for range 3 {
		g.leave(g.mustEnter(t, "192.0.2.1"), true)
	}
	g.wantRefused(t, "192.0.2.1", refusedBanned)
	*clock = clock.Add(5*time.Minute - 1)
	g.wantRefused(t, "192.0.2.1", refusedBanned)
	*clock = clock.Add(1)
	g.mustEnter(t, "192.0.2.1")
}

// A flood from many addresses does not make the tables grow without end, and those who are past are forgotten first.
func TestTablesAreBounded(t *testing.T) {
	g, clock := newTestGate(Config{Bans: Bans{FailedLogons: 2, Flaps: 100, For: time.Hour}})
	g.maxSuspects, g.maxBanned = 100, 50
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	flood := func(from, to, failures int) {
		for i := from; i < to; i++ {
			o, _ := g.enter(addr(i))
			for range failures {
				g.failedLogon(o)
			}
			g.leave(o, true)
			if len(g.suspects) > g.maxSuspects || len(g.banned) > g.maxBanned {
				t.Fatalf("%d suspects, %d bans", len(g.suspects), len(g.banned))
			}
		}
	}
	flood(0, 1000, 1)
	flood(1000, 2000, 2)
	if len(g.suspects) < g.maxSuspects/2 || len(g.banned) != g.maxBanned {
		t.Errorf("%d suspects, %d bans: the tables are not used", len(g.suspects), len(g.banned))
	}
	last := addr(5000) // the one that lasts longest
	g.ban(last, 10*time.Hour, byApplication)
	flood(3000, 3500, 2)
	g.wantRefused(t, last.String(), refusedBanned)
	*clock = clock.Add(time.Hour)
	flood(4000, 4020, 2)
	g.wantRefused(t, last.String(), refusedBanned)
	if n := g.bansSwept(); n > 21 || n != len(g.banned) {
		t.Errorf("%d bans are in force, %d in the table", n, len(g.banned))
	}
}

// Without limits and bans nothing is counted.
func TestAGateThatIsOffCountsNothing(t *testing.T) {
	g, _ := newTestGate(Config{Accept: Accept{MaxPerAddress: -1, MaxPerSubnet: -1}, Bans: Bans{FailedLogons: -1, Flaps: -1}})
	if o := g.mustEnter(t, "192.0.2.1"); o != nil {
		t.Errorf("an origin: %v", o)
	}
	g.leave(nil, true)
	g.failedLogon(nil)
	g.ban(netip.MustParseAddr("192.0.2.1"), time.Hour, byApplication)
	if o := g.mustEnter(t, "192.0.2.2"); o != nil || len(g.origins) != 0 {
		t.Errorf("while an address is banned: an origin: %v", o)
	}
}

// Of an IPv6 network of 64 bits a part may be exempt from bans; its places count with the others'.
func TestPartOfANetworkIsExempt(t *testing.T) {
	g, _ := newTestGate(Config{Accept: Accept{MaxPerAddress: 2}, Bans: Bans{Flaps: 2,
		Exempt: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("::ffff:192.0.2.0/120")}}})
	for range 5 {
		g.leave(g.mustEnter(t, "2001:db8::1"), true)
		g.leave(g.mustEnter(t, "192.0.2.7"), true)
		g.leave(g.mustEnter(t, "::ffff:192.0.2.7"), true)
	}
	for range 2 {
		g.leave(g.mustEnter(t, "2001:db8::2"), true)
	}
	g.wantRefused(t, "2001:db8::2", refusedBanned)
	a, b := g.mustEnter(t, "2001:db8::1"), g.mustEnter(t, "2001:db8::1")
	g.wantRefused(t, "2001:db8::1", refusedAddress)
	g.leave(a, true)
	g.leave(b, true)
	if len(g.origins) != 0 || len(g.suspects) != 0 {
		t.Errorf("%d origins and %d suspects are left", len(g.origins), len(g.suspects))
	}
}
