package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// TestUDPModel runs random programs of clients over UDP against a server, datagram by datagram, and holds what the server answers,
// delivers, counts and lists as online against a model (rules 4 and 15, and Over UDP). A program loses datagrams by not sending them.
// Nothing in it waits for a time to pass.
//
// A failure names its seed, which -rapid.seed takes. -rapid.checks says how many programs to run in each mode, -rapid.steps their length.
func TestUDPModel(t *testing.T) {
	setRapid(t, 120/lighter)
	for name, loops := range map[string]int{"one loop": 1, "four loops": 4} {
		t.Run(name, func(t *testing.T) {
			s := newUDPServer(t, loops)
			rapid.Check(t, func(rt *rapid.T) {
				if s.unclean {
					s = newUDPServer(t, loops)
				}
				m := newUDPModel(rt, s)
				defer m.end()
				m.logOn(rt)
				m.logOn(rt)
				rt.Repeat(map[string]func(*rapid.T){
					"":                       m.check,
					"a client logs on":       m.logOn,
					"a client says Hello":    m.hello,
					"a first Logon":          m.of(m.firstLogon, modelNew),
					"a Logon again":          m.of(m.logOnAgain, modelOpen, modelClosing, modelOver, modelRefused),
					"a forged Logon":         m.of(m.forgeLogon, modelNew),
					"Data":                   m.of(m.oneData, modelOpen, modelClosing),
					"a batch":                m.of(m.batch, modelOpen, modelClosing),
					"Data from elsewhere":    m.of(m.dataFromElsewhere, modelOpen, modelClosing),
					"a client moves":         m.of(m.move, modelOpen, modelClosing),
					"an old Challenge":       m.of(m.answerChallenge, modelOpen, modelClosing, modelOver),
					"a wrong Response":       m.of(m.wrongResponse, modelOpen, modelClosing),
					"an unknown session":     m.unknownSession,
					"garbage":                m.of(m.garbage, modelOpen),
					"the server sends":       m.of(m.serverSends, modelOpen),
					"the server closes":      m.of(m.serverCloses, modelOpen),
					"a client closes":        m.of(m.clientCloses, modelOpen, modelClosing),
					"a part of a frame":      m.of(m.partOfAFrame, modelOpen),
					"Data of an old session": m.of(m.dataOfTheDead, modelOver),
				})
				m.finish()
			})
			s.end()
		})
	}
}

// of returns an action of a client that is in one of the states; it does nothing where there is none.
func (m *udpModel) of(act func(*rapid.T, *modelClient), states ...modelState) func(*rapid.T) {
	return func(rt *rapid.T) {
		var all []int
		for i, c := range m.clients {
			if slices.Contains(states, c.state) {
				all = append(all, i)
			}
		}
		if len(all) > 0 {
			act(rt, m.clients[rapid.SampledFrom(all).Draw(rt, "client")])
		}
	}
}

func (m *udpModel) spot(rt *rapid.T) int { return rapid.IntRange(0, len(m.spots)-1).Draw(rt, "spot") }

// otherSpot draws a spot that is not this one.
func (m *udpModel) otherSpot(rt *rapid.T, than int) int {
	return (than + rapid.IntRange(1, len(m.spots)-1).Draw(rt, "spots further")) % len(m.spots)
}

func (m *udpModel) hello(rt *rapid.T) { m.askCookie(m.newClient(m.spot(rt))) }

func (m *udpModel) askCookie(c *modelClient) {
	m.send(c.first, udpwire.AppendHello(nil, c.nonce))
	m.wants(c.first, "Cookie of %d bytes for %x", udpwire.CookieSize, c.nonce)
	m.settle(c.first, 0)
}

func (m *udpModel) logOn(rt *rapid.T) {
	c := m.newClient(m.spot(rt))
	m.askCookie(c)
	m.begin(rt, c)
}

// firstLogon is the Logon of a client that has said Hello before. It says so again, for its cookie may be old by now.
func (m *udpModel) firstLogon(rt *rapid.T, c *modelClient) {
	m.askCookie(c)
	m.begin(rt, c)
}

