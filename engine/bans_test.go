package engine_test

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// newRefusing returns an engine whose admission refuses those whose first message says so, with the code in its type.
func newRefusing(t testing.TB, cfg engine.Config) *engine.Engine {
	e := newEcho(cfg)
	g := newGate(t, e)
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		if string(m.Body) == "refuse" {
			k.Refuse(nil, protocol.CloseCode(m.Type))
			return
		}
		k.Admit(&engine.Admitted{UserID: m.UserID, Deliver: m.Clone()})
	}
	return e
}

// logOn sends a first message, and reads the reply.
func (p *peer) logOn() {
	p.t.Helper()
	p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
	if m := p.read(); m.Type != 1 {
		p.t.Fatalf("got %v, want the reply to the first message", m)
	}
}

func (p *peer) wantRefused(code protocol.CloseCode) {
	p.t.Helper()
	p.send(protocol.Message{Type: uint16(code), UserID: "ann", Body: []byte("refuse")})
	p.wantClose(code)
	_ = p.Close()
}

func TestFailedLogonsBanAnAddress(t *testing.T) {
	eachWithAddresses(t, failedLogonsBanAnAddress)
}

func failedLogonsBanAnAddress(t *testing.T) {
	e := newRefusing(t, engine.Config{Bans: engine.Bans{FailedLogons: 3}})
	r := serve(t, e)
	stays := dialFrom(t, "127.0.1.1", r.addr)
	stays.logOn()
	for range 5 { // a server's failure is not the client's
		dialFrom(t, "127.0.1.1", r.addr).wantRefused(protocol.InternalError)
	}
	for range 2 {
		dialFrom(t, "127.0.1.1", r.addr).wantRefused(protocol.Unauthorized)
	}
	dialFrom(t, "127.0.1.1", r.addr).logOn()
	dialFrom(t, "127.0.1.1", r.addr).wantRefused(protocol.Unauthorized)

	wantBanned(t, "127.0.1.1", r.addr)
	dialFrom(t, "127.0.1.2", r.addr).logOn()
	stays.ask(1, 2, "those that are open stay")
	bans := e.Bans()
	if len(bans) != 1 || bans[0].Prefix != netip.MustParsePrefix("127.0.1.1/32") || bans[0].Reason != "failed logons" {
		t.Fatalf("Bans returned %+v", bans)
	}
	if left := time.Until(bans[0].Until); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("the ban lasts another %v", left)
	}
	if s := e.Stats(); s.Refused != (engine.Refusals{Banned: 1}) || s.Bans != 1 {
		t.Errorf("Stats returned %+v", s)
	}
	if !e.Unban(netip.MustParseAddr("127.0.1.1")) || e.Unban(netip.MustParseAddr("127.0.1.1")) {
		t.Error("Unban does not tell whether there was a ban")
	}
	dialFrom(t, "127.0.1.1", r.addr).logOn()
}

// A user who is in and is closed with Unauthorized, when the token has run out for one, has not failed to log on.
func TestUnauthorizedLaterIsNoFailedLogon(t *testing.T) {
	eachWithAddresses(t, unauthorizedLaterIsNoFailedLogon)
}

func unauthorizedLaterIsNoFailedLogon(t *testing.T) {
	e := newRefusing(t, engine.Config{Bans: engine.Bans{FailedLogons: 1}})
	e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error {
		c.Close(protocol.Errorf(protocol.Unauthorized, "the token has run out"))
		return nil
	})
	r := serve(t, e)
	p := dialFrom(t, "127.0.1.1", r.addr)
	p.logOn()
	p.send(protocol.Message{Type: 2})
	p.wantClose(protocol.Unauthorized)
	dialFrom(t, "127.0.1.1", r.addr).logOn()
}

// A logon that is refused counts as failed, even when the client has left before.
func TestALogonWhoseClientLeftCountsAsFailed(t *testing.T) {
	eachWithAddresses(t, aLogonWhoseClientLeftCountsAsFailed)
}

func aLogonWhoseClientLeftCountsAsFailed(t *testing.T) {
	e := newEcho(engine.Config{Bans: engine.Bans{FailedLogons: 2}})
	g := newGate(t, e)
	arrived := make(chan engine.Control, 10)
	g.first = func(k engine.Control, _ *protocol.Message, _ *binding) { arrived <- k }
	r := serve(t, e)
	for range 2 {
		p := dialFrom(t, "127.0.1.1", r.addr)
		p.send(protocol.Message{Type: 1, UserID: "ann"})
		k := receive(t, "the first message", arrived)
		p.reset()
		wantNobodyIn(t, e)
		k.Refuse(nil, protocol.Unauthorized)
	}
	if n := e.Stats().Bans; n != 1 {
		t.Errorf("%d bans are in force", n)
	}
}

func TestFlappingBansAnAddress(t *testing.T) {
	eachWithAddresses(t, flappingBansAnAddress)
}

