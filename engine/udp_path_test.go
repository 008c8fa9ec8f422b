package engine_test

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

var unreliable = &engine.SendOptions{Unreliable: true}

// keyed is what a gate has given to a client for its datagrams.
type keyed struct {
	id     uint64
	secret [udpwire.SecretSize]byte
	ok     bool
}

// serveSealed runs an engine with an echo handler, a listener for TLS and one for datagrams. The gate gives each client that logs on the
// keys for them.
func serveSealed(t *testing.T, cfg engine.Config, sec *security, prepare ...func(*engine.Engine)) (g *gate, r *running, given chan keyed) {
	t.Helper()
	cfg.Listeners = append([]engine.Listener{{Addr: "127.0.0.1:0", TLS: sec.server}, {Addr: "127.0.0.1:0", Network: "udp"}}, cfg.Listeners...)
	given = make(chan keyed, 100)
	e := newEcho(cfg)
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { // sent back as what may be lost
		return c.SendMessage(&protocol.Message{Type: 2, ID: m.ID, Body: m.Body}, unreliable)
	})
	for _, f := range prepare {
		f(e)
	}
	g = newGate(t, e)
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		var v keyed
		v.id, v.secret, v.ok = seam.ConnOf(k.Conn()).Datagrams()
		given <- v
		k.Admit(&engine.Admitted{UserID: m.UserID, Deliver: m.Clone()})
	}
	r = serve(t, e)
	r.addr = e.Addrs()[0].String()
	return g, r, given
}

// sealedPeer is a client that is logged on over TLS, and its datagrams.
type sealedPeer struct {
	*udpPeer
	tls    *peer
	seals  *udpwire.Cipher
	opens  *udpwire.Cipher
	number uint64
	conn   *engine.Conn
}

func peerSealed(t *testing.T, g *gate, r *running, given chan keyed, sec *security) *sealedPeer {
	t.Helper()
	p := &sealedPeer{tls: dialTLS(t, r.addr, sec.client)}
	p.tls.ask(1, 1, "hello")
	p.conn = receive(t, "the binding", g.arrived).conn
	p.have(t, receive(t, "the keys", given), peerUDP(t, r.Engine.Addrs()[1].String(), ""))
	return p
}

func (p *sealedPeer) have(t *testing.T, k keyed, u *udpPeer) {
	if !k.ok {
		t.Fatal("a client over TLS has got no keys")
	}
	ofClient, ofServer := udpwire.Keys(k.secret)
	p.udpPeer, p.seals, p.opens = u, udpwire.NewCipher(ofClient), udpwire.NewCipher(ofServer)
	p.id = k.id
}

// seal returns a sealed datagram, under the next number.
func (p *sealedPeer) seal(kind byte, content []byte) []byte {
	p.number++
	return p.seals.AppendSealed(nil, p.id, p.number-1, kind, content)
}

// open returns what a datagram of the server has.
func (p *sealedPeer) open(d []byte) (kind byte, content []byte) {
	p.t.Helper()
	if !udpwire.IsWhole(d) || d[0] != udpwire.Sealed || udpwire.ID(d) != p.id {
		p.t.Fatalf("%x has come", d)
	}
	kind, content, ok := p.opens.Open(d)
	if !ok {
		p.t.Fatalf("a datagram of %d bytes is not sealed with the server's key", len(d))
	}
	return kind, content
}

// wants returns the content of the next datagram, which must be of a kind.
func (p *sealedPeer) wants(kind byte) []byte {
	p.t.Helper()
	k, content := p.open(p.read())
	if k != kind {
		p.t.Fatalf("a sealed datagram of kind %d has come, want %d", k, kind)
	}
	return content
}

// silent fails where a datagram comes, other than answers to a Hello that it sends to know when all is read.
func (p *sealedPeer) silent() {
	p.t.Helper()
	p.sendRaw(p.seal(udpwire.Hello, make([]byte, 8)))
	p.wants(udpwire.Welcome)
}

// prove has the server know where the client is.
func (p *sealedPeer) prove() {
	p.t.Helper()
	p.sendRaw(p.seal(udpwire.Hello, make([]byte, 8)))
	challenge := bytes.Clone(p.wants(udpwire.Challenge))
	p.sendRaw(p.seal(udpwire.Response, challenge))
	p.wants(udpwire.Welcome)
}

