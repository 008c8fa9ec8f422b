package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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

// pathServer is the server of many programs of TestDatagramsBesideTLSModel.
type pathServer struct {
	*udpServer
	sec    *security
	given  chan keyed
	probes [][modelSpots]*sealedPeer // a session on each event loop for each spot, that never proves where it is; see pathModel.ask
}

// Types of messages, besides those that are answered.
const (
	modelSilent = 11 // nothing is sent back
	modelLossy  = 12 // sent back as unreliable
)

func newPathServer(t *testing.T, loops int) *pathServer {
	s := &pathServer{udpServer: &udpServer{t: t, delivered: make(map[string][]string)}, sec: newSecurity(t)}
	cfg := engine.Config{Loops: loops, Timeouts: engine.Timeouts{Close: time.Minute, Stop: time.Second}}
	s.g, s.r, s.given = serveSealed(t, cfg, s.sec, func(e *engine.Engine) {
		e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
			s.mu.Lock()
			s.delivered[c.UserID()] = append(s.delivered[c.UserID()], string(m.Body))
			s.mu.Unlock()
			switch m.Type {
			case modelSilent:
				return nil
			case modelLossy:
				return c.SendMessage(&protocol.Message{Type: m.Type, ID: m.ID, Body: m.Body}, unreliable)
			}
			return c.Reply(m, m.Body)
		})
	})
	s.probes = make([][modelSpots]*sealedPeer, loops)
	for found := 0; found < loops*modelSpots; {
		p := peerSealed(t, s.g, s.r, s.given, s.sec)
		mine := &s.probes[p.id>>56]
		if i := slices.Index(mine[:], nil); i >= 0 {
			mine[i] = p
			found++
			continue
		}
		_ = p.tls.Close()
	}
	eventually(t, "the other clients are gone", func() bool { return s.r.Stats().Conns.Open == s.own() })
	return s
}

// own returns how many connections are the server's own.
func (s *pathServer) own() int { return len(s.probes) * modelSpots }

// end ends the sessions of the server's own.
func (s *pathServer) end() {
	for _, all := range s.probes {
		for _, p := range all {
			_ = p.tls.Close()
		}
	}
	wantNobodyIn(s.t, s.r.Engine)
}

// pathClient is a client as the model sees it.
type pathClient struct {
	user         string
	tls          *peer
	wantTLS      []string // what must come over TLS, since the last settle
	wantEOF      bool     // behind that
	conn         *engine.Conn
	binding      *binding
	state        modelState
	id           uint64
	seals, opens *udpwire.Cipher
	home         int            // the spot where it has proved to be
	heard        time.Time      // when it last sent something from there
	challenges   map[int][]byte // by spot
	deliveries   []string

	base uint64 // the counter of the datagram at position 0
	modelNumbers
	sent   [][]byte        // all datagrams of its own
	came   [][]byte        // all of the server's
	theirs map[uint64]bool // the counters of these
}

// nowhere is the home of a client that has not proved where it is.
const nowhere = -1

// seal returns a sealed datagram.
func (c *pathClient) seal(at int64, kind byte, content []byte) []byte {
	return c.seals.AppendSealed(nil, c.id, c.base+uint64(at), kind, content)
}

// pathModel is a run of a program.
type pathModel struct {
	*rapid.T
	*pathServer
	spots    []*modelSpot
	clients  []*pathClient
	before   engine.Stats
	lost     uint64
	messages int
	finished bool
}

func newPathModel(rt *rapid.T, s *pathServer) *pathModel {
	return &pathModel{T: rt, pathServer: s, spots: openSpots(rt, s.r.Addrs()[1].String()), before: s.r.Stats()}
}

// newClient logs a client on over TLS.
func (m *pathModel) newClient(base uint64) {
	modelUsers++
	c := &pathClient{user: fmt.Sprint("user", modelUsers), tls: dialTLS(m.t, m.r.addr, m.sec.client), state: modelOpen, home: nowhere, base: base,
		challenges: make(map[int][]byte), modelNumbers: modelNumbers{seen: make(map[int64]bool)}, theirs: make(map[uint64]bool)}
	msg := m.message(1)
	msg.UserID = c.user
	c.tls.send(msg)
	k := receive(m.t, "the keys", m.given)
	c.binding = receive(m.t, "the binding", m.g.arrived)
	c.conn, c.id = c.binding.conn, k.id
	ofClient, ofServer := udpwire.Keys(k.secret)
	c.seals, c.opens = udpwire.NewCipher(ofClient), udpwire.NewCipher(ofServer)
	m.clients = append(m.clients, c)
	m.delivers(c, msg)
	m.settle(c, 0)
}

