package engine_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// loop returns the event loop of a session: that of the socket that its Logon has come to.
func (p *udpPeer) loop() byte { return byte(p.id >> 56) }

// joinSockets opens one more socket at the address of a listener. While it is there the system spreads the datagrams differently, and it gets some.
func joinSockets(t *testing.T, addr string) net.PacketConn {
	t.Helper()
	shared := func(_, _ string, raw syscall.RawConn) (failed error) {
		err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, failed)
	}
	pc, err := (&net.ListenConfig{Control: shared}).ListenPacket(t.Context(), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return pc
}

// Amendment: all sockets of a listener have one key: a cookie that one of them has made is good at another.
func TestTheSocketsOfAListenerHaveOneKey(t *testing.T) {
	_, r := serveUDP(t, engine.Config{Loops: 4})
	for moved, tries := 0, 0; moved < 3; tries++ {
		if tries == 200 {
			t.Fatal("no Logon has come to another socket than its Hello")
		}
		p := peerUDP(t, r.addr, "")
		p.logOn(protocol.Message{Type: 1, ID: 1})
		made := p.loop()
		p.bye()
		p.id, p.seq = 0, 0
		p.nonce++
		proof := p.cookie()
		other := joinSockets(t, r.addr)
		p.sendRaw(udpwire.AppendLogon(nil, p.nonce, proof, frame(t, protocol.Message{Type: 1, ID: 1})))
		var welcome []byte
		lost := false
		eventually(t, "the Logon's arrival", func() bool {
			_ = other.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, _, err := other.ReadFrom(make([]byte, 2048))
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			lost = err == nil
			if !lost {
				welcome = p.readWithin(time.Millisecond)
			}
			return lost || welcome != nil
		})
		_ = other.Close()
		if lost {
			continue
		}
		if p.welcomed(welcome); p.loop() != made {
			moved++
		}
		p.ask(2, "there")
		p.bye()
	}
}