func (p *sealedPeer) data(ms ...protocol.Message) []byte {
	p.t.Helper()
	var b []byte
	for _, m := range ms {
		b = append(b, frame(p.t, m)...)
	}
	return p.seal(udpwire.Data, b)
}

// echo sends a message of type 2 and wants it back by datagram.
func (p *sealedPeer) echo(body string) {
	p.t.Helper()
	p.sendRaw(p.data(protocol.Message{Type: 2, Body: []byte(body)}))
	if m := only(p.t, p.wants(udpwire.Data)); m.Type != 2 || string(m.Body) != body {
		p.t.Fatalf("%q of type %d has come by datagram, want %q", m.Body, m.Type, body)
	}
}

// A client over TLS has a second way, by datagram: what comes there goes to the same handlers, and what may be lost goes out there once
// the client has proved where it is. Replies go out over TLS.
func TestDatagramsBesideTLS(t *testing.T) {
	sec := newSecurity(t)
	g, r, given := serveSealed(t, engine.Config{}, sec)
	p := peerSealed(t, g, r, given, sec)
	if err := p.conn.SendMessage(&protocol.Message{Type: 2, Body: []byte("early")}, unreliable); err != nil {
		t.Fatal(err)
	}
	if m := p.tls.read(); string(m.Body) != "early" {
		t.Errorf("%q came over TLS", m.Body)
	}
	p.prove()
	p.echo("by datagram")
	p.sendRaw(p.data(protocol.Message{Type: 1, ID: 7, Body: []byte("asked")}))
	if m := p.tls.read(); m.ID != 7 || string(m.Body) != "asked" {
		t.Errorf("the answer over TLS is %q to %d", m.Body, m.ID)
	}
	if got := p.conn.Transport(); got != "tls" {
		t.Errorf("the connection is over %s", got)
	}
	for size, apart := range map[int]bool{udpwire.MaxSealedFrame - 16: true, udpwire.MaxSealedFrame - 15: false} {
		m := protocol.Message{Type: 2, Body: make([]byte, size)}
		if err := p.conn.SendMessage(&m, unreliable); err != nil {
			t.Fatal(err)
		}
		if apart {
			if n := len(p.wants(udpwire.Data)); n != udpwire.MaxSealedFrame {
				t.Errorf("a body of %d bytes takes a datagram with %d", size, n)
			}
		} else if n := len(p.tls.read().Body); n != size {
			t.Errorf("a body of %d bytes came over TLS, want %d", n, size)
		}
	}
	if n, err := r.Broadcast(slices.Values([]*engine.Conn{p.conn}), &protocol.Message{Type: 3, Body: []byte("to all")}, unreliable); n != 1 || err != nil {
		t.Errorf("the broadcast went to %d: %v", n, err)
	}
	if m := only(t, p.wants(udpwire.Data)); m.Type != 3 || string(m.Body) != "to all" {
		t.Errorf("the broadcast is %q", m.Body)
	}
	p.conn.Close(protocol.KickedOut)
	p.tls.wantClose(protocol.KickedOut)
	_ = p.tls.Close()
	wantNobodyIn(t, r.Engine)
	p.sendRaw(p.data(protocol.Message{Type: 2}))
	if d := p.readWithin(20 * time.Millisecond); d != nil {
		t.Errorf("%x has come after the end", d)
	}
}

