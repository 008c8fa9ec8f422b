//go:build linux

package soak

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Sessions over UDP have no descriptor each: with SOAK_TIME there are 100,000 of them at once on one socket of the server, over one socket of
// a client. Each asks once when all are there, and is answered as the user that it is.
func TestManySessionsOnOneSocket(t *testing.T) {
	sessions := sized(500, 500, 100_000)
	nop := zap.NewNop()
	e := testkit.Must(engine.New(engine.Config{Loops: 1, Listeners: []engine.Listener{{Addr: "127.0.0.1:0", Network: "udp", Cleartext: true}},
		Accept: engine.Accept{MaxConnections: -1}, Logger: nop, Timeouts: engine.Timeouts{Close: 100 * time.Millisecond, Stop: patience}}))
	users := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: time.Hour, Logger: nop}))
	testkit.Must(bridge.Attach(e, users, nil, bridge.Config{LogonDeadline: patience, Logger: nop}))
	e.Handle(echo, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(c.UserID())) })
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		closing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := users.Close(closing); err != nil {
			t.Errorf("closing the manager: %v", err)
		}
	}()
	nc, err := net.Dial("udp", e.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m := &manySessions{t: t, nc: nc, ids: make([]uint64, sessions), of: make(map[uint64]int, sessions)}
	for i := 0; i < sessions; i += manyAtOnce {
		m.logOn(i, min(i+manyAtOnce, sessions))
	}
	testkit.Eventually(t, "all users are online", func() bool { return users.Count() == sessions })
	for i := 0; i < sessions; i += manyAtOnce {
		m.echo(i, min(i+manyAtOnce, sessions))
	}
	if n := users.Count(); n != sessions || len(m.of) != sessions {
		t.Errorf("%d users are online, with %d sessions, want %d", n, len(m.of), sessions)
	}
}

// manyAtOnce is how many datagrams are under way at once. The kernel has room for them.
const manyAtOnce = 100

// manySessions is a client with many sessions over one socket. Session i has the nonce i+1.
type manySessions struct {
	t   *testing.T
	nc  net.Conn
	ids []uint64
	of  map[uint64]int // sessions by ID
}

// exchange sends what each session from the first to the last has to say, again where its answer does not come, until take has taken an
// answer for each. take returns the session that a datagram answers, or -1.
func (m *manySessions) exchange(first, last int, say func(i int) []byte, take func(b []byte) int) {
	m.t.Helper()
	done := make(map[int]bool)
	b := make([]byte, 2048)
	for deadline := time.Now().Add(patience); len(done) < last-first; {
		if time.Now().After(deadline) {
			m.t.Fatalf("%d sessions of %d have no answer", last-first-len(done), last-first)
		}
		for i := first; i < last; i++ {
			if !done[i] {
				_, _ = m.nc.Write(say(i))
			}
		}
		_ = m.nc.SetReadDeadline(time.Now().Add(time.Second))
		for len(done) < last-first {
			n, err := m.nc.Read(b)
			if err != nil {
				break
			}
			if i := take(b[:n]); i >= first && i < last {
				done[i] = true
			}
		}
	}
}

func (m *manySessions) logOn(first, last int) {
	proofs := make(map[int][udpwire.ProofSize]byte)
	m.exchange(first, last, func(i int) []byte { return udpwire.AppendHello(nil, uint64(i+1)) }, func(b []byte) int {
		if b[0] != udpwire.Cookie {
			return -1
		}
		i := int(udpwire.ID(b)) - 1
		proofs[i] = udpwire.Proof(b)
		return i
	})
	m.exchange(first, last, func(i int) []byte {
		return udpwire.AppendLogon(nil, uint64(i+1), proofs[i], logonFrame(manyUser(i)))
	}, func(b []byte) int {
		if b[0] != udpwire.Welcome {
			return -1
		}
		i := int(udpwire.ID(b)) - 1
		id, _ := udpwire.Session(b)
		if other, known := m.of[id]; known && other != i || id == 0 {
			m.t.Fatalf("the session of %d is %x, which is that of %d", i, id, other)
		}
		m.ids[i], m.of[id] = id, i
		return i
	})
}

func manyUser(i int) string { return fmt.Sprint("user", i) }

func (m *manySessions) echo(first, last int) {
	number := make(map[int]uint32)
	m.exchange(first, last, func(i int) []byte {
		number[i]++
		return append(udpwire.AppendData(nil, m.ids[i], number[i]-1), frame(&protocol.Message{Type: echo, ID: uint32(i + 1)})...)
	}, func(b []byte) int {
		if b[0] != udpwire.Data {
			return -1
		}
		var answer protocol.Message
		n, _, err := protocol.Binary.Decode(b[udpwire.DataHeader:], &answer, protocol.DecodeOptions{})
		i, known := m.of[udpwire.ID(b)]
		if err != nil || n == 0 || !known || answer.ID != uint32(i+1) || string(answer.Body) != manyUser(i) {
			m.t.Fatalf("session %d is answered with %q to %d (%v)", i, answer.Body, answer.ID, err)
		}
		return i
	})
}
