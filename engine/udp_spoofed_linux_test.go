package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// The server is alone in a network namespace. The attacker, the victim and an honest client are in another one, with an address each.
const (
	spoofServer   = "192.0.2.1"
	spoofAttacker = "192.0.2.2"
	spoofVictim   = "192.0.2.3"
	spoofHonest   = "192.0.2.4"
)

// spoofing makes the two namespaces, and returns their names.
func spoofing(t *testing.T) (server, others string) {
	server, others = fmt.Sprintf("udp%da", os.Getpid()), fmt.Sprintf("udp%db", os.Getpid())
	t.Cleanup(func() { _, _ = testkit.IP("netns", "del", server), testkit.IP("netns", "del", others) })
	for _, args := range [][]string{
		{"netns", "add", server}, {"netns", "add", others},
		{"-n", server, "link", "add", "udp0", "type", "veth", "peer", "name", "udp0", "netns", others},
		{"-n", server, "addr", "add", spoofServer + "/24", "dev", "udp0"},
		{"-n", others, "addr", "add", spoofAttacker + "/24", "dev", "udp0"},
		{"-n", others, "addr", "add", spoofVictim + "/24", "dev", "udp0"},
		{"-n", others, "addr", "add", spoofHonest + "/24", "dev", "udp0"},
		{"-n", server, "link", "set", "udp0", "up"}, {"-n", others, "link", "set", "udp0", "up"},
	} {
		if err := testkit.IP(args...); err != nil {
			testkit.LeaveOut(t, "this needs network namespaces, and so root: %v", err)
		}
	}
	return server, others
}

// forger sends datagrams in the name of another address.
type forger struct {
	t      *testing.T
	fd     int
	as, to netip.AddrPort
}

// forge sends a datagram of UDP over IPv4, made by hand; the kernel adds the checksum of IP.
func (f *forger) forge(b []byte) {
	f.t.Helper()
	from, to := f.as.Addr().As4(), f.to.Addr().As4()
	p := []byte{0x45, 0}
	p = binary.BigEndian.AppendUint16(p, uint16(28+len(b)))
	p = append(p, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	p = append(append(p, from[:]...), to[:]...)
	p = binary.BigEndian.AppendUint16(p, f.as.Port())
	p = binary.BigEndian.AppendUint16(p, f.to.Port())
	p = binary.BigEndian.AppendUint16(p, uint16(8+len(b)))
	p = append(append(p, 0, 0), b...)
	if err := unix.Sendto(f.fd, p, 0, &unix.SockaddrInet4{Addr: to}); err != nil {
		f.t.Fatal(err)
	}
}

// Amendment, and Over UDP: who sends in the name of another address makes no session, moves none, and brings that address no more bytes
// than it spends itself.
func TestForgedSourcesGetNothingButWhatTheySpend(t *testing.T) {
	server, others := spoofing(t)
	e := newEcho(engine.Config{Loops: 1, Listeners: []engine.Listener{{Network: "udp", Addr: spoofServer + ":9000", Cleartext: true}}})
	newGate(t, e)
	if err := testkit.InNamespace(server, e.Listen); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Engine: e, addr: e.Addrs()[0].String(), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = e.Run(ctx)
	}()
	t.Cleanup(func() { _ = r.stop(t) })

	var attacker, victim, honest *udpPeer
	f := &forger{t: t, to: netip.MustParseAddrPort(r.addr)}
	err := testkit.InNamespace(others, func() (err error) {
		attacker, victim, honest = peerUDP(t, r.addr, spoofAttacker), peerUDP(t, r.addr, spoofVictim), peerUDP(t, r.addr, spoofHonest)
		f.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(f.fd) })
	f.as = victim.nc.LocalAddr().(*net.UDPAddr).AddrPort()
	honest.logOn(protocol.Message{Type: 1, ID: 1})
	own := attacker.cookie()
	logon := frame(t, protocol.Message{Type: 1, ID: 1, UserID: "forger"})
	answered := 0
	for what, forged := range map[string][]byte{
		"a Hello":                       udpwire.AppendHello(nil, 1),
		"a long Hello":                  append(udpwire.AppendHello(nil, 2), make([]byte, 1000)...),
		"a Logon without a cookie":      udpwire.AppendLogon(nil, 3, [udpwire.ProofSize]byte{}, logon),
		"a Logon with another's cookie": udpwire.AppendLogon(nil, attacker.nonce, own, logon),
		"Data of no session":            append(udpwire.AppendData(nil, 4, 0), logon...),
		"empty Data of no session":      udpwire.AppendData(nil, 4, 0),
		"Data of another's session":     append(udpwire.AppendData(nil, honest.id, 1000), logon...),
		"empty Data of the session":     udpwire.AppendData(nil, honest.id, 1000),
		"a Close of the session":        append(udpwire.AppendData(nil, honest.id, 1000), frame(t, closeMessage(protocol.ClientClosed))...),
		"a Response of the session":     udpwire.AppendResponse(nil, honest.id, [udpwire.MACSize]byte{}),
		"a Response of no session":      udpwire.AppendResponse(nil, 4, [udpwire.MACSize]byte{}),
		"a Cookie":                      udpwire.AppendCookie(nil, 5, own),
		"a Gone of the session":         udpwire.AppendGone(nil, honest.id, uint16(protocol.KickedOut)),
	} {
		const times = 50
		for range times {
			f.forge(forged)
		}
		honest.ask(1, "everything before is read")
		victim.sendRaw(udpwire.AppendHello(nil, victim.nonce))
		got, most := 0, len(forged)*times
		for {
			b := victim.read()
			if b[0] == udpwire.Cookie && udpwire.ID(b) == victim.nonce {
				break
			}
			answered++
			if got += len(b); len(b) > len(forged) {
				t.Errorf("%s of %d bytes is answered with %d bytes, of kind %d", what, len(forged), len(b), b[0])
			}
		}
		if got > most {
			t.Errorf("%s: %d bytes brought %d", what, most, got)
		}
		if n := r.Stats().Accepted; n != 1 {
			t.Fatalf("%s: %d clients came in, want the honest one alone", what, n)
		}
	}
	if answered == 0 {
		t.Error("nothing that was forged has come to the server")
	}
	if b := honest.readWithin(time.Millisecond); b != nil {
		t.Errorf("to the honest client has come %x", b)
	}
	honest.bye()
}
