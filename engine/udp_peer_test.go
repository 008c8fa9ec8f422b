package engine_test

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpPeer is a client over UDP, datagram by datagram.
type udpPeer struct {
	t     testing.TB
	nc    *net.UDPConn
	nonce uint64
	id    uint64
	key   [udpwire.KeySize]byte
	seq   uint32
}

// serveUDP runs an engine with an echo handler and a listener for datagrams, and returns the peers' address.
func serveUDP(t *testing.T, cfg engine.Config, prepare ...func(*engine.Engine, *gate)) (*gate, *running) {
	t.Helper()
	if len(cfg.Listeners) == 0 {
		cfg.Listeners = []engine.Listener{{Addr: "127.0.0.1:0"}}
	}
	for i := range cfg.Listeners {
		cfg.Listeners[i].Network, cfg.Listeners[i].Cleartext = "udp", true
	}
	e := newEcho(cfg)
	g := newGate(t, e)
	for _, f := range prepare {
		f(e, g)
	}
	r := serve(t, e)
	r.addr = e.Addrs()[0].String()
	return g, r
}

// peerUDP returns a client that has said nothing, at an address of its own; "" is any.
func peerUDP(t testing.TB, server, from string) *udpPeer {
	t.Helper()
	nc, err := (&net.Dialer{LocalAddr: localUDP(from)}).Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	var b [8]byte
	rand.Read(b[:])
	return &udpPeer{t: t, nc: nc.(*net.UDPConn), nonce: binary.BigEndian.Uint64(b[:])}
}

func localUDP(from string) net.Addr {
	if from == "" {
		return nil
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
}

func (p *udpPeer) sendRaw(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// read returns the next datagram.
func (p *udpPeer) read() []byte {
	p.t.Helper()
	b := p.readWithin(patience)
	if b == nil {
		p.t.Fatal("no datagram has come")
	}
	return b
}

// readWithin returns nil where no datagram comes in time.
func (p *udpPeer) readWithin(d time.Duration) []byte {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(d))
	b := make([]byte, 2048)
	n, err := p.nc.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	} else if err != nil {
		p.t.Fatal(err)
	}
	return b[:n]
}

// want returns the next datagram, which must be of a kind. Welcomes and Cookies that come again are skipped.
func (p *udpPeer) want(kind byte) []byte {
	p.t.Helper()
	b := p.read()
	for p.id != 0 && kind != udpwire.Welcome && b[0] == udpwire.Welcome || kind != udpwire.Cookie && b[0] == udpwire.Cookie {
		b = p.read()
	}
	if !udpwire.IsWhole(b) || b[0] != kind {
		p.t.Fatalf("a datagram of kind %d has come, with %d bytes, want kind %d", b[0], len(b), kind)
	}
	return b
}

// cookie asks for a cookie and returns its proof. It asks again where nothing comes: after many datagrams the kernel may have had no room.
func (p *udpPeer) cookie() [udpwire.ProofSize]byte {
	p.t.Helper()
	var b []byte
	eventually(p.t, "a Cookie", func() bool {
		p.sendRaw(udpwire.AppendHello(nil, p.nonce))
		b = p.readWithin(time.Second)
		return b != nil
	})
	if !udpwire.IsWhole(b) || b[0] != udpwire.Cookie {
		p.t.Fatalf("a Hello is answered with kind %d, in %d bytes", b[0], len(b))
	}
	if udpwire.ID(b) != p.nonce {
		p.t.Fatalf("the cookie is for %x, want %x", udpwire.ID(b), p.nonce)
	}
	return udpwire.Proof(b)
}

// logOn begins a session with a message, and returns the frames of the Welcome.
func (p *udpPeer) logOn(m protocol.Message) []byte {
	p.t.Helper()
	p.sendRaw(udpwire.AppendLogon(nil, p.nonce, p.cookie(), frame(p.t, m)))
	return p.welcomed(p.want(udpwire.Welcome))
}

func (p *udpPeer) welcomed(b []byte) []byte {
	p.t.Helper()
	if udpwire.ID(b) != p.nonce {
		p.t.Fatalf("the Welcome is for %x, want %x", udpwire.ID(b), p.nonce)
	}
	p.id, p.key = udpwire.Session(b)
	return b[udpwire.WelcomeHeader:]
}

// data returns a Data datagram with messages, under the next number.
func (p *udpPeer) data(ms ...protocol.Message) []byte {
	p.t.Helper()
	b := udpwire.AppendData(nil, p.id, p.seq)
	p.seq++
	for _, m := range ms {
		b = append(b, frame(p.t, m)...)
	}
	return b
}

func (p *udpPeer) send(ms ...protocol.Message) {
	p.t.Helper()
	p.sendRaw(p.data(ms...))
}

// message returns the only message of the next datagram, which must be Data.
func (p *udpPeer) message() protocol.Message {
	p.t.Helper()
	return only(p.t, p.want(udpwire.Data)[udpwire.DataHeader:])
}

// only returns the message of frames that are one.
func only(t testing.TB, frames []byte) (m protocol.Message) {
	t.Helper()
	n, _, err := protocol.Binary.Decode(frames, &m, protocol.DecodeOptions{MaxBody: 1 << 20})
	if err != nil || n == 0 || n != len(frames) {
		t.Fatalf("%d bytes of %d are a frame: %v", n, len(frames), err)
	}
	return m
}

// ask sends a request and wants it back.
func (p *udpPeer) ask(id uint32, body string) {
	p.t.Helper()
	p.send(protocol.Message{Type: 1, ID: id, Body: []byte(body)})
	if m := p.message(); m.ID != id || string(m.Body) != body {
		p.t.Fatalf("the answer is %q to %d, want %q to %d", m.Body, m.ID, body, id)
	}
}

// wantClose wants a Close with a code.
func (p *udpPeer) wantClose(code protocol.CloseCode) {
	p.t.Helper()
	wantCloseIn(p.t, p.want(udpwire.Data)[udpwire.DataHeader:], code)
}

func wantCloseIn(t testing.TB, frames []byte, code protocol.CloseCode) {
	t.Helper()
	m := only(t, frames)
	why, err := protocol.ParseClose(m.Body)
	if m.Type != protocol.TypeClose || err != nil || why.Code != code {
		t.Fatalf("a message of type %x says %v (%v), want a Close with %v", m.Type, why, err, code)
	}
}

// wantGone wants to be told that the session is over.
func (p *udpPeer) wantGone(code protocol.CloseCode) {
	p.t.Helper()
	b := p.want(udpwire.Gone)
	if udpwire.ID(b) != p.id || protocol.CloseCode(udpwire.GoneCode(b)) != code || len(b) != udpwire.GoneSize {
		p.t.Fatalf("%x is gone with %d, in %d bytes; want %x with %v", udpwire.ID(b), udpwire.GoneCode(b), len(b), p.id, code)
	}
}

// bye ends the session.
func (p *udpPeer) bye() {
	p.t.Helper()
	p.send(closeMessage(protocol.ClientClosed))
	p.wantGone(protocol.ClientClosed)
}

func closeMessage(code protocol.CloseCode) protocol.Message {
	return protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, &protocol.CloseError{Code: code})}
}
