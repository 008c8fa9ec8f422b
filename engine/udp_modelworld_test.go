package engine_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpServer is the server of many programs of TestUDPModel.
type udpServer struct {
	t       *testing.T
	g       *gate
	r       *running
	probes  []*udpPeer // a session on each event loop; see udpModel.ask
	unclean bool       // a program has failed and left its sessions: the next one takes a new server

	mu        sync.Mutex
	delivered map[string][]string // by user: bodies of messages
}

// modelNote is the type of messages that are not answered.
const modelNote = 2

// modelPlaces is how many sessions an address may have.
const modelPlaces = 3

func newUDPServer(t *testing.T, loops int) *udpServer {
	s := &udpServer{t: t, delivered: make(map[string][]string)}
	cfg := engine.Config{Loops: loops, Accept: engine.Accept{MaxPerAddress: modelPlaces, MaxConnections: 1000},
		Timeouts: engine.Timeouts{Close: time.Minute, Stop: time.Second}}
	s.g, s.r = serveUDP(t, cfg, func(e *engine.Engine, _ *gate) {
		e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
			s.mu.Lock()
			s.delivered[c.UserID()] = append(s.delivered[c.UserID()], string(m.Body))
			s.mu.Unlock()
			if m.Type == modelNote {
				return nil
			}
			return c.Reply(m, m.Body)
		})
	})
	s.probes = make([]*udpPeer, loops)
	for found, n := 0, 0; found < loops; n++ {
		p := peerUDP(t, s.r.addr, fmt.Sprintf("127.0.1.%d", 1+n%250))
		p.logOn(protocol.Message{Type: 1, ID: 1, UserID: "probe"})
		receive(t, "the probe", s.g.arrived)
		if loop := p.id >> 56; s.probes[loop] != nil {
			p.bye()
			continue
		}
		s.probes[p.id>>56] = p
		found++
	}
	return s
}

// end ends the sessions of the server's own.
func (s *udpServer) end() {
	for _, p := range s.probes {
		p.bye()
	}
	wantNobodyIn(s.t, s.r.Engine)
}

// modelSpot is a socket of the model's clients.
type modelSpot struct {
	*net.UDPConn
	ip        netip.Addr
	want, got []string // what must come to it, and has come, since the last check
	asked     bool     // and was answered; see ask
}

// modelClient is a client as the model sees it.
type modelClient struct {
	user           string
	nonce          uint64
	proof          [udpwire.ProofSize]byte
	logon, welcome []byte // nil until it has sent it, and until it was answered
	state          modelState
	conn           *engine.Conn
	id             uint64
	key            [udpwire.KeySize]byte
	first, home    int // spots: where it has said Hello, and where it is
	code           protocol.CloseCode
	challenges     map[int]uint64 // by spot

	base uint32 // the number of the Data at position 0
	modelNumbers
	theirs     uint32 // the next number of the server's
	deliveries []string
}

// modelNumbers are the numbers of a client's datagrams, as positions in what it might have sent.
type modelNumbers struct {
	began bool
	last  int64 // the latest position that has come
	seen  map[int64]bool
}

type modelState string

const (
	modelNew     modelState = "new" // has a cookie
	modelOpen    modelState = "open"
	modelClosing modelState = "closing" // the server has sent a Close
	modelOver    modelState = "over"
	modelRefused modelState = "refused"
)

// take says whether a datagram at a position is delivered, and counts those that it skips as lost.
func (c *modelNumbers) take(at int64) (isNew bool, lost uint64) {
	switch {
	case !c.began:
		c.began, c.last, isNew = true, at, true
	case at > c.last:
		lost, isNew = uint64(at-c.last-1), true
		c.last = at
	default:
		isNew = at > c.last-64 && !c.seen[at]
	}
	if isNew {
		c.seen[at] = true
	}
	return isNew, lost
}

func (c *modelClient) loop() int { return int(c.id >> 56) }

func (c *modelClient) data(at int64) []byte {
	return udpwire.AppendData(nil, c.id, c.base+uint32(at))
}

// udpModel is a run of a program.
type udpModel struct {
	*rapid.T
	*udpServer
	spots    []*modelSpot
	clients  []*modelClient
	places   map[netip.Addr]int
	before   engine.Stats
	accepted uint64
	lost     uint64
	messages int
	finished bool
	last     map[int][]byte // by spot: the latest Welcome
}

// setRapid sets the number of programs, unless -rapid.checks does, and what a failure of a model over sockets needs.
func setRapid(t *testing.T, checks int) {
	values := map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "10s"}
	if flag.Lookup("rapid.checks").Value.String() == flag.Lookup("rapid.checks").DefValue {
		values["rapid.checks"] = fmt.Sprint(checks)
	}
	for name, value := range values {
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, old) })
	}
}

