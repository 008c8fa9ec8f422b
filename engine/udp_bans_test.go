package engine_test

import (
	"crypto/rand"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// Amendment: nothing that comes before a valid cookie counts against an address, for its source may be forged: not for bans, limits and rates. What
// comes with one does.
func TestNothingBeforeACookieCountsAgainstAnAddress(t *testing.T) {
	g, r := serveUDP(t, engine.Config{Bans: engine.Bans{FailedLogons: 1, Flaps: 1}, Accept: engine.Accept{MaxPerAddress: 1, Rate: 0.001, Burst: 3}})
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		if m.UserID == "eve" {
			k.Refuse(nil, protocol.Unauthorized)
			return
		}
		k.Admit(&engine.Admitted{UserID: m.UserID, Deliver: m.Clone()})
	}
	p, victim := peerUDP(t, r.addr, "127.0.1.1"), peerUDP(t, r.addr, "127.0.1.1")
	logon := func(p *udpPeer, nonce uint64, proof [udpwire.ProofSize]byte, user string) {
		p.sendRaw(udpwire.AppendLogon(nil, nonce, proof, frame(t, protocol.Message{Type: 1, ID: 1, UserID: user})))
	}
	own := p.cookie()
	for n := range uint64(50) {
		var forged [udpwire.ProofSize]byte
		rand.Read(forged[:])
		copy(forged[:4], own[:4]) // of this time
		logon(p, p.nonce, forged, "eve")
		logon(p, p.nonce+1+n, own, "eve")
		logon(victim, p.nonce, own, "eve") // from another port
		p.sendRaw(udpwire.AppendHello(nil, p.nonce))
		p.sendRaw(udpwire.AppendLogon(nil, p.nonce, own, []byte("garbage, garbage")))
		p.sendRaw(append(udpwire.AppendData(nil, 12345, 0), "garbage"...))
		p.sendRaw(udpwire.AppendResponse(nil, 12345, [udpwire.MACSize]byte{}))
		p.sendRaw([]byte{udpwire.Logon, 1, 2, 3})
	}
	again := peerUDP(t, r.addr, "127.0.1.1")
	again.cookie() // everything before it was read
	origins, subnets := r.Places()
	if s := r.Stats(); len(r.Bans()) > 0 || s.Refused != (engine.Refusals{}) || s.Accepted > 0 || origins+subnets > 0 {
		t.Errorf("bans %v, refused %+v, accepted %d, places %d and %d", r.Bans(), s.Refused, s.Accepted, origins, subnets)
	}
	other := peerUDP(t, r.addr, "127.0.1.2")
	other.logOn(protocol.Message{Type: 1, ID: 1, UserID: "bob"})
	again.logOn(protocol.Message{Type: 1, ID: 1, UserID: "ann"}) // nothing has taken its turn

	eve := peerUDP(t, r.addr, "127.0.1.3")
	logon(eve, eve.nonce, eve.cookie(), "eve")
	wantCloseIn(t, eve.welcomed(eve.want(udpwire.Welcome)), protocol.Unauthorized)
	eventually(t, "the ban", func() bool { return len(r.Bans()) == 1 })
	if b := r.Bans()[0]; b.Prefix.String() != "127.0.1.3/32" || b.Reason != "failed logons" {
		t.Errorf("banned: %+v", b)
	}
	banned := peerUDP(t, r.addr, "127.0.1.3")
	logon(banned, banned.nonce, banned.cookie(), "ann")
	eventually(t, "the refusal", func() bool { return r.Stats().Refused.Banned == 1 })
	banned.cookie() // is the next datagram
	eve.bye2(protocol.Unauthorized)
	again.bye()
	other.bye()
}
