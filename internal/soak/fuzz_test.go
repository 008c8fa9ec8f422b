//go:build linux

package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/contract"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// What a byte of a fuzzing input says is to be done; its upper bits say on which connection. Bytes that follow are the
// operation's own, and 0 where the input ends.
const (
	opLogon   = iota // user, session or not, cut
	opTalk           // how many echoes, cut
	opBytes          // how many, then they
	opRest           // sends what was cut off
	opSystem         // the lower byte of the type, cut
	opEnd            // ends the client's side
	opClose          // closes
	opReset          // resets
	opListen         // reads what has come
	opKick           // user: the server kicks a user, or pushes
	opBeneath        // how many, then they: bytes that are not TLS, or garbage in its records
	opCount          // of operations
	fuzzConns = 3
)

// FuzzServer sends any bytes, cut anywhere, on up to three connections of a server, plain or over TLS, whose users are two. After each
// input nothing may be left of it, the record of the user manager must obey the contract, and a healthy connection works.
func FuzzServer(f *testing.F) {
	logon := logonFrame("ann")
	talk := frame(&protocol.Message{Type: echo, ID: 7, Body: []byte("hello")})
	on := func(conn, op byte, rest ...byte) []byte { return append([]byte{conn<<4 | op}, rest...) }
	raw := func(conn byte, b []byte) []byte { return append(on(conn, opBytes, byte(len(b))), b...) }
	for _, input := range [][][]byte{
		{{0}, on(0, opLogon, 0, 0, 0), on(0, opTalk, 3, 0), on(0, opEnd)},
		{{1}, on(0, opLogon, 0, 0, 0), on(1, opLogon, 0, 0, 0), on(2, opLogon, 0, 1, 0), on(1, opTalk, 1, 0)},
		{{2}, on(0, opLogon, 0, 0, 9), on(1, opLogon, 0, 0, 0), on(0, opRest), on(0, opListen), on(1, opReset)},
		{{3}, on(0, opLogon, 0, 0, 0), on(0, opListen), on(1, opLogon, 0, 1, 0), on(0, opKick, 0), on(1, opKick, 1)},
		{{0}, raw(0, logon), raw(0, talk), raw(1, logon[:10]), raw(1, logon[10:]), on(0, opClose), on(1, opKick, 0)},
		{{0}, raw(0, []byte("GET / HTTP/1.1\r\n\r\n")), raw(1, bytes.Repeat([]byte{0x52}, 40)), raw(2, talk)},
		{{1}, on(0, opLogon, 1, 0, 0), on(0, opTalk, 5, 11), on(0, opSystem, 0, 0), on(0, opRest), on(0, opSystem, 2, 0)},
		{{4}, on(0, opLogon, 0, 0, 0), on(0, opTalk, 3, 7), on(1, opLogon, 0, 0, 0), on(0, opListen), on(1, opEnd), on(0, opRest)},
		{{5}, on(0, opLogon, 0, 0, 0), on(1, opBeneath, 5, 23, 3, 3, 0, 9), on(0, opBeneath, 7, 23, 3, 3, 0, 2, 1, 1), on(2, opLogon, 0, 1, 0)},
		{{6}, on(0, opLogon, 0, 0, 0), on(0, opTalk, 7, 0), on(0, opKick, 1), on(0, opBeneath, 3, 23, 3, 3), on(0, opClose), on(1, opReset)},
		{{7}, raw(0, logon), raw(0, talk), on(1, opLogon, 1, 0, 0), on(1, opReset), on(0, opKick, 0, 0), on(2, opBeneath, 1, 0)},
		{{2}, on(0, opLogon, 0, 0, 0), on(0, opSystem, 1, 0), on(1, opSystem, 5, 3), on(1, opEnd), on(2, opReset)},
	} {
		f.Add(bytes.Join(input, nil))
	}
	certs := [2]*certificate{nil, newCertificate(f)}
	servers := sync.OnceValue(func() (all [4]*fuzzed) { // of this process, which fuzzes one input at a time
		for i := range all {
			all[i] = newFuzzed(f, 2*(i&1), certs[i>>1])
		}
		return all
	})
	f.Cleanup(func() {
		for _, s := range servers() {
			s.stop()
		}
	})
	f.Fuzz(func(t *testing.T, input []byte) {
		in := &script{input}
		how := in.byte()
		s := servers()[how>>1&3]
		s.run(t, usermgr.RelogonMode(how&1), in)
	})
}

// script is an input, as far as it was not read.
type script struct{ left []byte }

func (s *script) byte() byte {
	if len(s.left) == 0 {
		return 0
	}
	b := s.left[0]
	s.left = s.left[1:]
	return b
}

func (s *script) bytes(n int) []byte {
	n = min(n, len(s.left))
	b := s.left[:n]
	s.left = s.left[n:]
	return b
}

// fuzzed is a server that serves one input after another, each with a user manager of its own.
type fuzzed struct {
	engine *engine.Engine
	bridge *bridge.Bridge
	at     target
	users  atomic.Pointer[contract.Manager]
	stop   func()
}

// Register and Links are those of the input's manager.
func (s *fuzzed) Register(ctx context.Context, l usermgr.Logon, link usermgr.Link) (usermgr.Session, error) {
	return s.users.Load().Register(ctx, l, link)
}

func (s *fuzzed) Links(userID string) []usermgr.Link { return s.users.Load().Links(userID) }