// finish closes all, and checks what is left.
func (m *pathModel) finish() {
	for _, c := range m.clients {
		if c.state != modelOver {
			m.hangUp(m.T, c)
		}
		for n := range uint64(len(c.theirs)) {
			if !c.theirs[n] {
				m.Fatalf("the server's datagram %d for %x is missing, of %d", n, c.id, len(c.theirs))
			}
		}
	}
	m.check(m.T)
	m.finished = true
}

// end closes the sockets. Where the program has failed it ends the sessions before, so that rapid can look for a shorter one.
func (m *pathModel) end() {
	for _, c := range m.clients {
		_ = c.tls.Close()
	}
	for _, s := range m.spots {
		_ = s.Close()
	}
	if !m.finished {
		m.unclean = !testkit.ComesTrue(time.Second, func() bool { return m.r.Stats().Conns.Open == m.own() })
	}
}

// count returns how many of the clients have a connection.
func (m *pathModel) count() (n int) {
	for _, c := range m.clients {
		if c.state != modelOver {
			n++
		}
	}
	return n
}

func (m *pathModel) send(spot int, b []byte) {
	if _, err := m.spots[spot].Write(b); err != nil {
		m.Fatal(err)
	}
}

// wants says what must come to a spot.
func (m *pathModel) wants(spot int, format string, args ...any) {
	m.spots[spot].want = append(m.spots[spot].want, fmt.Sprintf(format, args...))
}

// keepOpen has a client be heard that was silent for so long that its way may soon not count as open: on a slow machine.
func (m *pathModel) keepOpen(c *pathClient) {
	if c.home != nowhere && time.Since(c.heard) > 5*time.Second {
		m.sealed(c, c.home, c.last+1, pathDatagram{kind: udpwire.Hello})
		m.settle(c, c.home)
	}
}

// read reads the next datagram of a spot; false where none has come in time.
func (m *pathModel) read(spot int, within time.Duration) bool {
	s := m.spots[spot]
	_ = s.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, 2048)
	n, err := s.Read(b)
	if err != nil {
		return false
	}
	b = b[:n]
	if !udpwire.IsWhole(b) || b[0] != udpwire.Sealed {
		m.Fatalf("%x has come to %d", b, spot)
	}
	id := udpwire.ID(b)
	for _, all := range m.probes {
		if all[spot].id == id {
			s.asked = true
			return true
		}
	}
	i := slices.IndexFunc(m.clients, func(c *pathClient) bool { return c.id == id })
	if i < 0 {
		m.Fatalf("%x has come to %d, for no client", b, spot)
	}
	s.got = append(s.got, m.clients[i].describe(spot, b)...)
	return true
}

// describe says what a datagram of the server has: for each message a text.
func (c *pathClient) describe(spot int, b []byte) []string {
	counter, size := udpwire.Counter(b), len(b)
	if c.theirs[counter] {
		return []string{fmt.Sprintf("%x: the counter %d again", c.id, counter)}
	}
	c.theirs[counter] = true
	c.came = append(c.came, bytes.Clone(b))
	kind, content, ok := c.opens.Open(b)
	switch {
	case !ok:
		return []string{fmt.Sprintf("%x: %d bytes that are not sealed with its key", c.id, size)}
	case kind == udpwire.Data && size <= udpwire.MaxDatagram:
		return describeFrames(c.id, content)
	case kind == udpwire.Welcome:
		return []string{fmt.Sprintf("%x: Welcome of %d bytes", c.id, size)}
	case kind == udpwire.Challenge:
		c.challenges[spot] = content
		return []string{fmt.Sprintf("%x: Challenge of %d bytes", c.id, size)}
	}
	return []string{fmt.Sprintf("%x: kind %d with %x", c.id, kind, content)}
}

func describeMessage(id uint64, m protocol.Message) string {
	return fmt.Sprintf("%x: message %d of type %d: %s", id, m.ID, m.Type, m.Body)
}

