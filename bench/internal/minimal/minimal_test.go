//go:build linux

package minimal

import (
	"context"
	"encoding/binary"
	"errors"
	"go/build"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

func TestNothingOfRollcallIsImported(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range p.Imports {
		first, _, _ := strings.Cut(path, "/")
		if strings.Contains(first, ".") && path != "github.com/panjf2000/gnet/v2" {
			t.Errorf("%s is imported: neither gnet nor the standard library", path)
		}
	}
}

// booted lets a test stop a Server.
type booted struct {
	*Server
	engine chan gnet.Engine
}

func (b booted) OnBoot(e gnet.Engine) gnet.Action {
	b.engine <- e
	return gnet.None
}

// start runs a server with the handlers of a test: type 1 echoes, type 2 panics, type 3 has the user kicked and is then
// echoed twice.
func start(t *testing.T) (*Server, string) {
	t.Helper()
	addr := testkit.FreeAddr(t)
	s := New(addr, 1, nil, nil)
	s.HandleDefault(func(c *Conn, m *Message) { _ = c.Reply(m, m.Body) })
	s.Handle(2, func(*Conn, *Message) { panic("on purpose") })
	s.Handle(3, func(c *Conn, m *Message) { s.User(m.User).Kick(2002) })
	s.clock.Store(time.Now().UnixNano())
	b := booted{s, make(chan gnet.Engine, 1)}
	ended := make(chan error, 1)
	go func() { ended <- gnet.Run(b, "tcp://"+addr) }()
	select {
	case e := <-b.engine:
		t.Cleanup(func() { _ = e.Stop(context.Background()) })
	case err := <-ended:
		t.Fatal(err)
	}
	return s, addr
}

// logOn opens a connection and binds a user to it.
func logOn(t *testing.T, addr, user string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	logon := appendFrame(nil, 1, 0, 1, []byte(user))
	logon[12] = byte(len(user))
	say(t, c, logon)
	expect(t, c, appendFrame(nil, 1, FlagReply, 1, nil))
	return c
}

func say(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != string(want) {
		t.Fatalf("got %x (%v), want %x", got[:n], err, want)
	}
}

func expectEnd(t *testing.T, c net.Conn, code uint16) {
	t.Helper()
	expect(t, c, appendClose(nil, code))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection goes on: %d bytes, %v", n, err)
	}
}

func TestFramesAreEchoedHoweverTheyAreCut(t *testing.T) {
	s, addr := start(t)
	c, other := logOn(t, addr, "ann"), logOn(t, addr, "bob")
	var in, out []byte
	for id := range uint32(20) {
		body := []byte(strings.Repeat("x", int(id)))
		f := appendFrame(nil, 1, 0, id, body)
		if id%3 == 0 { // with both user IDs
			f = appendFrame(nil, 1, 0, id, append([]byte("annbob"), body...))
			f[12], f[13] = 3, 3
		}
		in, out = append(in, f...), append(out, appendFrame(nil, 1, FlagReply, id, body)...)
	}
	say(t, c, in)
	expect(t, c, out)
	for len(in) > 0 {
		n := min(7, len(in))
		say(t, c, in[:n])
		in = in[n:]
		say(t, other, appendFrame(nil, 1, 0, 1, nil)) // the loop has read what came before when it answers
		expect(t, other, appendFrame(nil, 1, FlagReply, 1, nil))
	}
	expect(t, c, out)
	conn := s.User("ann")
	if n := conn.received.messages.Load(); n != 41 {
		t.Errorf("%d messages are counted, want 41", n)
	}
	want := uint64(headerLen + 2*len(out))
	testkit.Eventually(t, "the bytes sent are counted", func() bool { return conn.sent.bytes.Load() == want }) // after they are written
}

func TestAPanicEndsItsConnectionAlone(t *testing.T) {
	_, addr := start(t)
	c, other := logOn(t, addr, "ann"), logOn(t, addr, "bob")
	say(t, c, appendFrame(appendFrame(nil, 2, 0, 5, nil), 1, 0, 6, nil))
	expectEnd(t, c, codeInternalError)
	say(t, other, appendFrame(nil, 1, 0, 7, nil))
	expect(t, other, appendFrame(nil, 1, FlagReply, 7, nil))
}

