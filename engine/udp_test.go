package engine_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestAClientOverUDPIsServed(t *testing.T) {
	g, r := serveUDP(t, engine.Config{})
	p := peerUDP(t, r.addr, "")
	if m := only(t, p.logOn(protocol.Message{Type: 1, ID: 1, UserID: "ann", Body: []byte("hello")})); m.ID != 1 || string(m.Body) != "hello" {
		t.Errorf("the Welcome has %q to %d", m.Body, m.ID)
	}
	b := receive(t, "the binding", g.arrived)
	if got := b.conn.RemoteAddr().String(); got != p.nc.LocalAddr().String() {
		t.Errorf("the client is at %v, want %v", got, p.nc.LocalAddr())
	}
	p.ask(2, "there")
	p.send(protocol.Message{Type: 1, ID: 3}, protocol.Message{Type: 1, ID: 4})
	if n := len(p.want(udpwire.Data)); n != udpwire.DataHeader+2*16 {
		t.Errorf("the answers to one datagram came in one of %d bytes", n)
	}
	if err := b.conn.Send(7, []byte("news")); err != nil {
		t.Error(err)
	}
	if m := p.message(); m.Type != 7 || string(m.Body) != "news" {
		t.Errorf("a message of type %d came with %q", m.Type, m.Body)
	}
	p.bye()
	wantNobodyIn(t, r.Engine)
	if o := r.Stats().Outcomes[protocol.OutcomeClosedByPeer]; o != 1 {
		t.Errorf("the outcomes are %v", r.Stats().Outcomes)
	}
}

// A first message that is not answered is still welcomed, when it is sent again.
func TestAFirstMessageWithoutAnAnswerIsWelcomed(t *testing.T) {
	g, r := serveUDP(t, engine.Config{}, func(_ *engine.Engine, g *gate) {
		g.first = func(k engine.Control, m *protocol.Message, _ *binding) { k.Admit(&engine.Admitted{UserID: "ann"}) }
	})
	p := peerUDP(t, r.addr, "")
	logon := udpwire.AppendLogon(nil, p.nonce, p.cookie(), frame(t, protocol.Message{Type: 1}))
	p.sendRaw(logon)
	receive(t, "the binding", g.arrived)
	var welcome []byte
	eventually(t, "a Welcome", func() bool {
		p.sendRaw(logon)
		welcome = p.readWithin(10 * time.Millisecond)
		return welcome != nil
	})
	if n := len(p.welcomed(welcome)); n != 0 || p.id == 0 {
		t.Errorf("the Welcome has %d bytes of frames, and session %x", n, p.id)
	}
	for p.readWithin(50*time.Millisecond) != nil { // repeats
	}
	p.ask(2, "there")
	p.bye()
}

// Amendment: a session needs a cookie that was made for this address and nonce. Each forgery is answered with nothing.
func TestForgedLogonsMakeNoSession(t *testing.T) {
	_, r := serveUDP(t, engine.Config{})
	victim, p := peerUDP(t, r.addr, ""), peerUDP(t, r.addr, "")
	stolen := victim.cookie()
	f := frame(t, protocol.Message{Type: 1, ID: 1, UserID: "ann"})
	for i := range 1000 {
		var forged [udpwire.ProofSize]byte
		rand.Read(forged[:])
		copy(forged[:4], stolen[:4]) // of this time
		p.sendRaw(udpwire.AppendLogon(nil, p.nonce, forged, f))
		if i < 10 {
			p.sendRaw(udpwire.AppendLogon(nil, victim.nonce, stolen, f)) // from another port
		}
	}
	own := p.cookie()
	p.sendRaw(udpwire.AppendLogon(nil, p.nonce+1, own, f))
	p.sendRaw(udpwire.AppendLogon(nil, p.nonce, own, f[:len(f)-1])) // a part of a frame
	old := own
	old[3] -= 11
	p.sendRaw(udpwire.AppendLogon(nil, p.nonce, old, f))
	p.cookie() // everything before it was read
	if s := r.Stats(); s.Accepted != 0 || s.Conns.Open != 0 {
		t.Errorf("%d connections came in", s.Accepted)
	}
	p.logOn(protocol.Message{Type: 1, ID: 1})
	p.bye()
}