func (m *udpModel) begin(rt *rapid.T, c *modelClient) {
	first := protocol.Message{Type: 1, ID: 1, UserID: c.user, Body: []byte("first")}
	c.logon = udpwire.AppendLogon(nil, c.nonce, c.proof, frame(m.t, first))
	c.base = rapid.SampledFrom([]uint32{0, 1<<32 - 3, 1<<31 - 2}).Draw(rt, "base")
	m.send(c.first, c.logon)
	m.wants(c.first, "Welcome for %x", c.nonce)
	m.awaitWelcome(c.first)
	c.welcome = m.last[c.first]
	c.id, c.key = udpwire.Session(c.welcome)
	frames := describeFrames(c.id, c.welcome[udpwire.WelcomeHeader:])
	ip := m.spots[c.first].ip
	m.accepted++
	want := fmt.Sprintf("%x: message 1 of type 1: first", c.id)
	if m.places[ip] == modelPlaces {
		c.state = modelRefused
		want = describeClose(0, protocol.TooManyConnections)
	} else {
		c.state = modelOpen
		m.places[ip]++
		c.deliveries = append(c.deliveries, "first")
	}
	if len(frames) != 1 || frames[0] != want || (c.id == 0) != (c.state == modelRefused) {
		m.Fatalf("session %x, with %q in the Welcome, want %q", c.id, frames, want)
	}
	if c.state == modelOpen {
		c.conn = receive(m.t, "the binding", m.g.arrived).conn
	}
	m.settle(c.first, 0)
}

// logOnAgain repeats a Logon: byte for byte, and otherwise.
func (m *udpModel) logOnAgain(rt *rapid.T, c *modelClient) {
	b := bytes.Clone(c.logon)
	switch rapid.SampledFrom([]string{"same", "altered", "new cookie", "from elsewhere"}).Draw(rt, "how") {
	case "same":
		m.send(c.first, b)
	case "altered":
		b[len(b)-1] ^= 1
		m.send(c.first, b)
	case "new cookie":
		m.askCookie(c)
		copy(b, udpwire.AppendLogon(nil, c.nonce, c.proof, nil))
		m.send(c.first, b)
	case "from elsewhere":
		from := m.otherSpot(rt, c.first)
		m.send(from, b)
		m.settle(from, 0)
		return
	}
	if bytes.Equal(b, c.logon) {
		m.wants(c.first, "Welcome for %x", c.nonce)
	}
	m.settle(c.first, 0)
	if again := m.last[c.first]; bytes.Equal(b, c.logon) && !bytes.Equal(again, c.welcome) {
		m.Fatalf("a repeat is answered with %x, and the first with %x", again, c.welcome)
	}
}

// forgeLogon sends what must not make a session.
func (m *udpModel) forgeLogon(rt *rapid.T, c *modelClient) {
	from, nonce, proof := c.first, c.nonce, c.proof
	f := frame(m.t, protocol.Message{Type: 1, ID: 1, UserID: "forger"})
	switch rapid.SampledFrom([]string{"spot", "nonce", "mac", "older", "younger", "none", "part", "more"}).Draw(rt, "forged") {
	case "spot":
		from = m.otherSpot(rt, from)
	case "nonce":
		nonce++
	case "mac":
		proof[rapid.IntRange(4, len(proof)-1).Draw(rt, "byte")] ^= 1
	case "older":
		proof[3]--
	case "younger":
		proof[3]++
	case "none":
		f = nil
	case "part":
		f = f[:len(f)-1]
	case "more":
		f = append(f, f[:len(f)-1]...)
	}
	m.send(from, udpwire.AppendLogon(nil, nonce, proof, f))
	m.settle(from, 0)
}

// position draws which of its datagrams a client sends.
func (c *modelNumbers) position(rt *rapid.T) int64 {
	if !c.began {
		return rapid.Int64Range(-70, 70).Draw(rt, "first position")
	}
	switch rapid.SampledFrom([]string{"next", "skipping", "late", "edge", "far"}).Draw(rt, "which") {
	case "skipping":
		return c.last + rapid.Int64Range(2, 80).Draw(rt, "ahead")
	case "late":
		return c.last - rapid.Int64Range(0, 70).Draw(rt, "behind")
	case "edge":
		return c.last - rapid.SampledFrom([]int64{62, 63, 64, 65, 127, 128}).Draw(rt, "behind")
	case "far":
		return c.last + rapid.SampledFrom([]int64{-1 << 30, 63, 64, 65, 1 << 20}).Draw(rt, "ahead")
	}
	return c.last + 1
}