func flappingBansAnAddress(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{MaxConnections: 3}, Bans: engine.Bans{Flaps: 4, For: time.Minute}})
	r := serve(t, e)
	ended := func() {
		wantNobodyIn(t, e)
	}
	enterFrom(t, "127.0.1.1", r.addr).reset()
	ended()
	enterFrom(t, "127.0.1.1", r.addr).endSide()
	ended()
	garbler := dialFrom(t, "127.0.1.1", r.addr)
	garbler.sendRaw([]byte("garbage, garbage, garbage"))
	garbler.wantClose(protocol.InvalidMessage)
	_ = garbler.Close()
	ended()
	others := []*peer{enterFrom(t, "127.0.1.2", r.addr), enterFrom(t, "127.0.1.2", r.addr), enterFrom(t, "127.0.1.2", r.addr)}
	for range 5 { // who is not let in does not flap
		wantFull(t, "127.0.1.1", r.addr)
	}
	for _, p := range others {
		_ = p.Close()
	}
	ended()
	if bans := e.Bans(); len(bans) != 0 {
		t.Fatalf("Bans returned %+v", bans)
	}
	enterFrom(t, "127.0.1.1", r.addr).reset()
	ended()
	wantBanned(t, "127.0.1.1", r.addr)
	if bans := e.Bans(); len(bans) != 1 || bans[0].Reason != "flapping" {
		t.Errorf("Bans returned %+v", bans)
	}
	enterFrom(t, "127.0.1.2", r.addr)
}

// A connection that the server closes because it stops is no flap.
func TestServerStoppingIsNoFlap(t *testing.T) {
	eachWithAddresses(t, serverStoppingIsNoFlap)
}

func serverStoppingIsNoFlap(t *testing.T) {
	e := newEcho(engine.Config{Bans: engine.Bans{Flaps: 1}})
	conns := make(chan *engine.Conn, 10)
	e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error { conns <- c; return nil })
	r := serve(t, e)
	for range 3 {
		p := dialFrom(t, "127.0.1.1", r.addr)
		p.send(protocol.Message{Type: 2})
		receive(t, "a connection", conns).Close(protocol.ServerStopping)
		p.wantClose(protocol.ServerStopping)
		_ = p.Close()
		wantNobodyIn(t, e)
	}
}

// The application bans and lifts bans as it likes, also where nothing else is counted, and an end is an end.
func TestTheApplicationBans(t *testing.T) {
	eachWithAddresses(t, theApplicationBans)
}

func theApplicationBans(t *testing.T) {
	e := newEcho(engine.Config{})
	r := serve(t, e)
	loopback := netip.MustParseAddr("127.0.1.1")
	stays := enterFrom(t, "127.0.1.1", r.addr)
	e.Ban(netip.MustParseAddr("2001:db8::77"), time.Hour)
	e.Ban(netip.MustParseAddr("::ffff:127.0.1.1"), 0)
	e.Ban(netip.Addr{}, time.Hour)
	wantBanned(t, "127.0.1.1", r.addr)
	stays.ask(1, 2, "")
	bans := e.Bans()
	if len(bans) != 2 || bans[0].Prefix.String() != "127.0.1.1/32" || bans[1].Prefix.String() != "2001:db8::/64" {
		t.Fatalf("Bans returned %+v", bans)
	}
	if left := time.Until(bans[0].Until); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("a ban of the default time lasts another %v", left)
	}
	e.Ban(loopback, time.Hour)
	wantBanned(t, "127.0.1.1", r.addr)
	e.Ban(loopback, time.Millisecond)
	eventually(t, "the end of the ban", func() bool { return e.Stats().Bans == 1 })
	enterFrom(t, "127.0.1.1", r.addr)
	if e.Unban(loopback) || !e.Unban(netip.MustParseAddr("2001:db8::1")) || len(e.Bans()) != 0 {
		t.Error("Unban does not tell the truth")
	}
}

// Limits, bans and ends at the same time: every place is given back.
func TestBansWhileConnectionsComeAndGo(t *testing.T) {
	eachWithAddresses(t, bansWhileConnectionsComeAndGo)
}