// Amendment: to an address that has not proved that it can receive, no answer is longer than what came.
func TestNoAnswerIsLongerThanWhatCame(t *testing.T) {
	_, r := serveUDP(t, engine.Config{})
	session := peerUDP(t, r.addr, "")
	session.logOn(protocol.Message{Type: 1, ID: 1})
	for kind := range byte(12) {
		for _, size := range []int{1, 9, 11, 12, 13, 16, 17, 25, 29, 63, 64, 65, 100, 1200, 1201, 1400} {
			for _, id := range []uint64{session.id, 7} {
				p := peerUDP(t, r.addr, "")
				b := make([]byte, size)
				if copy(b, udpwire.AppendGone(nil, id, 0)); size > 0 {
					b[0] = kind
				}
				p.sendRaw(b)
				if answer := p.readWithin(2 * time.Millisecond); len(answer) > size {
					t.Errorf("%d bytes of kind %d are answered with %d", size, kind, len(answer))
				}
			}
		}
	}
	session.ask(2, "still there")
	session.bye()
}

// Amendment: one cookie makes one session, however often its first frame comes, and every repeat gets the same answer.
func TestOneCookieMakesOneSession(t *testing.T) {
	decide := make(chan struct{})
	g, r := serveUDP(t, engine.Config{}, func(_ *engine.Engine, g *gate) {
		g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
			first := m.Clone()
			go func() {
				<-decide
				k.Admit(&engine.Admitted{UserID: "ann", Deliver: first})
			}()
		}
	})
	p := peerUDP(t, r.addr, "")
	proof := p.cookie()
	logon := udpwire.AppendLogon(nil, p.nonce, proof, frame(t, protocol.Message{Type: 1, ID: 1}))
	for range 10 {
		p.sendRaw(logon)
	}
	receive(t, "the binding", g.arrived)
	close(decide)
	welcome := p.want(udpwire.Welcome)
	other := udpwire.AppendLogon(nil, p.nonce, proof, frame(t, protocol.Message{Type: 1, ID: 2}))
	for range 10 {
		p.sendRaw(other)
		p.sendRaw(logon)
		if again := p.want(udpwire.Welcome); !bytes.Equal(again, welcome) {
			t.Fatalf("a repeat is answered with %x, and the first with %x", again, welcome)
		}
	}
	if n := r.Stats().Accepted; n != 1 {
		t.Errorf("%d connections came in", n)
	}
	p.welcomed(welcome)
	p.bye()
}

// Amendment: a datagram from another address is not processed before the address has proved, with the session's key, that the client is
// there. The session goes on, with its counters, also where the address leads to another loop.
func TestAClientMovesToAnotherAddress(t *testing.T) {
	g, r := serveUDP(t, engine.Config{Loops: 4})
	p := peerUDP(t, r.addr, "")
	p.logOn(protocol.Message{Type: 1, ID: 1})
	b := receive(t, "the binding", g.arrived)
	for i := range 40 {
		old := p.nc
		moved := peerUDP(t, r.addr, "")
		p.nc = moved.nc
		p.send(protocol.Message{Type: 1, ID: 99}) // is lost
		challenge := udpwire.Challenged(p.want(udpwire.Challenge))
		wrong := udpwire.Answer([udpwire.KeySize]byte{1}, p.id, challenge)
		p.sendRaw(udpwire.AppendResponse(nil, p.id, wrong))
		p.send(protocol.Message{Type: 1, ID: 99})
		if again := udpwire.Challenged(p.want(udpwire.Challenge)); again != challenge {
			t.Errorf("the address is challenged with %x after %x", again, challenge)
		}
		p.nc = old
		p.ask(uint32(1000+i), "still here")
		p.nc = moved.nc
		p.sendRaw(udpwire.AppendResponse(nil, p.id, udpwire.Answer(p.key, p.id, challenge)))
		p.ask(uint32(2000+i), "moved")
		_ = old.Close()
	}
	if n := b.received.Load(); n != 81 {
		eventually(t, "all messages of one session", func() bool { return b.received.Load() == 81 })
	}
	if n := r.Stats().Accepted; n != 1 {
		t.Errorf("%d connections came in", n)
	}
	p.bye()
}

