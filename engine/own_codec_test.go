package engine_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// serialCodec is a wire format whose frames are numbered and name the user of the connection; it reads lines. It notices when two
// of its methods run at once.
type serialCodec struct {
	serial  uint32
	got     int
	running atomic.Bool
}

func (c *serialCodec) enter() func() {
	if c.running.Swap(true) {
		panic("two at once")
	}
	return func() { c.running.Store(false) }
}

func (c *serialCodec) Decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (n, need int, err error) {
	defer c.enter()()
	line, _, whole := strings.Cut(string(src), "\n")
	if !whole {
		return 0, len(src) + 1, nil
	}
	c.got++
	bound := m.UserID
	*m = protocol.Message{Type: 1, ID: uint32(c.got), UserID: bound, Body: []byte(line)}
	if o.First {
		*m = protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: line}
	}
	return len(line) + 1, 0, nil
}

// Append writes the length of what follows, the serial number, the user, a 0, the type and the body.
func (c *serialCodec) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	defer c.enter()()
	switch string(m.Body) {
	case "no frame":
		return dst, nil
	case "refuse":
		return dst, errors.New("refused")
	case "panic":
		panic("in Append")
	}
	c.serial++
	dst = binary.BigEndian.AppendUint32(dst, uint32(4+len(m.DestUserID)+1+2+len(m.Body)))
	dst = binary.BigEndian.AppendUint32(dst, c.serial)
	dst = append(append(dst, m.DestUserID...), 0)
	dst = binary.BigEndian.AppendUint16(dst, m.Type)
	return append(dst, m.Body...), nil
}

// serialFrame is a frame of serialCodec's.
type serialFrame struct {
	serial uint32
	user   string
	typ    uint16
	body   string
}

// readSerial reads the next frame, and wants its number.
func (p *peer) readSerial(want uint32) (f serialFrame, err error) {
	_ = p.SetReadDeadline(time.Now().Add(patience))
	var size [4]byte
	if _, err := io.ReadFull(p.Conn, size[:]); err != nil {
		return f, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p.Conn, b); err != nil {
		return f, err
	}
	f.serial = binary.BigEndian.Uint32(b)
	user, rest, _ := strings.Cut(string(b[4:]), "\x00")
	f.user, f.typ, f.body = user, binary.BigEndian.Uint16([]byte(rest)), rest[2:]
	if f.serial != want {
		return f, fmt.Errorf("frame %d has the number %d", want, f.serial)
	}
	return f, nil
}

func newSerial() protocol.Codec { return new(serialCodec) }

