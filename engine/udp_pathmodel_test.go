package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// TestDatagramsBesideTLSModel is TestUDPModel for the sealed datagrams of clients that are logged on over TLS ("Datagrams beside TLS"): random programs,
// datagram by datagram, and a model of what is delivered, what is answered and where to, what comes over TLS, and what is counted. Clients
// move; others forge, repeat and throw back.
func TestDatagramsBesideTLSModel(t *testing.T) {
	setRapid(t, 120/lighter)
	for name, loops := range map[string]int{"one loop": 1, "four loops": 4} {
		t.Run(name, func(t *testing.T) {
			s := newPathServer(t, loops)
			rapid.Check(t, func(rt *rapid.T) {
				if s.unclean {
					s = newPathServer(t, loops)
				}
				m := newPathModel(rt, s)
				defer m.end()
				m.logOn(rt)
				m.logOn(rt)
				m.moveTo(rt, m.clients[0], 0)
				all := []modelState{modelOpen, modelClosing, modelOver}
				rt.Repeat(map[string]func(*rapid.T){
					"":                          m.check,
					"a client logs on":          m.logOn,
					"a datagram":                m.of(m.one, all...),
					"a batch":                   m.of(m.batch, all...),
					"a datagram from elsewhere": m.of(m.elsewhere, all...),
					"a client moves":            m.of(m.move, modelOpen, modelClosing),
					"an old Challenge":          m.of(m.answerChallenge, all...),
					"a wrong Response":          m.of(m.wrongResponse, modelOpen, modelClosing),
					"a forgery":                 m.of(m.forge, all...),
					"a repeat":                  m.of(m.repeat, all...),
					"a message over TLS":        m.of(m.overTLS, modelOpen),
					"the server sends":          m.of(m.serverSends, modelOpen),
					"the server tells all":      m.serverTellsAll,
					"the server closes":         m.of(m.serverCloses, modelOpen),
					"a client closes":           m.of(m.clientCloses, modelOpen),
					"a connection ends":         m.of(m.hangUp, modelOpen, modelClosing),
					"a Close by datagram":       m.of(m.closeByDatagram, modelOpen, modelClosing),
					"a part of a frame":         m.of(m.partOfAFrame, modelOpen, modelClosing),
				})
				m.finish()
			})
			s.end()
		})
	}
}

