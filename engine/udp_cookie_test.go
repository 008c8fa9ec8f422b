package engine_test

import (
	"net"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// Amendment: a cookie is good for its life and no longer. The server itself has made those of this test, as it would have
// made them before.
func TestACookieHasALife(t *testing.T) {
	_, r := serveUDP(t, engine.Config{})
	p := peerUDP(t, r.addr, "")
	from := p.nc.LocalAddr().(*net.UDPAddr).AddrPort()
	logon := func(age time.Duration, user string) []byte {
		f := frame(t, protocol.Message{Type: 1, ID: 1, UserID: user})
		return udpwire.AppendLogon(nil, p.nonce, r.OldCookie(age, from, p.nonce), f)
	}
	// A cookie has whole seconds, and those before the server began are rounded up.
	for _, age := range []time.Duration{udpwire.CookieLife + 2*time.Second, time.Minute, 3 * time.Minute, 24 * time.Hour} {
		p.sendRaw(logon(age, "too old"))
	}
	p.cookie() // everything before it was read
	if s := r.Stats(); s.Accepted != 0 || s.Conns.Open != 0 {
		t.Errorf("%d connections came in with old cookies", s.Accepted)
	}
	// Had one been taken, another first frame under the same nonce would not be answered.
	eventually(t, "a Welcome with a younger cookie", func() bool {
		p.sendRaw(logon(udpwire.CookieLife/2, "young"))
		b := p.readWithin(time.Second)
		if b == nil {
			return false
		}
		p.welcomed(b)
		return p.id != 0
	})
	p.bye()
}