// Frames of a codec with state go out in the order in which they are encoded, from every sender and by every way to send, from
// admission to the end. Each names the bound user.
func TestACodecOfItsOwnEncodesInTheOrderOfTheWire(t *testing.T) {
	const lines = 100
	sec := newSecurity(t)
	for name, tc := range map[string]struct {
		cfg    engine.Config
		secure bool
	}{
		"on the loop":                {engine.Config{}, false},
		"with Workers":               {engine.Config{Workers: 2}, false},
		"TLS":                        {engine.Config{}, true},
		"with a limit on requests":   {engine.Config{Limits: engine.Limits{MaxRequests: 1000}}, false},
		"drops the newest":           {engine.Config{SlowPolicy: engine.SlowDropNewest}, false},
		"drops the oldest":           {engine.Config{SlowPolicy: engine.SlowDropOldest, Limits: engine.Limits{MaxOutbound: 64 << 10}}, false},
		"keeps the latest, and TLS":  {engine.Config{SlowPolicy: engine.SlowLatest, Limits: engine.Limits{MaxOutbound: 64 << 10}, Workers: 2}, true},
		"with a budget of memory":    {engine.Config{Limits: engine.Limits{MaxMemory: 1 << 30}}, false},
		"closes for too much, later": {engine.Config{Limits: engine.Limits{MaxOutbound: 128 << 10}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := engine.Listener{Addr: "127.0.0.1:0", NewCodec: newSerial}
			if tc.secure {
				l.TLS = sec.server
			}
			tc.cfg.Listeners = []engine.Listener{l}
			e := newEngine(tc.cfg)
			var handled atomic.Int32
			halfHandled := make(chan struct{})
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
				_ = c.Reply(m, m.Body)
				_ = c.Send(3, []byte("refuse"))
				_ = c.Send(3, []byte("no frame"))
				_ = c.Send(3, m.Body)
				if handled.Add(1) == lines/2 {
					close(halfHandled)
				}
				return c.Reply(m, m.Body)
			})
			g := newGate(t, e)
			letIn := make(chan *binding, 1)
			g.first = func(k engine.Control, m *protocol.Message, b *binding) { letIn <- b }
			r := serve(t, e)
			p := dial(t, r.addr)
			if tc.secure {
				p = shakeHands(t, p.Conn, sec.client)
			}
			p.sendRaw([]byte("ann\n"))
			b := receive(t, "the connection", letIn)
			if err := b.conn.Send(2, []byte("before the answer")); err != nil {
				t.Error(err)
			}
			b.Admit(&engine.Admitted{UserID: "ann", Binding: b,
				Reply: &protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: 1, Body: []byte("welcome")}})
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					for range 200 {
						_ = b.conn.Send(4, make([]byte, 100*i))
						_, _ = e.Broadcast(slices.Values([]*engine.Conn{b.conn}), &protocol.Message{Type: 5, UserID: "bob", Body: make([]byte, 300)}, nil)
						_ = b.conn.SendMessage(&protocol.Message{Type: 6, Body: []byte("keyed")}, &engine.SendOptions{Policy: engine.SlowLatest})
					}
				})
			}
			go func() {
				for i := range lines {
					_, _ = fmt.Fprintf(p, "line %d\n", i)
				}
			}()
			go func() {
				wg.Wait()
				select {
				case <-halfHandled: // handlers still send
				case <-b.conn.Context().Done(): // too much waited for it
				}
				b.conn.Close(protocol.Errorf(protocol.KickedOut, "enough"))
			}()
			for serial := uint32(1); ; serial++ {
				f, err := p.readSerial(serial)
				if err != nil {
					t.Fatal(err)
				}
				if f.user != "ann" {
					t.Fatalf("frame %d names %q", serial, f.user)
				}
				if serial == 1 && f.body != "welcome" || serial == 2 && f.body != "before the answer" {
					t.Errorf("frame %d is %q", serial, f.body)
				}
				if f.typ == protocol.TypeClose {
					break
				}
			}
		})
	}
}

// A connection whose codec panics has no more to say, and ends alone; a client that is not let in gets a frame of a codec of its
// own; a message to another keeps its destination.
func TestACodecOfItsOwnFailsAlone(t *testing.T) {
	made := atomic.Int32{}
	e := newEngine(engine.Config{Accept: engine.Accept{MaxConnections: 2}, Timeouts: engine.Timeouts{Close: time.Second}, Listeners: []engine.Listener{{Addr: "127.0.0.1:0", NewCodec: func() protocol.Codec {
		made.Add(1)
		return new(serialCodec)
	}}}})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		if string(m.Body) == "to bob" {
			_ = c.SendMessage(&protocol.Message{Type: 1, DestUserID: "bob"}, nil)
			return nil
		}
		return c.Reply(m, m.Body)
	})
	r := serve(t, e)
	a, b := dial(t, r.addr), dial(t, r.addr)
	for _, p := range []*peer{a, b} {
		p.sendRaw([]byte("ann\nhello\n"))
		_, _ = p.readSerial(1) // no Logon is answered here
		if f, err := p.readSerial(2); err != nil || f.body != "hello" {
			t.Fatal(f, err)
		}
	}
	third := dial(t, r.addr)
	if f, err := third.readSerial(1); err != nil || f.typ != protocol.TypeClose {
		t.Errorf("one too many is told %v, %v", f, err)
	}
	a.sendRaw([]byte("panic\n"))
	if f, err := a.readSerial(3); err == nil {
		t.Errorf("after a panic comes %v", f)
	}
	eventually(t, "the end", func() bool { return e.Stats().Closed[protocol.InternalError] == 1 })
	b.sendRaw([]byte("to bob\nrefuse\nhello\n"))
	if f, err := b.readSerial(3); err != nil || f.user != "bob" {
		t.Error(f, err)
	}
	// The answer that was refused is one that could not be sent, which the client is told.
	if f, err := b.readSerial(4); err != nil || !strings.Contains(f.body, "could not be sent") {
		t.Error(f, err)
	}
	if f, err := b.readSerial(5); err != nil || f.body != "hello" {
		t.Error(f, err)
	}
	if n := made.Load(); n != 3 {
		t.Errorf("%d codecs were made, want 3", n)
	}
}

