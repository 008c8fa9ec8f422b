package engine_test

import (
	"context"
	"strings"
	"testing"

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