// modelUsers numbers the users of all programs.
var modelUsers int

func newUDPModel(rt *rapid.T, s *udpServer) *udpModel {
	m := &udpModel{T: rt, udpServer: s, places: make(map[netip.Addr]int), before: s.r.Stats(), last: make(map[int][]byte)}
	m.spots = openSpots(rt, s.r.addr)
	return m
}

// modelSpots is how many sockets the clients of a program have.
const modelSpots = 5

func openSpots(rt *rapid.T, server string) (all []*modelSpot) {
	for i := range modelSpots {
		ip := netip.MustParseAddr(fmt.Sprintf("127.0.0.%d", 1+i/2))
		nc, err := (&net.Dialer{LocalAddr: localUDP(ip.String())}).Dial("udp", server)
		if err != nil {
			rt.Fatal(err)
		}
		all = append(all, &modelSpot{UDPConn: nc.(*net.UDPConn), ip: ip})
	}
	return all
}

// finish confirms all ends, and checks what is left.
func (m *udpModel) finish() {
	for _, c := range m.clients {
		switch c.state {
		case modelOpen:
			c.code = protocol.ClientClosed
			fallthrough
		case modelClosing:
			m.sayBye(c)
		}
	}
	m.check(m.T)
	if n := m.r.Stats().Conns.Open; n != len(m.probes) {
		testkit.Eventually(m.t, "all connections are gone", func() bool { return m.r.Stats().Conns.Open == len(m.probes) })
	}
	for _, s := range m.spots {
		_ = s.SetReadDeadline(time.Now())
		if n, _ := s.Read(make([]byte, 1)); n > 0 {
			m.Fatalf("something has come in the end to %v", s.LocalAddr())
		}
	}
	m.finished = true
}

// end closes the sockets. Where the program has failed it ends the sessions before.
func (m *udpModel) end() {
	if !m.finished {
		m.unclean = !m.giveUp()
	}
	for _, s := range m.spots {
		_ = s.Close()
	}
}

// giveUp ends the sessions of a program that has failed, so that rapid can look for a shorter one. It reports false where some stay.
func (m *udpModel) giveUp() bool {
	for _, c := range m.clients {
		for i, s := range m.spots {
			_, _ = s.Write(append(c.data(c.last+1+int64(i)), frame(m.t, closeMessage(protocol.ClientClosed))...))
		}
	}
	return testkit.ComesTrue(time.Second, func() bool { return m.r.Stats().Conns.Open == len(m.probes) })
}

func (m *udpModel) newClient(spot int) *modelClient {
	modelUsers++
	c := &modelClient{user: fmt.Sprint("user", modelUsers), nonce: rand.Uint64(), state: modelNew, first: spot, home: spot,
		modelNumbers: modelNumbers{seen: make(map[int64]bool)}, challenges: make(map[int]uint64)}
	m.clients = append(m.clients, c)
	return c
}

func (m *udpModel) send(spot int, b []byte) {
	if _, err := m.spots[spot].Write(b); err != nil {
		m.Fatal(err)
	}
}

// wants says what must come to a spot.
func (m *udpModel) wants(spot int, format string, args ...any) {
	m.spots[spot].want = append(m.spots[spot].want, fmt.Sprintf(format, args...))
}

// read reads the next datagram of a spot; false where none has come in time.
func (m *udpModel) read(spot int, within time.Duration) bool {
	s := m.spots[spot]
	_ = s.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, 2048)
	n, err := s.Read(b)
	if err != nil {
		return false
	}
	b = b[:n]
	if !udpwire.IsWhole(b) {
		m.Fatalf("%x has come to %d", b, spot)
	}
	if b[0] == udpwire.Challenge && slices.ContainsFunc(m.probes, func(p *udpPeer) bool { return p.id == udpwire.ID(b) }) {
		s.asked = true
		return true
	}
	s.got = append(s.got, m.describe(spot, b)...)
	return true
}

// describe says what a datagram of the server has: for each message a text.
func (m *udpModel) describe(spot int, b []byte) []string {
	id := udpwire.ID(b)
	switch b[0] {
	case udpwire.Cookie:
		for _, c := range m.clients {
			if c.nonce == id {
				c.proof = udpwire.Proof(b)
			}
		}
		return []string{fmt.Sprintf("Cookie of %d bytes for %x", len(b), id)}
	case udpwire.Welcome:
		m.last[spot] = b
		return []string{fmt.Sprintf("Welcome for %x", id)}
	case udpwire.Challenge:
		for _, c := range m.clients {
			if c.id == id {
				c.challenges[spot] = udpwire.Challenged(b)
			}
		}
		return []string{fmt.Sprintf("Challenge of %d bytes for %x", len(b), id)}
	case udpwire.Gone:
		return []string{fmt.Sprintf("Gone of %d bytes for %x with %d", len(b), id, udpwire.GoneCode(b))}
	case udpwire.Data:
		i := slices.IndexFunc(m.clients, func(c *modelClient) bool { return c.id == id })
		if i < 0 {
			break
		}
		c := m.clients[i]
		if n := udpwire.Sequence(b); n != c.theirs {
			return []string{fmt.Sprintf("Data %d for %x, want %d", n, id, c.theirs)}
		}
		c.theirs++
		return describeFrames(id, b[udpwire.DataHeader:])
	}
	return []string{fmt.Sprintf("%x", b)}
}