func bansWhileConnectionsComeAndGo(t *testing.T) {
	const clients = 12
	tr, rounds, banned := transportOf(t), 40, 20*time.Millisecond
	if tr.secure != nil { // handshakes take long
		rounds, banned = 15, 500*time.Millisecond
	}
	e := newRefusing(t, engine.Config{Accept: engine.Accept{MaxPerAddress: 3, MaxPerSubnet: 8}, Workers: 2,
		Bans: engine.Bans{FailedLogons: 5, Flaps: 20, For: banned}})
	r := serve(t, e)
	var done, failed atomic.Int64
	_ = dialFrom(t, "127.0.1.1", r.addr).Close() // or the test is skipped
	for i := range clients {
		from := fmt.Sprintf("127.0.%d.%d", 1+i%2, 1+i/4)
		go func() {
			defer done.Add(1)
			for n := range rounds {
				p, err := tryDialFrom(from, r.addr)
				if err != nil {
					failed.Add(1)
					continue
				}
				nc, err := tr.tryBegin(p.Conn, r.addr)
				if err != nil { // banned, or too many
					_ = p.Close()
					continue
				}
				p = newPeer(t, nc)
				switch (i + n) % 4 {
				case 0:
					_, _ = p.Write(frame(t, protocol.Message{Type: uint16(protocol.Unauthorized), UserID: "ann", Body: []byte("refuse")}))
					_, _ = p.next()
				case 1:
					_, _ = p.Write(frame(t, protocol.Message{Type: 1, ID: 1, UserID: "ann"}))
					_, _ = p.next()
				case 2:
					_, _ = p.Write([]byte{0x52})
				case 3:
					p.reset()
				}
				_ = p.Close()
				_ = e.Bans()
				_ = e.Stats()
			}
		}()
	}
	eventually(t, "the end of the storm", func() bool { return done.Load() == clients })
	wantNobodyIn(t, e)
	if s := e.Stats(); s.Refused.Banned == 0 || failed.Load() > 0 {
		t.Errorf("Stats returned %+v: the test did not show what it should", s)
	}
	eventually(t, "the end of the bans", func() bool { return e.Stats().Bans == 0 })
	dialFrom(t, "127.0.1.1", r.addr).logOn()
}

// An address that is exempt is never banned, for flaps, failed logons or by the application; others are.
func TestExemptAddressesAreNotBanned(t *testing.T) {
	eachWithAddresses(t, exemptAddressesAreNotBanned)
}

func exemptAddressesAreNotBanned(t *testing.T) {
	e := newRefusing(t, engine.Config{Bans: engine.Bans{FailedLogons: 2, Flaps: 4,
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}}})
	r := serve(t, e)
	e.Ban(netip.MustParseAddr("127.0.1.1"), time.Hour)
	for range 5 {
		dialFrom(t, "127.0.1.1", r.addr).wantRefused(protocol.Unauthorized)
		_ = dialFrom(t, "127.0.1.1", r.addr).Close()
	}
	wantNobodyIn(t, e)
	dialFrom(t, "127.0.1.1", r.addr).logOn()
	for range 2 {
		dialFrom(t, "127.0.2.1", r.addr).wantRefused(protocol.Unauthorized)
	}
	wantBanned(t, "127.0.2.1", r.addr)
	if bans := e.Bans(); len(bans) != 1 || bans[0].Prefix.String() != "127.0.2.1/32" {
		t.Errorf("Bans returned %+v", bans)
	}
}

// New refuses a list with a mistake, so that no exempt address is banned because of it.
func TestExemptNeedsValidPrefixes(t *testing.T) {
	wantNoEngine(t, "Bans.Exempt", engine.Config{Bans: engine.Bans{Exempt: []netip.Prefix{{}}}})
}

// Connections that say nothing and go are told apart from clients, at every kind of listener.
func TestBareProbesAreToldApart(t *testing.T) {
	for name, cfg := range map[string]engine.Listener{
		"plain": {}, "PROXY": {ProxyProtocol: fromLoopback}, "TLS": {TLS: newSecurity(t).server},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Addr = "127.0.0.1:0"
			e := newEcho(engine.Config{Listeners: []engine.Listener{cfg}})
			r := serve(t, e)
			for range 3 {
				_ = dial(t, r.addr).Close()
			}
			reset := dial(t, r.addr)
			_ = reset.Conn.(*net.TCPConn).SetLinger(0)
			_ = reset.Close()
			half := dial(t, r.addr)
			half.sendRaw([]byte{0x16})
			half.endSide()
			eventually(t, "all have come", func() bool { return e.Stats().Accepted == 5 })
			wantNobodyIn(t, e)
			eventually(t, "the probes are counted", func() bool { return e.Stats().Probes >= 4 })
			if s := e.Stats(); s.Probes != 4 || s.Accepted != 5 {
				t.Errorf("Stats returned %+v", s)
			}
		})
	}
}

// What the server, or another client of the user, has decided is not the address's coming and going.
func TestEndsThatAreNotTheAddresssDoing(t *testing.T) {
	eachWithAddresses(t, endsThatAreNotTheAddresssDoing)
}

func endsThatAreNotTheAddresssDoing(t *testing.T) {
	for code, counts := range map[protocol.CloseCode]bool{protocol.PushedOut: false, protocol.AlreadyLoggedOn: false,
		protocol.KickedOut: false, protocol.SessionExpired: false, protocol.TokenExpired: false,
		protocol.InvalidMessage: true, protocol.InternalError: true} {
		t.Run(code.Error(), func(t *testing.T) {
			e := newRefusing(t, engine.Config{Bans: engine.Bans{Flaps: 3}})
			r := serve(t, e)
			for range 3 {
				dialFrom(t, "127.0.1.1", r.addr).wantRefused(code)
				wantNobodyIn(t, e)
			}
			if banned := len(e.Bans()) == 1; banned != counts {
				t.Errorf("Bans returned %+v", e.Bans())
			}
		})
	}
}
