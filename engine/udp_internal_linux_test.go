package engine

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// rawUDP sends datagrams whose source it makes up. That needs root.
type rawUDP struct {
	t  testing.TB
	fd int
}

func newRawUDP(t testing.TB) *rawUDP {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		testkit.LeaveOut(t, "this needs a raw socket, and so root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return &rawUDP{t, fd}
}

// send sends a datagram from a port of the machine's own address, which may be 0.
func (r *rawUDP) send(from uint16, to netip.AddrPort, b []byte) {
	r.t.Helper()
	header := binary.BigEndian.AppendUint16(nil, from)
	header = binary.BigEndian.AppendUint16(header, to.Port())
	header = binary.BigEndian.AppendUint16(header, uint16(8+len(b)))
	header = append(header, 0, 0) // without a checksum
	if err := unix.Sendto(r.fd, append(header, b...), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
		r.t.Fatal(err)
	}
}

// udpUnderTest returns the address of an engine with one loop, and its listener.
func udpUnderTest(t *testing.T) (*Engine, *udpListener, netip.AddrPort) {
	e := testkit.Must(New(Config{Loops: 1, Listeners: []Listener{{Network: "udp", Addr: "127.0.0.1:0", Cleartext: true}}}))
	e.SetAdmission(admitAll{})
	e.HandleDefault(func(c *Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := testkit.Receive(t, "the end of Run", ended); err != nil {
			t.Error(err)
		}
	})
	u := e.listeners[0].(*udpListener)
	return e, u, u.Addr().(*net.UDPAddr).AddrPort()
}

// asked waits until an answer to a datagram has come.
func asked(t *testing.T, nc *net.UDPConn, b []byte) []byte {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
	return answered(t, nc, testkit.Patience)
}

// answered returns the next datagram; nil where none comes in time.
func answered(t *testing.T, nc *net.UDPConn, within time.Duration) []byte {
	t.Helper()
	b := make([]byte, 2048)
	_ = nc.SetReadDeadline(time.Now().Add(within))
	n, err := nc.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// Amendment: a datagram from port 0 is dropped, for no answer can go there. A Logon with a cookie that is right makes no session.
func TestDatagramsFromPort0AreDropped(t *testing.T) {
	raw := newRawUDP(t)
	e, u, addr := udpUnderTest(t)
	nc := testkit.Must(net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr)))
	defer nc.Close()
	f := testkit.Must(protocol.Binary.Append(nil, &protocol.Message{Type: 1, UserID: "ann"}))
	logon := func(port uint16) {
		from := netip.AddrPortFrom(addr.Addr(), port)
		raw.send(port, addr, udpwire.AppendLogon(nil, 7, u.prover.Cookie(time.Now(), from, 7), f))
		if asked(t, nc, udpwire.AppendHello(nil, 8))[0] != udpwire.Cookie {
			t.Error("a Hello was not answered with a Cookie")
		}
	}
	logon(0)
	u.mu.Lock()
	if n := len(u.came) + len(u.peers); n > 0 {
		t.Error("a client at port 0 has come in")
	}
	u.mu.Unlock()
	other := testkit.Must(net.ListenUDP("udp", &net.UDPAddr{IP: addr.Addr().AsSlice()}))
	defer other.Close()
	logon(uint16(other.LocalAddr().(*net.UDPAddr).Port))
	if b := answered(t, other, testkit.Patience); b == nil || b[0] != udpwire.Welcome { // so the test is able to make one
		t.Errorf("a Logon from another port is answered with %x", b)
	}
	testkit.Eventually(t, "the client is in", func() bool { return e.Stats().Accepted == 1 })
	for _, c := range e.conns.all() {
		c.loop.post(c.closeNow)
	}
}

// Data for unknown sessions is answered 256 times in each look of the loop at its clock, and after the next look again.
func TestAnswersToUnknownSessionsAreLimited(t *testing.T) {
	e, u, addr := udpUnderTest(t)
	nc := testkit.Must(net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr)))
	defer nc.Close()
	_ = nc.SetReadBuffer(1 << 20)
	from := nc.LocalAddr().(*net.UDPAddr).AddrPort()
	testkit.Eventually(t, "the loop runs", func() bool { return e.started.Load() != nil })
	l, r := (*e.started.Load())[0], u.sockets[0]
	burst := func(n int) (answers int) {
		done := make(chan struct{})
		l.post(func() { // the loop looks at its clock between two tasks, not within one
			defer close(done)
			for id := range uint64(n) {
				l.udp.unknown(r, &datagram{b: udpwire.AppendData(nil, id, 0), from: from})
			}
			l.udp.flush()
		})
		testkit.Receive(t, "the burst", done)
		for asked := asked(t, nc, udpwire.AppendHello(nil, 2)); asked[0] == udpwire.Gone; asked = answered(t, nc, testkit.Patience) {
			answers++
		}
		return answers
	}
	testkit.Eventually(t, "another look at the clock", func() bool { return burst(udpAnswersMost+100) == udpAnswersMost })
	if n := burst(2 * udpAnswersMost); n > udpAnswersMost {
		t.Errorf("%d datagrams of one look were answered", n)
	}
	testkit.Eventually(t, "another look at the clock", func() bool { return burst(1) == 1 })
}

// Amendment: where the system refuses a datagram, its error concerns that one alone: those behind it are sent.
func TestADatagramThatTheSystemRefusesIsSkipped(t *testing.T) {
	_, u, addr := udpUnderTest(t)
	nc := testkit.Must(net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr)))
	defer nc.Close()
	to := nc.LocalAddr().(*net.UDPAddr).AddrPort()
	nowhere := netip.AddrPortFrom(to.Addr(), 0)
	out := newUDPOut(u.sockets[0])
	const all = 20
	for i := range byte(all) {
		b := append(out.begin(to, netip.Addr{}), i)
		if i%4 < 2 {
			b = append(out.begin(nowhere, netip.Addr{}), i)
		}
		out.end(b)
	}
	out.flush()
	for i := range byte(all) {
		if i%4 < 2 {
			continue
		}
		if b := answered(t, nc, testkit.Patience); len(b) != 1 || b[0] != i {
			t.Fatalf("datagram %x has come, want %d", b, i)
		}
	}
}