// Amendment: the place among the connections of an address moves with the client. Where the new one has none left, the old one stays.
func TestAClientThatMovesTakesItsPlaceAlong(t *testing.T) {
	_, r := serveUDP(t, engine.Config{Accept: engine.Accept{MaxPerAddress: 1}})
	a, b := peerUDP(t, r.addr, "127.0.0.1"), peerUDP(t, r.addr, "127.0.0.2")
	a.logOn(protocol.Message{Type: 1, ID: 1})
	b.logOn(protocol.Message{Type: 1, ID: 1})
	move := func(p *udpPeer, to string) (old *net.UDPConn) {
		old = p.nc
		p.nc = peerUDP(t, r.addr, to).nc
		p.send(protocol.Message{Type: 1})
		p.sendRaw(udpwire.AppendResponse(nil, p.id, udpwire.Answer(p.key, p.id, udpwire.Challenged(p.want(udpwire.Challenge)))))
		return old
	}
	old := move(a, "127.0.0.2")
	a.send(protocol.Message{Type: 1, ID: 2})
	a.want(udpwire.Challenge) // it is still where it was
	a.nc = old
	a.ask(3, "there")
	move(a, "127.0.0.3")
	a.ask(4, "there")
	c := peerUDP(t, r.addr, "127.0.0.1")
	c.logOn(protocol.Message{Type: 1, ID: 1}) // the place is free again
	d := peerUDP(t, r.addr, "127.0.0.3")
	frames := d.logOn(protocol.Message{Type: 1, ID: 1})
	if wantCloseIn(t, frames, protocol.TooManyConnections); d.id != 0 {
		t.Errorf("who is refused has session %x", d.id)
	}
	for _, p := range []*udpPeer{a, b, c} {
		p.bye()
	}
	wantNobodyIn(t, r.Engine)
}

// A datagram is delivered once, and in the order in which datagrams come.
func TestADatagramIsDeliveredOnce(t *testing.T) {
	g, r := serveUDP(t, engine.Config{})
	p := peerUDP(t, r.addr, "")
	p.logOn(protocol.Message{Type: 1, ID: 1})
	b := receive(t, "the binding", g.arrived)
	var all [][]byte
	for i := range 70 {
		all = append(all, p.data(protocol.Message{Type: 1, ID: uint32(100 + i)}))
	}
	for i := len(all) - 1; i >= 0; i-- { // the last is the newest; 63 behind it are still new
		p.sendRaw(all[i])
		p.sendRaw(all[i])
	}
	for i := range 64 {
		if m := p.message(); m.ID != uint32(169-i) {
			t.Fatalf("answer %d is to %d", i, m.ID)
		}
	}
	p.ask(500, "and on")
	if n := b.received.Load(); n > 66 {
		t.Errorf("%d messages were delivered", n)
	}
	p.bye()
}

func TestLostDatagramsAreCounted(t *testing.T) {
	_, r := serveUDP(t, engine.Config{})
	p := peerUDP(t, r.addr, "")
	p.logOn(protocol.Message{Type: 1, ID: 1})
	p.ask(2, "")
	p.seq += 5
	p.ask(3, "")
	if n := r.Stats().Lost; n != 5 {
		t.Errorf("%d datagrams were lost", n)
	}
	p.bye()
}