// Amendment: only what is sealed with the session's key is looked at, and that once. Who reads the line can neither forge, nor repeat, nor move
// the session.
func TestOnlyWhatTheClientHasSealedCounts(t *testing.T) {
	sec := newSecurity(t)
	g, r, given := serveSealed(t, engine.Config{}, sec)
	p, other := peerSealed(t, g, r, given, sec), peerSealed(t, g, r, given, sec)
	stranger := peerUDP(t, r.Engine.Addrs()[1].String(), "")
	p.prove()
	other.prove()
	recorded := p.data(protocol.Message{Type: 2, Body: []byte("once")})
	p.sendRaw(recorded)
	p.wants(udpwire.Data)
	p.sendRaw(recorded) // a repeat
	p.silent()
	stranger.sendRaw(recorded) // from another address: no Challenge
	fresh := p.data(protocol.Message{Type: 2, Body: []byte("twice")})
	for i := range fresh { // each bit counts, those of the header too
		forged := bytes.Clone(fresh)
		forged[i] ^= 1 << (i % 8)
		p.sendRaw(forged)
	}
	p.sendRaw(fresh[:len(fresh)-1])
	p.sendRaw(append(bytes.Clone(fresh), 0))
	p.sendRaw(other.seals.AppendSealed(nil, p.id, p.number, udpwire.Data, frame(t, protocol.Message{Type: 2}))) // another session's key
	p.sendRaw(p.opens.AppendSealed(nil, p.id, p.number, udpwire.Data, frame(t, protocol.Message{Type: 2})))     // the server's own
	p.sendRaw(udpwire.AppendHello(nil, 7))
	p.sendRaw(append(udpwire.AppendData(nil, p.id, 0), frame(t, protocol.Message{Type: 2})...)) // in clear
	p.sendRaw(udpwire.AppendResponse(nil, p.id, [udpwire.MACSize]byte{}))
	p.silent()
	p.sendRaw(fresh) // it is older than the Hello by now, and new
	if m := only(t, p.wants(udpwire.Data)); string(m.Body) != "twice" {
		t.Errorf("%q has come", m.Body)
	}
	old := p.data(protocol.Message{Type: 2})
	p.number += 64
	p.silent()
	p.sendRaw(old) // 64 behind
	p.silent()
	if d := stranger.readWithin(20 * time.Millisecond); d != nil {
		t.Errorf("a stranger has got %x", d)
	}
	other.echo("still there")
	if n := r.Stats().Conns.Bound; n != 2 {
		t.Errorf("%d clients are there", n)
	}
}

// Amendment: a sealed answer, too, comes from the address that was asked, where the server listens on all.
func TestSealedAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	sec := newSecurity(t)
	for _, listen := range []string{"0.0.0.0:0", "[::]:0"} {
		g, r, given := serveSealed(t, engine.Config{Listeners: []engine.Listener{{Addr: listen, Network: "udp"}}}, sec)
		_, port, err := net.SplitHostPort(r.Engine.Addrs()[2].String())
		if err != nil {
			t.Fatal(err)
		}
		p := &sealedPeer{tls: dialTLS(t, r.addr, sec.client)}
		p.tls.ask(1, 1, "hello")
		p.conn = receive(t, "the binding", g.arrived).conn
		keys := receive(t, "the keys", given)
		for _, host := range []string{"127.0.0.1", "127.0.0.77"} {
			p.have(t, keys, peerUDP(t, net.JoinHostPort(host, port), "127.0.0.5")) // takes only what comes from there
			p.prove()
			p.echo(host)
			if err := p.conn.SendMessage(&protocol.Message{Type: 5}, unreliable); err != nil {
				t.Fatal(err)
			}
			p.wants(udpwire.Data)
		}
	}
}

// A client that moves has to prove where it is; meanwhile nothing that it sends is delivered, and nothing goes there.
func TestAClientProvesWhereItsDatagramsGo(t *testing.T) {
	sec := newSecurity(t)
	for _, loops := range []int{1, 4} { // with 4 the other address is mostly read by another loop's socket
		g, r, given := serveSealed(t, engine.Config{Loops: loops}, sec)
		p := peerSealed(t, g, r, given, sec)
		p.prove()
		for range 8 {
			before := p.udpPeer
			after := peerUDP(t, r.Engine.Addrs()[1].String(), "")
			after.id, p.udpPeer = p.id, after
			d := p.data(protocol.Message{Type: 2, Body: []byte("moved")})
			p.sendRaw(d)
			challenge := bytes.Clone(p.wants(udpwire.Challenge))
			if n := udpwire.SealedMore + len(challenge); n > len(d) {
				t.Errorf("%d bytes from an address that is not proved are answered with %d", len(d), n)
			}
			if err := p.conn.SendMessage(&protocol.Message{Type: 5}, unreliable); err != nil {
				t.Fatal(err)
			}
			p.udpPeer = before
			if m := only(t, p.wants(udpwire.Data)); m.Type != 5 {
				t.Errorf("a message of type %d has come, want 5", m.Type)
			}
			p.udpPeer = after
			wrong := bytes.Clone(challenge)
			wrong[7]++
			p.sendRaw(p.seal(udpwire.Response, wrong))
			p.sendRaw(p.seal(udpwire.Response, challenge[:7]))
			p.sendRaw(p.seal(udpwire.Data, nil)) // too short to be answered
			p.sendRaw(p.seal(udpwire.Hello, make([]byte, 8)))
			if again := p.wants(udpwire.Challenge); !bytes.Equal(again, challenge) {
				t.Errorf("the challenge was %x, and is %x", challenge, again)
			}
			p.sendRaw(p.seal(udpwire.Response, challenge))
			p.wants(udpwire.Welcome)
			p.echo("here")
		}
	}
}

