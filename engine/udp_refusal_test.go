package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// Amendment: until its client is let in the server sends no more than three times what came. A refusal always has its code, and its texts where
// they fit.
func TestARefusalIsAtMostThreeTimesTheLogon(t *testing.T) {
	for by, refuse := range map[string]func(text string) (engine.Config, func(*engine.Engine, *gate)){
		"OnAccept": func(text string) (engine.Config, func(*engine.Engine, *gate)) {
			return engine.Config{OnAccept: func(context.Context, engine.Incoming) error {
					return protocol.Errorf(protocol.Unauthorized, "%s", text)
				}},
				func(*engine.Engine, *gate) {}
		},
		"the authenticator": func(text string) (engine.Config, func(*engine.Engine, *gate)) {
			return engine.Config{}, func(_ *engine.Engine, g *gate) {
				g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
					why := &protocol.CloseError{Code: protocol.Unauthorized, Text: text, Info: map[string]string{"retry-ms": "1000"}}
					k.Refuse(&protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError, ID: m.ID,
						Body: system.AppendClose(nil, why)}, why)
				}
			}
		},
	} {
		for name, c := range map[string]struct {
			text string
			user string // makes the Logon longer
			kept bool
		}{
			"a short text":                  {"no", "", true},
			"a long text":                   {strings.Repeat("no ", 300), "", false},
			"a text larger than a datagram": {strings.Repeat("no ", 5000), strings.Repeat("u", 200), false},
			"a long text for a long Logon":  {strings.Repeat("no ", 40), strings.Repeat("u", 200), true},
		} {
			t.Run(by+", "+name, func(t *testing.T) {
				cfg, prepare := refuse(c.text)
				_, r := serveUDP(t, cfg, prepare)
				p := peerUDP(t, r.addr, "")
				logon := udpwire.AppendLogon(nil, p.nonce, p.cookie(), frame(t, protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: c.user}))
				p.sendRaw(logon)
				answer := p.want(udpwire.Welcome)
				frames := p.welcomed(answer)
				var m protocol.Message
				for len(frames) > 0 {
					n, _, err := protocol.Binary.Decode(frames, &m, protocol.DecodeOptions{MaxBody: 1 << 20})
					if n == 0 || err != nil {
						t.Fatalf("%d bytes are left: %v", len(frames), err)
					}
					frames = frames[n:]
				}
				why, err := protocol.ParseClose(m.Body)
				if m.Type != protocol.TypeClose || err != nil || why.Code != protocol.Unauthorized || (why.Text == c.text) != c.kept {
					t.Errorf("a message of type %x says %v, %v", m.Type, why, err)
				}
				if len(answer) > 3*len(logon) {
					t.Errorf("%d bytes are answered with %d", len(logon), len(answer))
				}
				if p.id != 0 {
					p.send(closeMessage(protocol.ClientClosed))
				}
				wantNobodyIn(t, r.Engine)
			})
		}
	}
}

// Amendment: that limit holds for all that is sent to a client that is not let in, also where its Close does not go out together with the answer.
func TestARefusalInPartsIsAtMostThreeTimesTheLogon(t *testing.T) {
	const header = 16
	for name, size := range map[string]int{"in one piece": 100, "the Close is cut": engine.PieceSize - header - 20, "the answer is cut": engine.PieceSize,
		"the answer takes many parts": 3 * engine.PieceSize} {
		t.Run(name, func(t *testing.T) {
			g, r := serveUDP(t, engine.Config{Timeouts: engine.Timeouts{Close: 50 * time.Millisecond}}, undecided)
			p := peerUDP(t, r.addr, "")
			logon := p.logon(p.cookie())
			p.sendRaw(logon)
			receive(t, "the client", g.arrived).Refuse(&protocol.Message{Type: 5, Flags: protocol.FlagReply, ID: 1, Body: make([]byte, size)}, longRefusal)
			p.wantRefused(r, 3*len(logon))
		})
	}
}

// Amendment: so it does where the Logon comes again while the client is refused.
func TestALogonAgainDoesNotBringALongerRefusal(t *testing.T) {
	waits, release := make(chan struct{}), make(chan struct{})
	g, r := serveUDP(t, engine.Config{Loops: 1, Timeouts: engine.Timeouts{Close: 50 * time.Millisecond}}, func(_ *engine.Engine, g *gate) {
		g.first = func(k engine.Control, _ *protocol.Message, _ *binding) { // on the loop
			if k.Conn().RemoteAddr().Addr().String() == "127.0.0.2" {
				close(waits)
				<-release
				k.Refuse(nil, protocol.InternalError)
			}
		}
	})
	other, p := peerUDP(t, r.addr, "127.0.0.2"), peerUDP(t, r.addr, "127.0.0.1")
	logon := p.logon(p.cookie())
	p.sendRaw(logon)
	k := receive(t, "the client", g.arrived)
	other.sendRaw(other.logon(other.cookie()))
	receive(t, "the other client, which holds up the loop", waits)
	p.sendRaw(logon)
	p.cookie() // the Logon is read, and waits for the loop
	k.Refuse(nil, longRefusal)
	close(release)
	p.wantRefused(r, 6*len(logon))
}