// A datagram has whole frames: anything else ends the session.
func TestAPartOfAFrameEndsTheSession(t *testing.T) {
	_, r := serveUDP(t, engine.Config{})
	p := peerUDP(t, r.addr, "")
	p.logOn(protocol.Message{Type: 1, ID: 1})
	b := p.data(protocol.Message{Type: 1, ID: 2}, protocol.Message{Type: 1, ID: 3, Body: []byte("long")})
	p.sendRaw(b[:len(b)-1])
	p.wantClose(protocol.InvalidMessage)
	p.send(protocol.Message{Type: 1, ID: 2})
	p.wantGone(protocol.InvalidMessage)
	p.bye2(protocol.InvalidMessage)
}

// bye2 confirms a Close of the server's.
func (p *udpPeer) bye2(code protocol.CloseCode) {
	p.t.Helper()
	p.send(closeMessage(protocol.ClientClosed))
	p.wantGone(code)
}

// Rule 14 over UDP: a client was told when its own Close has come; what comes meanwhile is answered with the code, because the notice may be
// lost. A client that says nothing is closed by force.
func TestACloseIsConfirmed(t *testing.T) {
	g, r := serveUDP(t, engine.Config{Timeouts: engine.Timeouts{Close: 300 * time.Millisecond}})
	p, mute := peerUDP(t, r.addr, ""), peerUDP(t, r.addr, "")
	p.logOn(protocol.Message{Type: 1, ID: 1})
	kicked := receive(t, "the binding", g.arrived)
	mute.logOn(protocol.Message{Type: 1, ID: 1})
	muted := receive(t, "the binding", g.arrived)
	kicked.conn.Close(protocol.Errorf(protocol.KickedOut, "enough"))
	muted.conn.Close(protocol.KickedOut)
	p.wantClose(protocol.KickedOut)
	p.send(protocol.Message{Type: 1, ID: 2})
	p.wantGone(protocol.KickedOut)
	p.bye2(protocol.KickedOut)
	p.send(protocol.Message{Type: 1, ID: 2}) // for a minute
	p.wantGone(protocol.KickedOut)
	if o := outcomeOf(t, kicked.conn); o != protocol.OutcomeTold {
		t.Errorf("who has confirmed was %v", o)
	}
	if o := outcomeOf(t, muted.conn); o != protocol.OutcomeForced {
		t.Errorf("who has said nothing was %v", o)
	}
}

// A client learns that its session is not known: the server was restarted.
func TestAnUnknownSessionIsGone(t *testing.T) {
	_, r := serveUDP(t, engine.Config{Loops: 2})
	p := peerUDP(t, r.addr, "")
	for loop := range uint64(2) {
		p.id = loop<<56 | 12345
		p.send(protocol.Message{Type: 1, ID: 1})
		p.wantGone(protocol.ServerStopping)
	}
	p.id = 200 << 56 // the engine has no such loop
	p.send(protocol.Message{Type: 1, ID: 1})
	if b := p.readWithin(50 * time.Millisecond); b != nil {
		p.t.Errorf("the answer is %x", b)
	}
}

// Amendment: an answer comes from the address that was asked, also where the server listens on all.
func TestAServerOnAllAddressesAnswersFromTheOneThatWasAsked(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "[::]:0"} {
		t.Run(listen, func(t *testing.T) {
			asked := make(chan engine.Incoming, 2)
			_, r := serveUDP(t, engine.Config{Listeners: []engine.Listener{{Addr: listen}},
				OnAccept: func(_ context.Context, in engine.Incoming) error { asked <- in; return nil }})
			_, port, err := net.SplitHostPort(r.addr)
			if err != nil {
				t.Fatal(err)
			}
			for _, host := range []string{"127.0.0.1", "127.0.0.77"} {
				p := peerUDP(t, net.JoinHostPort(host, port), "127.0.0.5") // takes only what comes from there
				p.logOn(protocol.Message{Type: 1, ID: 1})
				if in := receive(t, "the question", asked); in.Local.String() != net.JoinHostPort(host, port) || in.Remote.Addr().String() != "127.0.0.5" {
					t.Errorf("OnAccept was asked about %+v", in)
				}
				p.ask(2, "there")
				p.bye()
			}
		})
	}
}

