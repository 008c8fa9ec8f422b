package engine_test

import (
	"net"
	"strings"
	"testing"

	"github.com/panjf2000/gnet/v2/pkg/pool/byteslice"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// zonedListener has clients come from a link-local address, which has a zone.
type zonedListener struct {
	net.Listener
	zone string
}

func (l zonedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		for _, a := range []net.Addr{nc.LocalAddr(), nc.RemoteAddr()} {
			a.(*net.TCPAddr).IP, a.(*net.TCPAddr).Zone = net.ParseIP("fe80::1"), l.zone
		}
	}
	return nc, err
}

// Rule 15: no memory of an address is used for anything else when its connection has ended. gnet puts the zones of addresses
// into its pool of buffers, where the next message that is long enough is written over them.
func TestGnetGetsNoZoneOfAnAddress(t *testing.T) {
	sec := newSecurity(t)
	for _, secure := range []bool{false, true} {
		text := strings.Repeat("z", 64)
		zone := string([]byte(text)) // memory that may be written to, so that the test fails instead of the process
		l := engine.Listener{Addr: "127.0.0.1:0"}
		if secure {
			l.TLS = sec.server
		}
		e := newEngine(engine.Config{Listeners: []engine.Listener{l}})
		e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(c.RemoteAddr().String())) })
		if err := e.Listen(); err != nil {
			t.Fatal(err)
		}
		e.WrapListener(func(ln net.Listener) net.Listener { return zonedListener{ln, zone} })
		r := serve(t, e)
		for range 20 { // the pool forgets some of what it is given
			var p *peer
			if secure {
				p = dialTLS(t, r.addr, sec.client)
			} else {
				p = dial(t, r.addr)
			}
			p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
			if remote := string(p.read().Body); !strings.HasPrefix(remote, "[fe80::1%"+text+"]:") {
				t.Errorf("RemoteAddr is %q, without the zone that the client has", remote)
			}
			_ = p.Close()
		}
		_ = r.stop(t)
		for range 1000 {
			copy(byteslice.Get(len(text)), strings.Repeat("x", len(text)))
		}
		if zone != text {
			t.Errorf("secure %v: a buffer of gnet's is a zone: %q", secure, zone)
		}
	}
}
