package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// gate counts the connections of each address and knows the banned addresses. Its lock is taken when a connection comes
// and when it goes, never in between. No other lock is taken while it is held.
type gate struct {
	perAddress, perSubnet  int // 0 for no limit
	v4Bits, v6Bits         int
	bans                   Bans
	exempt                 []netip.Prefix // Bans.Exempt
	counting               bool           // connections have an origin
	maxSuspects, maxBanned int            // sizes of the tables
	now                    func() time.Time
	log                    *zap.Logger

	bannedNow atomic.Int64 // the size of banned: while it is 0 the map is not read

	mu       sync.Mutex
	origins  map[netip.Addr]*origin
	subnets  map[netip.Prefix]int
	suspects map[netip.Addr]*suspect
	banned   map[netip.Addr]ban
	swept    time.Time // when sweep last removed the bans that have ended
}

// origin is where connections come from: an IPv4 address, or an IPv6 network of 64 bits, which is one customer's.
type origin struct {
	addr netip.Addr
	open int
	// exempted is set in the origin of a connection that is exempt from bans. Its place is counted with the others' of
	// the address.
	exempted bool
}

func (g *gate) init(cfg *Config, log *zap.Logger) {
	g.perAddress, g.perSubnet = max(cfg.Accept.MaxPerAddress, 0), max(cfg.Accept.MaxPerSubnet, 0)
	g.v4Bits, g.v6Bits = cfg.Accept.SubnetV4Bits, cfg.Accept.SubnetV6Bits
	g.bans, g.exempt = cfg.Bans, unmapped(cfg.Bans.Exempt)
	g.counting = g.perAddress > 0 || g.perSubnet > 0 || g.bans.FailedLogons > 0 || g.bans.Flaps > 0
	g.maxSuspects, g.maxBanned = tableSize, tableSize
	g.now, g.log = time.Now, log
	g.origins = make(map[netip.Addr]*origin)
	g.subnets = make(map[netip.Prefix]int)
	g.suspects = make(map[netip.Addr]*suspect)
	g.banned = make(map[netip.Addr]ban)
}

// originOf returns the origin that an address belongs to.
func originOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

func (g *gate) subnetOf(a netip.Addr) netip.Prefix {
	bits := g.v4Bits
	if a.Is6() {
		bits = g.v6Bits
	}
	p, _ := a.Prefix(bits)
	return p
}

// enter takes the places of a connection from this address; leave gives them back. Without limits and bans it returns no
// origin.
func (g *gate) enter(a netip.Addr) (*origin, refusal) {
	if !g.counting && g.bannedNow.Load() == 0 || !a.IsValid() {
		return nil, letIn
	}
	exempt := g.exempts(a)
	if exempt && g.perAddress == 0 && g.perSubnet == 0 {
		return nil, letIn
	}
	a = originOf(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, found := g.banned[a]; found && !exempt {
		if g.now().Before(b.until) {
			return nil, refusedBanned
		}
		g.lift(a)
	}
	if !g.counting {
		return nil, letIn
	}
	o := g.origins[a]
	if g.perAddress > 0 && o != nil && o.open >= g.perAddress {
		return nil, refusedAddress
	}
	if g.perSubnet > 0 {
		subnet := g.subnetOf(a)
		if g.subnets[subnet] >= g.perSubnet {
			return nil, refusedSubnet
		}
		g.subnets[subnet]++
	}
	if o == nil {
		o = &origin{addr: a}
		g.origins[a] = o
	}
	o.open++
	if exempt {
		return &origin{addr: a, exempted: true}, letIn
	}
	return o, letIn
}

// exempts reports whether an address is exempt from bans.
func (g *gate) exempts(a netip.Addr) bool {
	return len(g.exempt) > 0 && contains(g.exempt, a.Unmap())
}

// leave gives back the places of a connection. It counts as a disconnect of its address when ended is true.
func (g *gate) leave(o *origin, ended bool) {
	if o == nil {
		return
	}
	g.mu.Lock()
	all := g.origins[o.addr]
	if all.open--; all.open == 0 {
		delete(g.origins, o.addr)
	}
	if g.perSubnet > 0 {
		subnet := g.subnetOf(o.addr)
		if g.subnets[subnet]--; g.subnets[subnet] == 0 {
			delete(g.subnets, subnet)
		}
	}
	g.mu.Unlock()
	if ended && g.bans.Flaps > 0 && !o.exempted {
		g.suspect(o.addr, forFlapping)
	}
}

// failedLogon counts a failed log-on.
func (g *gate) failedLogon(o *origin) {
	if o == nil || g.bans.FailedLogons <= 0 || o.exempted {
		return
	}
	g.suspect(o.addr, forFailedLogons)
}