func TestWhatNewCodecCannotBe(t *testing.T) {
	wantNoEngine(t, "NewCodec", engine.Config{Listeners: []engine.Listener{{Codec: protocol.Line, NewCodec: newSerial}}})
	for name, f := range map[string]func() protocol.Codec{"nil": func() protocol.Codec { return nil }, "a panic": func() protocol.Codec { panic("no codec") }} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0", NewCodec: f}, {Addr: "127.0.0.1:0"}}})
			e.HandleDefault(echo)
			r := serve(t, e)
			if _, err := dial(t, r.addr).Read(make([]byte, 1)); err == nil {
				t.Error("the connection is open")
			}
			dial(t, e.Addrs()[1].String()).ask(1, 1, "the other listener serves")
			eventually(t, "its place is free", func() bool { return e.Stats().Refused.Failed == 1 })
		})
	}
}

// slowSerial is a serialCodec that takes its time over one frame.
type slowSerial struct {
	serialCodec
	entered, release chan struct{}
}

func (c *slowSerial) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	if string(m.Body) == "slow" {
		defer c.enter()()
		close(c.entered)
		<-c.release
		return dst, nil
	}
	return c.serialCodec.Append(dst, m)
}

// A reply on the loop waits while another goroutine's frame is being encoded, and so does what is read.
func TestAReplyDoesNotPassAFrameThatIsBeingEncoded(t *testing.T) {
	codec := &slowSerial{entered: make(chan struct{}), release: make(chan struct{})}
	e := newEngine(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0", NewCodec: func() protocol.Codec { return codec }}}})
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		go func() { _ = c.Send(3, []byte("slow")) }()
		<-codec.entered
		time.AfterFunc(5*time.Millisecond, func() { close(codec.release) })
		return c.Reply(m, m.Body)
	})
	p := dial(t, serve(t, e).addr)
	p.sendRaw([]byte("ann\nhello\n"))
	_, _ = p.readSerial(1) // that a Logon has no handler
	if f, err := p.readSerial(2); err != nil || f.body != "hello" {
		t.Error(f, err)
	}
}

// Rule 14: a half-closed connection gets replies only, whatever its codec.
func TestAHalfClosedConnectionWithACodecOfItsOwnGetsRepliesOnly(t *testing.T) {
	e := newEngine(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0", NewCodec: newSerial}}})
	conns, release := make(chan *engine.Conn, 1), make(chan struct{})
	e.Handle(1, engine.Async(func(c *engine.Conn, m *protocol.Message) error {
		conns <- c
		<-release
		return c.Reply(m, m.Body)
	}))
	p := dial(t, serve(t, e).addr)
	p.sendRaw([]byte("ann\nhello\n"))
	_, _ = p.readSerial(1) // that a Logon has no handler
	c := receive(t, "the request", conns)
	p.endSide()
	eventually(t, "the peer's end", func() bool { // a request that is taken cannot be encoded
		return errors.Is(c.RequestFunc(2, []byte("refuse"), 0, func(*protocol.Message, error) {}), engine.ErrClosed)
	})
	m := &protocol.Message{Type: 3, Body: []byte("no reply")}
	if err := c.Send(m.Type, m.Body); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("Send returned %v", err)
	}
	for _, policy := range []engine.SlowPolicy{engine.SlowClose, engine.SlowDropNewest, engine.SlowLatest} {
		if err := c.SendMessage(m, &engine.SendOptions{Policy: policy}); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("SendMessage with policy %d returned %v", policy, err)
		}
	}
	close(release)
	if f, err := p.readSerial(2); err != nil || f.body != "hello" {
		t.Error(f, err)
	}
	if f, err := p.readSerial(3); err == nil {
		t.Errorf("after the reply comes %v", f)
	}
}