// The client's life is that of TLS: datagrams are no signs of life, and a Close by datagram is one.
func TestLifeIsThatOfTLS(t *testing.T) {
	sec := newSecurity(t)
	g, r, given := serveSealed(t, engine.Config{}, sec)
	p := &sealedPeer{tls: dialTLS(t, r.addr, sec.client)}
	p.tls.ask(1, 1, "hello")
	b := receive(t, "the binding", g.arrived)
	p.conn = b.conn
	p.have(t, receive(t, "the keys", given), peerUDP(t, r.Engine.Addrs()[1].String(), ""))
	p.prove()
	p.tls.ask(1, 2, "and again")
	beats, received := b.beats.Load(), b.received.Load()
	for range 10 {
		p.echo("x")
		p.sendRaw(p.data(protocol.Message{Type: protocol.TypeHeartbeat}))
	}
	p.silent()
	if b.beats.Load() != beats {
		t.Errorf("%d signs of life by datagram", b.beats.Load()-beats)
	}
	if n := b.received.Load() - received; n != 10 {
		t.Errorf("%d messages by datagram were counted, want 10", n)
	}
	if n := b.sent.Load(); n < 10 {
		t.Errorf("%d sent messages were counted", n)
	}
	p.sendRaw(p.data(closeMessage(protocol.ClientClosed)))
	p.tls.wantEOF()
	wantNobodyIn(t, r.Engine)
}

// A part of a frame ends the client: no client makes one.
func TestASealedPartOfAFrameIsInvalid(t *testing.T) {
	sec := newSecurity(t)
	g, r, given := serveSealed(t, engine.Config{}, sec)
	p := peerSealed(t, g, r, given, sec)
	p.prove()
	p.sendRaw(p.seal(udpwire.Data, frame(t, protocol.Message{Type: 2})[:15]))
	p.tls.wantClose(protocol.InvalidMessage)
}

// What waits for a loop that does not get to it is limited.
func TestDatagramsThatWaitAreDropped(t *testing.T) {
	sec := newSecurity(t)
	waits, release := make(chan struct{}), make(chan struct{})
	g, r, given := serveSealed(t, engine.Config{Loops: 1}, sec, func(e *engine.Engine) {
		e.Handle(4, func(*engine.Conn, *protocol.Message) error {
			waits <- struct{}{}
			<-release
			return nil
		})
	})
	p := peerSealed(t, g, r, given, sec)
	p.prove()
	p.tls.send(protocol.Message{Type: 4}) // the loop waits
	receive(t, "the handler", waits)
	const most = 64 << 10 / (1000 + 16)
	sent := 0
	for range 2 * most {
		switch err := p.conn.SendMessage(&protocol.Message{Type: 2, Body: make([]byte, 1000)}, unreliable); err {
		case nil:
			sent++
		case engine.ErrDropped:
		default:
			t.Fatal(err)
		}
	}
	release <- struct{}{}
	if sent != most {
		t.Errorf("%d messages waited, want %d", sent, most)
	}
	if n := r.Stats().Dropped.Messages; n != 2*most-uint64(sent) {
		t.Errorf("%d messages count as dropped, want %d", n, 2*most-sent)
	}
	for range sent {
		p.wants(udpwire.Data)
	}
	p.silent()
}

// Without TLS a client gets no keys, and none where there is no listener for sealed datagrams.
func TestKeysGoOverTLSAlone(t *testing.T) {
	sec := newSecurity(t)
	g, r, given := serveSealed(t, engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", TLS: sec.server, Codec: protocol.Line}}}, sec)
	dial(t, r.Engine.Addrs()[2].String()).ask(1, 1, "hello")
	if k := receive(t, "the keys", given); k.ok {
		t.Error("a client without TLS has got keys")
	}
	receive(t, "the binding", g.arrived)
	line := dialTLS(t, r.Engine.Addrs()[3].String(), sec.client)
	line.sendRaw([]byte("ann\n"))
	if k := receive(t, "the keys", given); k.ok {
		t.Error("a client with another codec has got keys")
	}
}