// longRefusal takes many times as much as a Logon.
var longRefusal = protocol.Errorf(protocol.Unauthorized, "%s", strings.Repeat("no ", 300))

// undecided has the gate leave each client waiting until the test decides.
func undecided(_ *engine.Engine, g *gate) {
	g.first = func(engine.Control, *protocol.Message, *binding) {}
}

// logon returns a Logon without a user.
func (p *udpPeer) logon(proof [udpwire.ProofSize]byte) []byte {
	p.t.Helper()
	return udpwire.AppendLogon(nil, p.nonce, proof, frame(p.t, protocol.Message{Type: protocol.TypeLogon, ID: 1}))
}

// wantRefused wants the client to be told Unauthorized, in all with no more than most bytes.
func (p *udpPeer) wantRefused(r *running, most int) {
	p.t.Helper()
	eventually(p.t, "the client is refused", func() bool { return r.Stats().Closed[protocol.Unauthorized] == 1 })
	wantNobodyIn(p.t, r.Engine)
	sent, told := p.refused()
	if sent > most {
		p.t.Errorf("%d bytes were sent, want %d at most", sent, most)
	}
	if told != protocol.Unauthorized {
		p.t.Errorf("the client was told %v", told)
	}
}

// refused counts the bytes that have come, and returns the last code in them.
func (p *udpPeer) refused() (sent int, told protocol.CloseCode) {
	p.t.Helper()
	p.sendRaw(udpwire.AppendHello(nil, p.nonce))
	for b := p.read(); b[0] != udpwire.Cookie; b = p.read() {
		sent += len(b)
		frames := b[udpwire.DataHeader:]
		if b[0] == udpwire.Welcome {
			frames = b[udpwire.WelcomeHeader:]
		}
		for len(frames) > 0 {
			var m protocol.Message
			n, _, err := protocol.Binary.Decode(frames, &m, protocol.DecodeOptions{})
			if n == 0 || err != nil {
				p.t.Fatalf("%d bytes are left: %v", len(frames), err)
			}
			frames = frames[n:]
			if why, err := protocol.ParseClose(m.Body); m.Type == protocol.TypeClose && err == nil {
				told = why.Code
			}
		}
	}
	return sent, told
}

// The answer that lets a client in must fit into the Welcome. Where it does not, there is no session.
func TestAnAnswerThatNoWelcomeTakes(t *testing.T) {
	const most = udpwire.MaxDatagram - udpwire.WelcomeHeader - 16
	for size, fits := range map[int]bool{most: true, most + 1: false} {
		_, r := serveUDP(t, engine.Config{}, func(e *engine.Engine, _ *gate) {
			e.Handle(6, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, size)) })
		})
		p := peerUDP(t, r.addr, "")
		p.sendRaw(udpwire.AppendLogon(nil, p.nonce, p.cookie(), frame(t, protocol.Message{Type: 6, ID: 1, UserID: "ann"})))
		if !fits {
			eventually(t, "the client has come", func() bool { return r.Stats().Accepted == 1 })
			wantNobodyIn(t, r.Engine)
			p.cookie() // is the next datagram
			continue
		}
		if m := only(t, p.welcomed(p.want(udpwire.Welcome))); len(m.Body) != size {
			t.Errorf("the answer has %d bytes, want %d", len(m.Body), size)
		}
		p.bye()
	}
}

// Amendment: of what comes in clear, servers answer the kinds that clients send. What servers send is never answered, so that two of them cannot
// be set on each other.
func TestWhatServersSendIsNotAnswered(t *testing.T) {
	_, r := serveUDP(t, engine.Config{})
	session, p := peerUDP(t, r.addr, ""), peerUDP(t, r.addr, "")
	session.logOn(protocol.Message{Type: 1, ID: 1})
	f := frame(t, protocol.Message{Type: 1, ID: 1, UserID: "ann"})
	for name, b := range map[string][]byte{
		"a Cookie":          udpwire.AppendCookie(nil, p.nonce, p.cookie()),
		"a Welcome":         udpwire.AppendWelcome(nil, p.nonce, session.id, session.key, f),
		"a Challenge":       udpwire.AppendChallenge(nil, session.id, 7),
		"a Gone":            udpwire.AppendGone(nil, session.id, 2002),
		"a Response":        udpwire.AppendResponse(nil, session.id, [udpwire.MACSize]byte{}),
		"a Sealed":          append([]byte{udpwire.Sealed}, make([]byte, 60)...),
		"kind 0":            make([]byte, 100),
		"kind 10":           append([]byte{10}, make([]byte, 100)...),
		"a Hello too short": udpwire.AppendHello(nil, p.nonce)[:udpwire.HelloSize-1],
	} {
		for range 3 {
			p.sendRaw(b)
			session.sendRaw(b)
		}
		p.sendRaw(udpwire.AppendHello(nil, p.nonce+1))
		if answer := p.read(); answer[0] != udpwire.Cookie || udpwire.ID(answer) != p.nonce+1 {
			t.Errorf("%s is answered with kind %d", name, answer[0])
		}
		session.ask(2, name)
	}
	session.bye()
}