// What does not fit into a datagram cannot be sent, and the sender is told.
func TestWhatDoesNotFitIntoADatagramIsTooLarge(t *testing.T) {
	g, r := serveUDP(t, engine.Config{}, func(e *engine.Engine, _ *gate) {
		e.Handle(5, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, udpwire.MaxBody+1)) })
	})
	p := peerUDP(t, r.addr, "")
	p.logOn(protocol.Message{Type: 1, ID: 1})
	c := receive(t, "the binding", g.arrived).conn
	tooLarge := func(err error) {
		t.Helper()
		if !errors.Is(err, protocol.MessageTooLarge) {
			t.Errorf("the error is %v", err)
		}
	}
	tooLarge(c.Send(7, make([]byte, udpwire.MaxBody+1)))
	tooLarge(c.SendMessage(&protocol.Message{Type: 7, UserID: "bob", Body: make([]byte, udpwire.MaxBody-2)}, nil))
	var reported error
	n, err := r.Broadcast(slices.Values([]*engine.Conn{c}), &protocol.Message{Type: 7, Body: make([]byte, udpwire.MaxBody+1)},
		&engine.SendOptions{Report: func(_ *engine.Conn, err error) { reported = err }})
	if tooLarge(reported); n != 0 || err != nil {
		t.Errorf("the broadcast reached %d, %v", n, err)
	}
	p.send(protocol.Message{Type: 5, ID: 2})
	if m := p.message(); m.ID != 2 || m.Flags&protocol.FlagError == 0 {
		t.Errorf("the answer to %d has flags %v", m.ID, m.Flags)
	}
	for _, m := range []protocol.Message{{Type: 7, Body: make([]byte, udpwire.MaxBody)}, {Type: 7, UserID: "bob", Body: make([]byte, udpwire.MaxBody-3)}} {
		if err := c.SendMessage(&m, nil); err != nil {
			t.Error(err)
		}
		if b := p.want(udpwire.Data); len(b) != udpwire.MaxDatagram {
			t.Errorf("the largest message takes a datagram of %d bytes", len(b))
		}
	}
	p.bye()
}

func TestListenersForDatagramsAreChecked(t *testing.T) {
	for name, l := range map[string]engine.Listener{
		"listener with TLS": {Network: "udp"},
		"protocol.Binary":   {Network: "udp", Cleartext: true, Codec: protocol.Line},
		"without TLS":       {Network: "udp", Cleartext: true, WebSocket: new(engine.WebSocket)},
		"which is for":      {Cleartext: true},
	} {
		l.Addr = "127.0.0.1:0"
		if _, err := engine.New(engine.Config{Listeners: []engine.Listener{l}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error is %v, want one with %q", err, name)
		}
	}
	e := newEcho(engine.Config{Listeners: []engine.Listener{{Network: "udp", Addr: "127.0.0.1:0", Cleartext: true}}})
	if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "needs a bridge") {
		t.Errorf("the error is %v", err)
	}
	both, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	e = newEcho(engine.Config{Listeners: []engine.Listener{{Network: "udp", Addr: both.LocalAddr().String(), Cleartext: true}}})
	if err := e.Listen(); err == nil {
		t.Error("a port that is taken was taken again")
	}
}

// Rule 15: a stop tells the clients, and waits for them.
func TestAStopTellsClientsOverUDP(t *testing.T) {
	g, r := serveUDP(t, engine.Config{})
	p := peerUDP(t, r.addr, "")
	p.logOn(protocol.Message{Type: 1, ID: 1})
	receive(t, "the binding", g.arrived)
	r.cancel()
	p.wantClose(protocol.ServerStopping)
	p.send(closeMessage(protocol.ClientClosed))
	p.wantGone(protocol.ServerStopping)
	if err := r.stop(t); err != nil {
		t.Error(err)
	}
	if s := r.Stats().Stop; s.Told != 1 || s.Connections != 1 {
		t.Errorf("the stop: %v", s)
	}
}