// sendData sends a datagram of messages from where the client is.
func (m *udpModel) sendData(rt *rapid.T, c *modelClient, at int64) {
	b := c.data(at)
	isNew, lost := c.take(at)
	m.lost += lost
	n := rapid.IntRange(0, 3).Draw(rt, "messages")
	for range n {
		m.messages++
		msg := protocol.Message{Type: 1, ID: uint32(m.messages), Body: []byte(fmt.Sprint(at, ".", m.messages))}
		if rapid.IntRange(0, 3).Draw(rt, "kind") == 0 {
			msg.Type = modelNote
		}
		b = append(b, frame(m.t, msg)...)
		if isNew && c.state == modelOpen {
			c.deliveries = append(c.deliveries, string(msg.Body))
			if msg.Type != modelNote {
				m.wants(c.home, "%x: message %d of type 1: %s", c.id, msg.ID, msg.Body)
			}
		}
	}
	if isNew && c.state == modelClosing { // the notice may have been lost
		m.wants(c.home, "Gone of %d bytes for %x with %d", udpwire.GoneSize, c.id, c.code)
	}
	m.send(c.home, b)
}

func (m *udpModel) oneData(rt *rapid.T, c *modelClient) {
	m.sendData(rt, c, c.position(rt))
	m.settle(c.home, c.loop())
}

// batch sends many datagrams at once, in any order, and some of them twice.
func (m *udpModel) batch(rt *rapid.T, c *modelClient) {
	var all []int64
	for i := range rapid.Int64Range(2, 8).Draw(rt, "datagrams") {
		all = append(all, c.last+1+i)
	}
	all = append(all, all[:rapid.IntRange(0, len(all)).Draw(rt, "twice")]...)
	for _, at := range rapid.Permutation(all).Draw(rt, "order") {
		m.sendData(rt, c, at)
	}
	m.settle(c.home, c.loop())
}

// dataFromElsewhere is not delivered, and has no number: the address is challenged.
func (m *udpModel) dataFromElsewhere(rt *rapid.T, c *modelClient) {
	from := m.otherSpot(rt, c.home)
	m.challenge(rt, c, from)
	m.settle(from, c.loop())
}

func (m *udpModel) challenge(rt *rapid.T, c *modelClient, from int) {
	b := c.data(c.position(rt))
	if rapid.IntRange(0, 4).Draw(rt, "size") == 0 { // the answer would be longer
		m.send(from, b)
		return
	}
	m.send(from, append(b, frame(m.t, protocol.Message{Type: 1, ID: 1, Body: []byte("from elsewhere")})...))
	m.wants(from, "Challenge of %d bytes for %x", udpwire.ChallengeSize, c.id)
}

// move has a client go on at another spot.
func (m *udpModel) move(rt *rapid.T, c *modelClient) {
	from := m.otherSpot(rt, c.home)
	m.challenge(rt, c, from)
	m.settle(from, c.loop())
	m.respond(rt, c, from)
}

// answerChallenge answers a challenge that may be from long ago, or for the address where the client is by now.
func (m *udpModel) answerChallenge(rt *rapid.T, c *modelClient) {
	m.respond(rt, c, m.spot(rt))
}

func (m *udpModel) respond(rt *rapid.T, c *modelClient, from int) {
	challenge, known := c.challenges[from]
	if !known {
		return
	}
	m.send(from, udpwire.AppendResponse(nil, c.id, udpwire.Answer(c.key, c.id, challenge)))
	if c.state != modelOver {
		here, there := m.spots[c.home].ip, m.spots[from].ip
		if here == there || m.places[there] < modelPlaces {
			m.places[here]--
			m.places[there]++
			c.home = from
		}
		if c.home == from && rapid.Bool().Draw(rt, "goes on at once") {
			m.sendData(rt, c, c.last+1)
		}
	}
	m.settle(from, c.loop())
}

// wrongResponse must move nothing.
func (m *udpModel) wrongResponse(rt *rapid.T, c *modelClient) {
	from := m.otherSpot(rt, c.home)
	challenge := c.challenges[from]
	key := c.key
	switch rapid.SampledFrom([]string{"key", "challenge", "other session", "other spot"}).Draw(rt, "wrong") {
	case "key":
		key[3] ^= 1
	case "challenge":
		challenge ^= 1
	case "other session": // an answer that is right for another one
		m.of(func(_ *rapid.T, other *modelClient) {
			if other != c {
				answer := udpwire.Answer(other.key, other.id, other.challenges[from])
				m.send(from, udpwire.AppendResponse(nil, c.id, answer))
				m.settle(from, c.loop())
			}
		}, modelOpen, modelClosing)(rt)
		return
	case "other spot":
		challenge = c.challenges[m.otherSpot(rt, from)]
		if challenge == 0 {
			return
		}
	}
	m.send(from, udpwire.AppendResponse(nil, c.id, udpwire.Answer(key, c.id, challenge)))
	m.settle(from, c.loop())
}