func TestNothingIsHandledAfterAKick(t *testing.T) {
	s, addr := start(t)
	c := logOn(t, addr, "ann")
	say(t, c, appendFrame(appendFrame(nil, 3, 0, 5, nil), 1, 0, 6, nil))
	expectEnd(t, c, 2002)
	testkit.Eventually(t, "the user has gone", func() bool { return s.User("ann") == nil })
}

func TestASecondLogonPushesTheFirstOut(t *testing.T) {
	s, addr := start(t)
	first := logOn(t, addr, "ann")
	old := s.User("ann")
	second := logOn(t, addr, "ann")
	expectEnd(t, first, codePushedOut)
	if now := s.User("ann"); now == nil || now == old {
		t.Errorf("ann is %p, was %p", now, old)
	}
	say(t, second, appendFrame(nil, 1, 0, 7, nil))
	expect(t, second, appendFrame(nil, 1, FlagReply, 7, nil))
}

func TestWhatBreaksTheProtocolIsRefused(t *testing.T) {
	_, addr := start(t)
	for name, frame := range map[string][]byte{
		"magic":  append([]byte("GET"), make([]byte, headerLen)...),
		"type 0": appendFrame(nil, 0, 0, 1, nil),
		"length": binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, begins<<48|1<<32|maxBody+1), 0),
		"IDs":    binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, begins<<48|1<<32|5), 9<<24),
	} {
		t.Run(name, func(t *testing.T) {
			c := logOn(t, addr, "user"+name)
			say(t, c, frame)
			expectEnd(t, c, codeInvalidMessage)
		})
	}
}

func TestSentAndBroadcastKeepTheirOrder(t *testing.T) {
	s, addr := start(t)
	c := logOn(t, addr, "ann")
	conn := s.User("ann")
	var want []byte
	for i := range 1000 {
		body := []byte{byte(i), byte(i >> 8)}
		if err := conn.Send(7, body); err != nil {
			t.Fatal(err)
		}
		want = appendFrame(want, 7, 0, 0, body)
	}
	expect(t, c, want)
	s.Broadcast([]*Conn{conn}, 8, []byte("all"))
	expect(t, c, appendFrame(nil, 8, 0, 0, []byte("all")))
}

func TestWhoIsSilentIsFound(t *testing.T) {
	s := New("", 1, nil, nil)
	now := time.Now().UnixNano()
	stranger, silent, lively := new(Conn), new(Conn), new(Conn)
	for _, c := range []*Conn{stranger, silent, lively} {
		s.watch.begin(c, now)
	}
	silent.active.Store(now)
	found := make(map[*Conn]time.Duration)
	for at := time.Duration(0); at < 2*silenceTimeout; at += clockTick {
		lively.active.Store(now + int64(at))
		for _, c := range s.watch.silent(now + int64(at)) {
			found[c] = at
		}
	}
	if at := found[stranger]; at < logonTimeout || at > logonTimeout+2*watchTick {
		t.Errorf("a connection without a logon is found after %v", at)
	}
	if at := found[silent]; at < silenceTimeout || at > silenceTimeout+2*watchTick {
		t.Errorf("a silent user is found after %v", at)
	}
	if len(found) != 2 {
		t.Errorf("%d are found, want 2", len(found))
	}
}

// BenchmarkDeliver is what a message of 64 B takes without a socket, 32 of them in a read.
func BenchmarkDeliver(b *testing.B) {
	s := New("", 1, nil, nil)
	s.HandleDefault(func(c *Conn, m *Message) { _ = c.Reply(m, m.Body) })
	c := &Conn{server: s, loop: new(loop)}
	logon := appendFrame(nil, 1, 0, 1, []byte("ann"))
	logon[12] = 3
	if used, _ := s.deliver(c, logon); used != len(logon) {
		b.Fatal("the logon was not taken")
	}
	const frames = 32
	var in []byte
	for range frames {
		in = appendFrame(in, 1, 0, 1, make([]byte, 64-headerLen))
	}
	for i := 0; i < b.N; i += frames {
		c.loop.replies.reset()
		if used, _ := s.deliver(c, in); used != len(in) {
			b.Fatalf("%d of %d bytes were taken", used, len(in))
		}
	}
}