// of returns an action of a client that is in one of the states; it does nothing where there is none.
func (m *pathModel) of(act func(*rapid.T, *pathClient), states ...modelState) func(*rapid.T) {
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

func (m *pathModel) logOn(rt *rapid.T) {
	if len(m.clients) < 6 { // a handshake takes longer than all else
		m.newClient(rapid.SampledFrom([]uint64{0, 1<<32 - 3, 1<<63 - 2}).Draw(rt, "base"))
	}
}

func drawSpot(rt *rapid.T) int { return rapid.IntRange(0, modelSpots-1).Draw(rt, "spot") }

// elsewhereThan draws a spot that is not the client's.
func elsewhereThan(rt *rapid.T, c *pathClient) int {
	if c.home == nowhere {
		return drawSpot(rt)
	}
	return (c.home + rapid.IntRange(1, modelSpots-1).Draw(rt, "spots further")) % modelSpots
}

// here is where the client is, or, while it is nowhere, any spot.
func here(rt *rapid.T, c *pathClient) int {
	if c.home == nowhere {
		return drawSpot(rt)
	}
	return c.home
}

// pathDatagram is what a client seals.
type pathDatagram struct {
	kind    byte
	content []byte
	has     []protocol.Message
	isPart  bool // its frames are not whole
	isClose bool
}

// draw draws a datagram, but no Response.
func (m *pathModel) draw(rt *rapid.T) (d pathDatagram) {
	d.kind = rapid.SampledFrom([]byte{udpwire.Data, udpwire.Data, udpwire.Data, udpwire.Hello, 0, udpwire.Welcome, udpwire.Challenge, udpwire.Gone, 255}).Draw(rt, "kind")
	if d.kind != udpwire.Data {
		d.content = make([]byte, rapid.SampledFrom([]int{0, 7, 8, 9, 40}).Draw(rt, "bytes"))
		return d
	}
	for range rapid.IntRange(0, 3).Draw(rt, "messages") {
		msg := m.message(rapid.SampledFrom([]uint16{1, modelSilent, modelLossy}).Draw(rt, "type"))
		d.has = append(d.has, msg)
		d.content = append(d.content, frame(m.t, msg)...)
	}
	return d
}

func (m *pathModel) message(typ uint16) protocol.Message {
	m.messages++
	return protocol.Message{Type: typ, ID: uint32(m.messages), Body: []byte(fmt.Sprint("m", m.messages))}
}

// sealed sends a datagram that the client has sealed, and says what must come of it.
func (m *pathModel) sealed(c *pathClient, from int, at int64, d pathDatagram) {
	b := c.seal(at, d.kind, d.content)
	c.sent = append(c.sent, b)
	m.send(from, b)
	if c.state == modelOver {
		return
	}
	isNew, lost := c.take(at)
	m.lost += lost
	switch {
	case !isNew:
	case d.kind == udpwire.Response:
		if len(d.content) == 8 && bytes.Equal(d.content, c.challenges[from]) {
			c.home, c.heard = from, time.Now()
			m.wants(from, "%x: Welcome of %d bytes", c.id, udpwire.SealedMore)
		}
	case from != c.home:
		if size := udpwire.SealedMore + 8; len(b) >= size {
			m.wants(from, "%x: Challenge of %d bytes", c.id, size)
		}
	default:
		c.heard = time.Now()
		if d.kind == udpwire.Hello {
			m.wants(from, "%x: Welcome of %d bytes", c.id, udpwire.SealedMore)
		}
		if c.state == modelOpen && d.kind == udpwire.Data {
			m.dataCame(c, d)
		}
	}
}

// dataCame says what comes of Data from where the client is.
func (m *pathModel) dataCame(c *pathClient, d pathDatagram) {
	switch {
	case d.isPart:
		c.state = modelClosing
		c.wantTLS = append(c.wantTLS, describeClose(c.id, protocol.InvalidMessage))
		return
	case d.isClose:
		c.state, c.wantEOF = modelClosing, true
		return
	}
	for _, msg := range d.has {
		m.delivers(c, msg)
	}
}

// delivers says what comes of a message of the client.
func (m *pathModel) delivers(c *pathClient, msg protocol.Message) {
	c.deliveries = append(c.deliveries, string(msg.Body))
	switch text := describeMessage(c.id, msg); {
	case msg.Type == modelSilent:
	case msg.Type == modelLossy && c.home != nowhere:
		m.wants(c.home, "%s", text)
	default:
		c.wantTLS = append(c.wantTLS, text)
	}
}

func (m *pathModel) one(rt *rapid.T, c *pathClient) {
	from := here(rt, c)
	m.sealed(c, from, c.position(rt), m.draw(rt))
	m.settle(c, from)
}

// batch sends many datagrams at once, in any order, and some of them twice.
func (m *pathModel) batch(rt *rapid.T, c *pathClient) {
	from := here(rt, c)
	var all []int64
	for i := range rapid.Int64Range(2, 8).Draw(rt, "datagrams") {
		all = append(all, c.last+1+i)
	}
	all = append(all, all[:rapid.IntRange(0, len(all)).Draw(rt, "twice")]...)
	for _, at := range rapid.Permutation(all).Draw(rt, "order") {
		m.sealed(c, from, at, m.draw(rt))
	}
	m.settle(c, from)
}

// elsewhere sends what is not delivered: the address is challenged.
func (m *pathModel) elsewhere(rt *rapid.T, c *pathClient) {
	from := elsewhereThan(rt, c)
	m.sealed(c, from, c.position(rt), m.draw(rt))
	m.settle(c, from)
}

// move has a client go on at another spot.
func (m *pathModel) move(rt *rapid.T, c *pathClient) { m.moveTo(rt, c, elsewhereThan(rt, c)) }

func (m *pathModel) moveTo(rt *rapid.T, c *pathClient, spot int) {
	m.sealed(c, spot, c.last+1, pathDatagram{kind: udpwire.Hello, content: make([]byte, udpwire.SealedHelloSize)})
	m.settle(c, spot)
	m.respond(rt, c, spot, c.last+1)
}

// answerChallenge answers a challenge that may be from long ago, or for the address where the client is by now.
func (m *pathModel) answerChallenge(rt *rapid.T, c *pathClient) {
	m.respond(rt, c, drawSpot(rt), c.position(rt))
}

func (m *pathModel) respond(rt *rapid.T, c *pathClient, from int, at int64) {
	challenge, known := c.challenges[from]
	if !known {
		return
	}
	m.sealed(c, from, at, pathDatagram{kind: udpwire.Response, content: challenge})
	if c.home == from && rapid.Bool().Draw(rt, "goes on at once") {
		m.sealed(c, from, c.last+1, m.draw(rt))
	}
	m.settle(c, from)
}

// wrongResponse must move nothing, though the client has sealed it.
func (m *pathModel) wrongResponse(rt *rapid.T, c *pathClient) {
	from := elsewhereThan(rt, c)
	challenge := append(bytes.Clone(c.challenges[from]), make([]byte, 8)...)[:8]
	switch rapid.SampledFrom([]string{"bit", "short", "long", "other spot", "other session"}).Draw(rt, "wrong") {
	case "bit":
		challenge[rapid.IntRange(0, 7).Draw(rt, "byte")] ^= 1
	case "short":
		challenge = challenge[:7]
	case "long":
		challenge = append(challenge, 0)
	case "other spot":
		challenge = c.challenges[(from+1)%modelSpots]
	case "other session":
		challenge = nil
		for _, other := range m.clients {
			if other != c && other.challenges[from] != nil {
				challenge = other.challenges[from]
			}
		}
	}
	m.sealed(c, from, c.last+1, pathDatagram{kind: udpwire.Response, content: challenge})
	m.settle(c, from)
}

// forge sends what the client has not sealed, from anywhere: nothing comes of it.
func (m *pathModel) forge(rt *rapid.T, c *pathClient) {
	other := m.clients[0]
	if other == c {
		other = m.clients[1]
	}
	at := c.position(rt)
	counter := c.base + uint64(at)
	kind := rapid.SampledFrom([]byte{udpwire.Data, udpwire.Hello}).Draw(rt, "kind")
	content := frame(m.t, m.message(1))
	b := c.seal(at, kind, content)
	switch rapid.SampledFrom([]string{"bit", "counter", "short", "long", "other key", "server's key", "other ID", "thrown back", "clear"}).Draw(rt, "forged") {
	case "bit":
		b[rapid.IntRange(0, len(b)-1).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
	case "counter":
		binary.BigEndian.PutUint64(b[9:], counter+rapid.SampledFrom([]uint64{1, 63, 64, 1 << 40, 1<<63 - 100}).Draw(rt, "ahead"))
	case "short":
		b = b[:rapid.IntRange(1, len(b)-1).Draw(rt, "bytes")]
	case "long":
		b = append(b, 0)
	case "other key":
		b = other.seals.AppendSealed(nil, c.id, counter, kind, content)
	case "server's key":
		b = c.opens.AppendSealed(nil, c.id, counter, kind, content)
	case "other ID":
		b = c.seals.AppendSealed(nil, other.id, counter, kind, content)
	case "thrown back":
		if len(c.came) == 0 {
			return
		}
		b = rapid.SampledFrom(c.came).Draw(rt, "datagram")
	case "clear":
		b = rapid.SampledFrom([][]byte{
			udpwire.AppendHello(nil, c.id),
			udpwire.AppendLogon(nil, c.id, [udpwire.ProofSize]byte{}, content),
			append(udpwire.AppendData(nil, c.id, uint32(counter)), content...),
			udpwire.AppendResponse(nil, c.id, [udpwire.MACSize]byte{}),
			udpwire.AppendGone(nil, c.id, uint16(protocol.KickedOut)),
		}).Draw(rt, "datagram")
	}
	from := drawSpot(rt)
	m.send(from, b)
	m.settle(c, from)
	m.settle(other, from)
}

// repeat sends a recorded datagram, which may be from long ago, from anywhere.
func (m *pathModel) repeat(rt *rapid.T, c *pathClient) {
	if len(c.sent) == 0 {
		return
	}
	from := drawSpot(rt)
	m.send(from, rapid.SampledFrom(c.sent).Draw(rt, "datagram"))
	m.settle(c, from)
}

// overTLS sends a message over TLS. What is sent back as unreliable goes by datagram where the way is open.
func (m *pathModel) overTLS(rt *rapid.T, c *pathClient) {
	m.keepOpen(c)
	msg := m.message(rapid.SampledFrom([]uint16{1, modelSilent, modelLossy}).Draw(rt, "type"))
	last := m.message(1) // when this is answered the other one is dealt with
	c.tls.send(msg, last)
	m.delivers(c, msg)
	m.delivers(c, last)
	m.settle(c, 0)
}

func (m *pathModel) serverSends(rt *rapid.T, c *pathClient) {
	m.keepOpen(c)
	for range rapid.IntRange(1, 3).Draw(rt, "messages") {
		msg := m.message(9)
		if rapid.IntRange(0, 3).Draw(rt, "size") == 0 {
			n := udpwire.MaxSealedFrame - len(frame(m.t, msg)) + rapid.IntRange(-1, 1).Draw(rt, "more than fits")
			msg.Body = append(msg.Body, strings.Repeat("x", n)...)
		}
		opts := rapid.SampledFrom([]*engine.SendOptions{unreliable, unreliable, nil}).Draw(rt, "options")
		if err := c.conn.SendMessage(&msg, opts); err != nil {
			m.Fatal(err)
		}
		m.sends(c, msg, opts)
	}
	m.settle(c, 0)
}

// sends says where a message of the server must come.
func (m *pathModel) sends(c *pathClient, msg protocol.Message, opts *engine.SendOptions) {
	if opts == unreliable && c.home != nowhere && len(frame(m.t, msg)) <= udpwire.MaxSealedFrame {
		m.wants(c.home, "%s", describeMessage(c.id, msg))
	} else {
		c.wantTLS = append(c.wantTLS, describeMessage(c.id, msg))
	}
}

func (m *pathModel) serverTellsAll(*rapid.T) {
	for c := range m.open() {
		m.keepOpen(c)
	}
	msg := m.message(9)
	var conns []*engine.Conn
	for c := range m.open() {
		conns = append(conns, c.conn)
		m.sends(c, msg, unreliable)
	}
	if n, err := m.r.Broadcast(slices.Values(conns), &msg, unreliable); n != len(conns) || err != nil {
		m.Fatalf("a broadcast to %d went to %d: %v", len(conns), n, err)
	}
	for c := range m.open() {
		m.await(c)
	}
	for c := range m.open() {
		m.settle(c, 0)
	}
}

func (m *pathModel) open() iter.Seq[*pathClient] {
	return func(yield func(*pathClient) bool) {
		for _, c := range m.clients {
			if c.state == modelOpen && !yield(c) {
				return
			}
		}
	}
}

func (m *pathModel) serverCloses(_ *rapid.T, c *pathClient) {
	c.conn.Close(protocol.KickedOut)
	c.state = modelClosing
	c.wantTLS = append(c.wantTLS, describeClose(c.id, protocol.KickedOut))
	m.settle(c, 0)
}

// clientCloses sends a Close over TLS. The server ends its direction, and waits for the client to end the other one.
func (m *pathModel) clientCloses(_ *rapid.T, c *pathClient) {
	c.tls.send(closeMessage(protocol.ClientClosed))
	c.state, c.wantEOF = modelClosing, true
	m.settle(c, 0)
}

// hangUp ends a connection, and with it the way by datagram: there is nothing but silence then.
func (m *pathModel) hangUp(_ *rapid.T, c *pathClient) {
	_ = c.tls.Close()
	c.state = modelOver
	if left := m.own() + m.count(); !testkit.ComesTrue(patience, func() bool { return m.r.Stats().Conns.Open == left }) {
		m.Fatalf("%d connections are open, want %d", m.r.Stats().Conns.Open, left)
	}
	m.settle(c, 0)
}

// closeByDatagram ends the session, as over TLS, if it comes from where the client is.
func (m *pathModel) closeByDatagram(rt *rapid.T, c *pathClient) {
	from := rapid.SampledFrom([]int{here(rt, c), elsewhereThan(rt, c)}).Draw(rt, "from")
	m.sealed(c, from, c.last+1, pathDatagram{kind: udpwire.Data, content: frame(m.t, closeMessage(protocol.ClientClosed)), isClose: true})
	m.settle(c, from)
}

// partOfAFrame ends a session with InvalidMessage; what came with it is not delivered.
func (m *pathModel) partOfAFrame(rt *rapid.T, c *pathClient) {
	d := m.draw(rt)
	f := frame(m.t, m.message(1))
	d.kind, d.content, d.isPart = udpwire.Data, append(d.content, f[:rapid.IntRange(1, len(f)-1).Draw(rt, "bytes")]...), true
	if len(d.has) == 0 {
		d.content = f[:len(f)-1]
	}
	from := rapid.SampledFrom([]int{here(rt, c), elsewhereThan(rt, c)}).Draw(rt, "from")
	m.sealed(c, from, c.last+1, d)
	m.settle(c, from)
}