// await waits until what the spots want from a client's loop has come: the loop sends messages in a turn of their own. It counts turns, by asking.
func (m *pathModel) await(c *pathClient) {
	for i, s := range m.spots {
		for turns := 0; len(s.got) < len(s.want) && turns < 100; turns++ {
			if !m.read(i, 10*time.Millisecond) {
				m.ask(c, i)
			}
		}
	}
}

// ask sends a datagram from each of the spots to a client's loop, for the spot's probe there. It is answered with a Challenge, behind what
// the loop has sent to that spot for datagrams before.
func (m *pathModel) ask(c *pathClient, spots ...int) {
	probes := &m.probes[c.id>>56]
	for _, i := range spots {
		m.spots[i].asked = false
		m.send(i, probes[i].seal(udpwire.Hello, make([]byte, udpwire.SealedHelloSize)))
	}
	for _, i := range spots {
		for !m.spots[i].asked {
			if !m.read(i, patience) {
				m.Fatalf("a Challenge has not come to %d, but %q", i, m.spots[i].got)
			}
		}
	}
}

// settle waits until the server has dealt with all that a client has sent over TLS and from a spot, and looks at what has come to it, and to all
// spots.
func (m *pathModel) settle(c *pathClient, from int) {
	m.ask(c, from)
	m.readTLS(c)
	m.await(c)
	m.ask(c, 0, 1, 2, 3, 4) // what came to another spot was sent before this is answered
	for i, s := range m.spots {
		inOrder(s.got)
		inOrder(s.want)
		if !slices.Equal(s.got, s.want) {
			m.Fatalf("to %d has come\n\t%s\nwant\n\t%s", i, strings.Join(s.got, "\n\t"), strings.Join(s.want, "\n\t"))
		}
		s.got, s.want = nil, nil
	}
}

// inOrder sorts what has come to a spot, because messages may overtake answers. A client's messages stay in their order.
func inOrder(all []string) {
	slices.SortStableFunc(all, func(a, b string) int {
		a, _, _ = strings.Cut(a, " message ")
		b, _, _ = strings.Cut(b, " message ")
		return strings.Compare(a, b)
	})
}

// readTLS reads what must come over TLS.
func (m *pathModel) readTLS(c *pathClient) {
	var got []string
	for len(got) < len(c.wantTLS) {
		msg, err := c.tls.next()
		if err != nil {
			m.Fatalf("over TLS have come %q and %v, want %q", got, err, c.wantTLS)
		}
		got = append(got, describeFrames(c.id, frame(m.t, msg))...)
	}
	if !slices.Equal(got, c.wantTLS) {
		m.Fatalf("over TLS have come %q, want %q", got, c.wantTLS)
	}
	c.wantTLS = nil
	if !c.wantEOF {
		return
	}
	c.wantEOF = false
	if msg, err := c.tls.next(); !errors.Is(err, io.EOF) {
		m.Fatalf("after a Close %q of type %x and %v have come over TLS", msg.Body, msg.Type, err)
	}
}

// check compares the server with the model.
func (m *pathModel) check(*rapid.T) {
	var online, want []string
	for _, c := range m.clients {
		m.mu.Lock()
		got := m.delivered[c.user]
		m.mu.Unlock()
		if !slices.Equal(got, c.deliveries) {
			m.Fatalf("rule 15: of %s were delivered %q, want %q", c.user, got, c.deliveries)
		}
		if n := int(c.binding.received.Load()); n != len(c.deliveries) {
			m.Fatalf("%d messages of %s were counted, want %d", n, c.user, len(c.deliveries))
		}
		if c.state == modelOpen {
			want = append(want, c.user)
		}
	}
	same := func() bool {
		online = online[:0]
		for c := range m.r.Conns() {
			if c.UserID() != "" { // a probe
				online = append(online, c.UserID())
			}
		}
		slices.Sort(online)
		return slices.Equal(online, want)
	}
	if slices.Sort(want); !testkit.ComesTrue(10*time.Second, same) {
		m.Fatalf("online are %q, want %q", online, want)
	}
	now := m.r.Stats()
	if n := int(now.Accepted - m.before.Accepted); n != len(m.clients) {
		m.Fatalf("%d connections came in, want %d", n, len(m.clients))
	}
	if n := now.Lost - m.before.Lost; n != m.lost {
		m.Fatalf("%d datagrams were lost, want %d", n, m.lost)
	}
}