func describeFrames(id uint64, b []byte) (all []string) {
	for len(b) > 0 {
		var m protocol.Message
		n, _, err := protocol.Binary.Decode(b, &m, protocol.DecodeOptions{MaxBody: 1 << 20})
		if err != nil || n == 0 {
			return append(all, fmt.Sprintf("%x, which is no frame", b))
		}
		if m.Type == protocol.TypeClose {
			why, _ := protocol.ParseClose(m.Body)
			all = append(all, describeClose(id, why.Code))
		} else {
			all = append(all, fmt.Sprintf("%x: message %d of type %d: %s", id, m.ID, m.Type, m.Body))
		}
		b = b[n:]
	}
	return all
}

func describeClose(id uint64, code protocol.CloseCode) string {
	return fmt.Sprintf("%x: Close with %d", id, code)
}

// awaitWelcome waits until what a spot wants has come, where the server takes its time: it accepts clients on a goroutine of its own.
func (m *udpModel) awaitWelcome(spot int) {
	s := m.spots[spot]
	for deadline := time.Now().Add(patience); len(s.got) < len(s.want); {
		if !m.read(spot, time.Until(deadline)) {
			m.Fatalf("to %d has come %q, want %q", spot, s.got, s.want)
		}
	}
}

// await is awaitWelcome for what a loop does within a few turns. It counts them, by asking.
func (m *udpModel) await(spot, loop int) {
	s := m.spots[spot]
	for turns := 0; len(s.got) < len(s.want); turns++ {
		if turns == 100 {
			m.Fatalf("to %d has come %q, want %q", spot, s.got, s.want)
		}
		if !m.read(spot, 10*time.Millisecond) {
			m.ask(loop, spot)
		}
	}
}

// ask sends a datagram from each of the spots to a loop, for the probe's session there. It is answered with a Challenge, behind what the
// loop has sent to that spot for datagrams before.
func (m *udpModel) ask(loop int, spots ...int) {
	b := udpwire.AppendData(nil, m.probes[loop].id, 0)
	b = append(b, frame(m.t, protocol.Message{Type: 1})...)
	for _, i := range spots {
		m.spots[i].asked = false
		m.send(i, b)
	}
	for _, i := range spots {
		for !m.spots[i].asked {
			if !m.read(i, patience) {
				m.Fatalf("a Challenge has not come to %d, but %q", i, m.spots[i].got)
			}
		}
	}
}

// settle waits until the server has dealt with all that was sent from a spot to one of its loops, and looks at what has come to all
// spots.
func (m *udpModel) settle(from, loop int) {
	m.ask(loop, from)
	m.ask(loop, 0, 1, 2, 3, 4) // what came to another spot was sent before this is answered
	for i, s := range m.spots {
		for len(s.got) < len(s.want) && m.read(i, time.Second) {
		}
		if !slices.Equal(s.got, s.want) {
			m.Fatalf("to %d has come\n\t%s\nwant\n\t%s", i, strings.Join(s.got, "\n\t"), strings.Join(s.want, "\n\t"))
		}
		s.got, s.want = nil, nil
	}
}

// check compares the server with the model.
func (m *udpModel) check(*rapid.T) {
	var online, want []string
	for _, c := range m.clients {
		m.mu.Lock()
		got := m.delivered[c.user]
		m.mu.Unlock()
		if !slices.Equal(got, c.deliveries) {
			m.Fatalf("rule 15: of %s were delivered %q, want %q", c.user, got, c.deliveries)
		}
		if c.state == modelOpen {
			want = append(want, c.user)
		}
	}
	same := func() bool {
		online = online[:0]
		for c := range m.r.Conns() {
			if c.UserID() != "probe" {
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
	if n := now.Accepted - m.before.Accepted; n != m.accepted {
		m.Fatalf("%d connections came in, want %d", n, m.accepted)
	}
	if n := now.Lost - m.before.Lost; n != m.lost {
		m.Fatalf("%d datagrams were lost, want %d", n, m.lost)
	}
}