// unknownSession asks for sessions that were never there, on loops that are there and that are not.
func (m *udpModel) unknownSession(rt *rapid.T) {
	from := m.spot(rt)
	loop := rapid.IntRange(0, len(m.probes)).Draw(rt, "loop")
	id := uint64(loop)<<56 | rand.Uint64()>>8
	if rapid.Bool().Draw(rt, "is a Response") {
		m.send(from, udpwire.AppendResponse(nil, id, [udpwire.MACSize]byte{}))
	} else {
		m.send(from, append(udpwire.AppendData(nil, id, 0), frame(m.t, protocol.Message{Type: 1, ID: 1})...))
		if loop < len(m.probes) {
			m.wants(from, "Gone of %d bytes for %x with %d", udpwire.GoneSize, id, protocol.ServerStopping)
		}
	}
	m.settle(from, loop%len(m.probes))
}

// garbage is not answered. It has a kind of the server's, an unknown kind, or a wrong size.
func (m *udpModel) garbage(rt *rapid.T, c *modelClient) {
	b := c.data(c.last + 1)
	b = append(b, frame(m.t, protocol.Message{Type: 1, ID: 1, Body: make([]byte, 30)})...)
	switch kind := rapid.SampledFrom([]byte{0, 2, 4, 6, 8, 100, 255, 1, 5, 7}).Draw(rt, "kind"); kind {
	case udpwire.Hello:
		b[0], b = kind, b[:udpwire.HelloSize-rapid.IntRange(1, 50).Draw(rt, "missing")]
	case udpwire.Data:
		if b = b[:rapid.IntRange(0, udpwire.DataHeader-1).Draw(rt, "bytes")]; rapid.Bool().Draw(rt, "long") {
			b = append(c.data(c.last+1), make([]byte, udpwire.MaxDatagram-udpwire.DataHeader+1)...)
		}
	case udpwire.Response:
		b[0], b = kind, b[:udpwire.ResponseSize-1]
	default:
		b[0] = kind
	}
	m.send(c.home, b)
	m.settle(c.home, c.loop())
}

func (m *udpModel) serverSends(rt *rapid.T, c *modelClient) {
	if err := c.conn.Send(9, []byte("news")); err != nil {
		m.Fatal(err)
	}
	m.wants(c.home, "%x: message 0 of type 9: news", c.id)
	m.await(c.home, c.loop())
	m.settle(c.home, c.loop())
}

func (m *udpModel) serverCloses(rt *rapid.T, c *modelClient) {
	c.conn.Close(protocol.KickedOut)
	m.isToldToGo(c, protocol.KickedOut)
}

func (m *udpModel) isToldToGo(c *modelClient, code protocol.CloseCode) {
	c.state, c.code = modelClosing, code
	m.wants(c.home, "%s", describeClose(c.id, code))
	m.await(c.home, c.loop())
	m.settle(c.home, c.loop())
}

// partOfAFrame ends a session with InvalidMessage; what came with it is not delivered.
func (m *udpModel) partOfAFrame(rt *rapid.T, c *modelClient) {
	f := frame(m.t, protocol.Message{Type: 1, ID: 1, Body: []byte("part")})
	b := c.data(c.last + 1)
	if rapid.Bool().Draw(rt, "behind a whole one") {
		b = append(b, f...)
	}
	_, lost := c.take(c.last + 1)
	m.lost += lost
	m.send(c.home, append(b, f[:rapid.IntRange(1, len(f)-1).Draw(rt, "bytes")]...))
	m.isToldToGo(c, protocol.InvalidMessage)
}

func (m *udpModel) clientCloses(rt *rapid.T, c *modelClient) {
	if c.state == modelOpen {
		c.code = protocol.ClientClosed
	}
	m.sayBye(c)
}

// sayBye ends a session: the server confirms with the code that ended it first.
func (m *udpModel) sayBye(c *modelClient) {
	_, lost := c.take(c.last + 1)
	m.lost += lost
	m.send(c.home, append(c.data(c.last), frame(m.t, closeMessage(protocol.ClientClosed))...))
	m.wants(c.home, "Gone of %d bytes for %x with %d", udpwire.GoneSize, c.id, c.code)
	m.await(c.home, c.loop())
	m.settle(c.home, c.loop())
	c.state = modelOver
	m.places[m.spots[c.home].ip]--
}

// dataOfTheDead is answered with the code that has ended the session, wherever it comes from.
func (m *udpModel) dataOfTheDead(rt *rapid.T, c *modelClient) {
	from := m.spot(rt)
	m.send(from, c.data(c.position(rt)))
	m.wants(from, "Gone of %d bytes for %x with %d", udpwire.GoneSize, c.id, c.code)
	m.settle(from, c.loop())
}
