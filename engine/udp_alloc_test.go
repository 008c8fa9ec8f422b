//go:build linux && !race

package engine_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// The message path allocates nothing over UDP either, on Linux: read, handler, Reply, send.
func TestTheMessagePathOverUDPAllocatesNothing(t *testing.T) {
	const rounds, batch = 2000, 14
	_, r := serveUDP(t, engine.Config{})
	p := peerUDP(t, r.addr, "")
	p.logOn(protocol.Message{Type: 1, ID: 1})
	ms := make([]protocol.Message, batch)
	for i := range ms {
		ms[i] = protocol.Message{Type: 1, ID: 1, Body: make([]byte, 64)}
	}
	d, answer := p.data(ms...), make([]byte, udpwire.MaxDatagram)
	number := uint32(0)
	n := countMallocs(rounds, func() {
		number++
		binary.BigEndian.PutUint32(d[9:], number)
		_ = p.nc.SetDeadline(time.Now().Add(patience))
		if _, err := p.nc.Write(d); err != nil {
			t.Fatal(err)
		}
		if n, err := p.nc.Read(answer); err != nil || n != len(d) {
			t.Fatalf("%d bytes are answered with %d: %v", len(d), n, err)
		}
	})
	t.Logf("%d allocations for %d messages in %d datagrams", n, rounds*batch, rounds)
	if n > allocsAllowed {
		t.Errorf("%d allocations for %d datagrams", n, rounds)
	}
	p.seq = number + 1
	p.bye()
}

// Nor does it by sealed datagrams beside TLS, while the session's ciphers are in use.
func TestSealedDatagramsAllocateNothing(t *testing.T) {
	const rounds = 2000
	sec := newSecurity(t)
	g, r, given := serveSealed(t, engine.Config{}, sec, func(e *engine.Engine) {
		e.Handle(6, func(c *engine.Conn, m *protocol.Message) error { return c.SendMessage(m, unreliable) })
	})
	p := peerSealed(t, g, r, given, sec)
	p.prove()
	f := frame(t, protocol.Message{Type: 6, Body: make([]byte, 64)})
	d, answer := make([]byte, 0, udpwire.MaxDatagram), make([]byte, udpwire.MaxDatagram)
	n := countMallocs(rounds, func() {
		d = p.seals.AppendSealed(d[:0], p.id, p.number, udpwire.Data, f)
		p.number++
		_ = p.nc.SetDeadline(time.Now().Add(patience))
		if _, err := p.nc.Write(d); err != nil {
			t.Fatal(err)
		}
		if n, err := p.nc.Read(answer); err != nil || n != len(d) {
			t.Fatalf("%d bytes are answered with %d: %v", len(d), n, err)
		}
	})
	t.Logf("%d allocations for %d datagrams", n, rounds)
	if n > allocsAllowed {
		t.Errorf("%d allocations for %d datagrams", n, rounds)
	}
}