func newFuzzed(t testing.TB, workers int, cert *certificate) *fuzzed {
	nop := zap.NewNop()
	secure, err := cert.config()
	if err != nil {
		t.Fatal(err)
	}
	s := &fuzzed{at: target{CA: cert.authority()}, engine: testkit.Must(engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0", TLS: secure}}, Loops: 2, Workers: workers, Limits: engine.Limits{MaxBody: 1 << 16}, Logger: nop}))}
	s.bridge = testkit.Must(bridge.Attach(s.engine, s, nil, bridge.Config{Logger: nop}))
	s.engine.Handle(echo, func(c *engine.Conn, m *protocol.Message) error {
		defer s.users.Load().Message(c.ID())()
		return c.Reply(m, m.Body)
	})
	if err := s.engine.Listen(); err != nil {
		t.Fatal(err)
	}
	s.at.Addr = s.engine.Addrs()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.engine.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
	return s
}

// run does what an input says.
func (s *fuzzed) run(t *testing.T, mode usermgr.RelogonMode, in *script) {
	users := contract.New(usermgr.Config{RelogonMode: mode, HeartbeatTimeout: -1, Logger: zap.NewNop()})
	users.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) {}})
	s.users.Store(users)
	well, err := dial(s.at)
	if err == nil {
		_, err = well.logOn("healthy")
	}
	if err != nil {
		t.Fatalf("the healthy connection: %v", err)
	}
	f := &fuzzing{s: s, users: users}
	for range 100 {
		if len(in.left) == 0 {
			break
		}
		f.step(in)
	}
	if err := well.ask(1); err != nil {
		t.Errorf("the healthy connection: %v", err)
	}
	for _, p := range f.conns {
		if p != nil {
			if err := p.leave(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := well.ask(2); err != nil {
		t.Errorf("the healthy connection: %v", err)
	}
	if err := well.leave(); err != nil {
		t.Error(err)
	}
	eventually(t, "nothing is left of the input", func() bool { return s.engine.Stats().Conns.Open == 0 && users.Count() == 0 })
	closing, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := users.Close(closing); err != nil {
		t.Errorf("closing the manager: %v", err)
	}
	users.AtRest()
	if err := users.Check(); err != nil {
		t.Error(err)
	}
	if p := s.engine.Stats().HandlerPanics; p > 0 {
		t.Errorf("%d handlers panicked", p)
	}
}

// fuzzing are the connections of an input.
type fuzzing struct {
	s       *fuzzed
	users   *contract.Manager
	conns   [fuzzConns]*fuzzPeer
	session string // the last that a client was told
}

type fuzzPeer struct {
	*peer
	cut []byte // what is still to be sent
}

func (f *fuzzing) step(in *script) {
	b := in.byte()
	p := f.conn(int(b>>4) % fuzzConns)
	if p == nil {
		return
	}
	user := func() string { return []string{"ann", "bob"}[in.byte()&1] }
	switch (b & 15) % opCount {
	case opLogon:
		id, fields := user(), []string{}
		if in.byte()&1 == 1 && f.session != "" {
			fields = []string{protocol.FieldSession, f.session}
		}
		p.send(logonFrame(id, fields...), in.byte())
	case opTalk:
		one := frame(&protocol.Message{Type: echo, ID: 5, UserID: "bob", Body: []byte("hello")})
		p.send(bytes.Repeat(one, int(in.byte()%8)+1), in.byte())
	case opBytes:
		p.send(in.bytes(int(in.byte())), 0)
	case opRest:
		p.send(nil, 0)
	case opSystem:
		p.send(frame(&protocol.Message{Type: 0xFF00 | uint16(in.byte()), ID: 3}), in.byte())
	case opEnd:
		_ = p.CloseWrite()
	case opClose:
		_ = p.Close()
	case opReset:
		p.reset()
	case opBeneath:
		_, _ = p.tcp.Write(in.bytes(int(in.byte())))
	case opListen:
		f.listen(p)
	case opKick:
		if id := user(); in.byte()&1 == 0 {
			_, _ = f.users.Kick(id, &usermgr.KickOptions{Text: "fuzzed"})
		} else {
			_ = f.s.bridge.Send(id, push, make([]byte, 64))
		}
	}
}

// conn returns a connection, which is made when it is first used.
func (f *fuzzing) conn(i int) *fuzzPeer {
	if f.conns[i] == nil {
		p, err := dial(f.s.at)
		if err != nil {
			return nil
		}
		f.conns[i] = &fuzzPeer{peer: p}
	}
	return f.conns[i]
}

// send sends what was cut off before, and b, of which the last bytes are cut off.
func (p *fuzzPeer) send(b []byte, cut byte) {
	b = append(p.cut, b...)
	keep := len(b) - min(int(cut), len(b))
	p.cut = bytes.Clone(b[keep:])
	_ = p.write(b[:keep])
}

// listen reads what comes within a moment.
func (f *fuzzing) listen(p *fuzzPeer) {
	_ = p.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
	var b [4096]byte
	n, _ := p.Read(b[:])
	for left := b[:n]; len(left) > 0; {
		var m protocol.Message
		n, _, err := protocol.Binary.Decode(left, &m, protocol.DecodeOptions{})
		if err != nil || n == 0 {
			return
		}
		if m.Type == protocol.TypeLogon {
			if reply, err := protocol.ParseLogonReply(m.Body); err == nil {
				f.session = reply[protocol.FieldSession]
			}
		}
		left = left[n:]
	}
}

// leave ends the client's side, and reads until the server has ended its own, which it must.
func (p *peer) leave() error {
	defer p.Close()
	_ = p.CloseWrite()
	for {
		_ = p.SetReadDeadline(time.Now().Add(patience))
		var b [4096]byte
		if _, err := p.Read(b[:]); errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the server does not end its side: %w", err)
		} else if err != nil {
			return nil
		}
	}
}
