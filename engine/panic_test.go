package engine_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// eachFailure runs a test with a panic and with a Goexit, which t.FailNow is: one is to be as harmless as the other.
func eachFailure(t *testing.T, test func(t *testing.T, fail func())) {
	t.Run("panic", func(t *testing.T) { test(t, func() { panic("on purpose") }) })
	t.Run("Goexit", func(t *testing.T) { test(t, runtime.Goexit) })
}

// gnet has no recover. Rule 15: a panic in a message handler ends its connection with InternalError, and nothing else. What
// was answered before goes out.
func TestAPanicInAHandlerEndsItsConnectionAlone(t *testing.T) {
	eachFailure(t, func(t *testing.T, fail func()) {
		for _, workers := range []int{0, 2} {
			t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
				e := newEngine(engine.Config{Workers: workers})
				g := newGate(t, e)
				e.Handle(1, echo)
				e.Handle(2, func(*engine.Conn, *protocol.Message) error { fail(); return nil })
				e.Handle(9, echo)
				r := serve(t, e)
				check := healthy(t, r.addr)
				receive(t, "the healthy connection", g.arrived)
				for range 3 {
					p, b := g.enter(t, r.addr)
					p.read()
					p.send(protocol.Message{Type: 1, ID: 1}, protocol.Message{Type: 2}, protocol.Message{Type: 1, ID: 2})
					if m := p.read(); m.ID != 1 {
						t.Errorf("got %v", m)
					}
					p.wantClose(protocol.InternalError)
					b.wantEnd(t, protocol.InternalError)
				}
				check()
				if n := e.Stats().HandlerPanics; n != 3 {
					t.Errorf("%d panics were counted, want 3", n)
				}
			})
		}
	})
}

// gnet has no recover: a panic in an Admission, or in its Binding, ends that connection with InternalError, and nothing else:
// with its first message, and later.
func TestAPanicInAnAdmissionEndsItsConnectionAlone(t *testing.T) {
	eachFailure(t, func(t *testing.T, fail func()) {
		for _, where := range []string{"First", "Beat", "Received", "Sent", "Beat, later", "Received, later", "Sent, later", "Ended, later"} {
			t.Run(where, func(t *testing.T) {
				e := newEcho(engine.Config{Loops: 1})
				g := newGate(t, e)
				r := serve(t, e)
				check := healthy(t, r.addr)
				healthyOne := receive(t, "the healthy connection", g.arrived)
				eventually(t, "the healthy connection's first answer", func() bool { return healthyOne.sent.Load() > 0 })

				method, later := strings.CutSuffix(where, ", later")
				var armed atomic.Bool
				armed.Store(!later)
				bad := &gate{arrived: make(chan *binding, 1), panic: func(at string) {
					if at == method && armed.Load() {
						fail()
					}
				}}
				if where == "First" {
					bad.first = func(engine.Control, *protocol.Message, *binding) { fail() }
				}
				g.swap(bad) // for the next connection
				p := dial(t, r.addr)
				p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
				b := receive(t, "a connection", bad.arrived)
				if later {
					p.read()
					eventually(t, "the count", func() bool { return b.sent.Load() == 1 })
					armed.Store(true)
					if method == "Ended" {
						_ = p.Close()
						receive(t, "Ended", b.firstEnd)
					} else {
						p.send(protocol.Message{Type: 1, ID: 2})
					}
				}
				if method != "Ended" {
					m := p.read()
					if m.Type != protocol.TypeClose {
						m = p.read() // the panic came after the answer
					}
					wantNotice(t, m, protocol.InternalError)
					p.wantEOF()
					_ = p.Close()
				}
				eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 1 })
				check()
			})
		}
	})
}

// gnet has no recover: a panic in a Binding that counts what goes out when the peer has ended the connection ends nothing
// else. What is queued then is written in gnet's OnClose.
func TestAPanicInABindingAtTheEndEndsItsConnectionAlone(t *testing.T) {
	eachFailure(t, func(t *testing.T, fail func()) {
		e := newEngine(engine.Config{Loops: 1})
		e.HandleDefault(echo)
		entered, release := make(chan struct{}), make(chan struct{})
		e.Handle(2, func(*engine.Conn, *protocol.Message) error {
			close(entered)
			<-release
			return nil
		})
		g := newGate(t, e)
		r := serve(t, e)
		check := healthy(t, r.addr)
		receive(t, "the healthy connection", g.arrived)
		blocker, _ := g.enter(t, r.addr)
		var armed, panicked atomic.Bool
		bad := &gate{arrived: make(chan *binding, 1), panic: func(at string) {
			if at == "Sent" && armed.Load() {
				panicked.Store(true)
				fail()
			}
		}}
		g.swap(bad)
		p, b := bad.enter(t, r.addr)
		p.read()
		armed.Store(true)
		blocker.send(protocol.Message{Type: 2})
		receive(t, "the handler", entered)
		_ = p.Close() // the loop hears of this first
		if err := b.conn.Send(1, nil); err != nil {
			t.Error(err)
		}
		close(release)
		receive(t, "Ended", b.firstEnd)
		eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 2 })
		if !panicked.Load() {
			t.Error("nothing panicked")
		}
		check()
	})
}

// gnet has no recover: a panic in what an application gave a connection to call.
func TestAPanicInACallbackEndsItsConnectionAlone(t *testing.T) {
	eachFailure(t, func(t *testing.T, fail func()) {
		for _, workers := range []int{0, 2} {
			for _, c := range []struct {
				name string
				end  func(p *peer, request protocol.Message)
			}{
				{"a reply", func(p *peer, request protocol.Message) {
					p.send(protocol.Message{Type: request.Type, ID: request.ID, Flags: protocol.FlagReply})
					p.wantClose(protocol.InternalError)
				}},
				{"a timeout", func(p *peer, _ protocol.Message) { p.wantClose(protocol.InternalError) }},
				{"the connection's end", func(p *peer, _ protocol.Message) { _ = p.Close() }},
			} {
				t.Run(fmt.Sprintf("%s, %d workers", c.name, workers), func(t *testing.T) {
					e := newEngine(engine.Config{Workers: workers})
					e.Handle(9, echo)
					called := make(chan error, 1)
					timeout := time.Minute
					if c.name == "a timeout" {
						timeout = 20 * time.Millisecond
					}
					e.Handle(1, func(conn *engine.Conn, _ *protocol.Message) error {
						_ = conn.RequestFunc(1, nil, timeout, func(_ *protocol.Message, err error) {
							called <- err
							fail()
						})
						return nil
					})
					r := serve(t, e)
					check := healthy(t, r.addr)
					p := dial(t, r.addr)
					p.send(protocol.Message{Type: 1})
					c.end(p, p.read())
					receive(t, "the callback", called)
					_ = p.Close()
					eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 1 })
					check()
					if n := e.Stats().HandlerPanics; n != 1 {
						t.Errorf("%d panics were counted, want 1", n)
					}
				})
			}
		}
	})
}

// gnet has no recover: a panic in a task that was posted to an event loop is counted once, and ends its connection at most.
func TestAPanicInATaskEndsNothing(t *testing.T) {
	for name, post := range map[string]func(c *engine.Conn, f func()){
		"Quiesce": func(c *engine.Conn, f func()) { engine.ControlOf(c).Quiesce(f) },
		"Look":    func(c *engine.Conn, f func()) { seam.ConnOf(c).Look(func(bool) { f() }) },
	} {
		t.Run(name, func(t *testing.T) {
			eachFailure(t, func(t *testing.T, fail func()) {
				e := newEcho(engine.Config{})
				g := newGate(t, e)
				r := serve(t, e)
				check := healthy(t, r.addr)
				receive(t, "the healthy connection", g.arrived)
				p, b := g.enter(t, r.addr)
				called := make(chan struct{})
				post(b.conn, func() {
					close(called)
					fail()
				})
				receive(t, "done", called)
				_ = p.Close()
				eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 1 })
				check()
				if n := e.Stats().HandlerPanics; n != 1 {
					t.Errorf("%d panics were counted, want 1", n)
				}
			})
		})
	}
}

// panickyCodec is Binary until it meets the body "panic".
type panickyCodec struct {
	decode, encode bool
	fail           func()
}

func (c *panickyCodec) Decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (n, need int, err error) {
	n, need, err = protocol.Binary.Decode(src, m, o)
	if c.decode && n > 0 && string(m.Body) == "panic" {
		c.fail()
	}
	return n, need, err
}

func (c *panickyCodec) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	if c.encode && string(m.Body) == "panic" {
		c.fail()
	}
	return protocol.Binary.Append(dst, m)
}

// gnet has no recover: a panic while a codec decodes ends its connection with InternalError, and nothing else.
func TestAPanicInDecodeEndsItsConnectionAlone(t *testing.T) {
	eachFailure(t, func(t *testing.T, fail func()) {
		e := newEcho(engine.Config{Listeners: []engine.Listener{{Codec: &panickyCodec{decode: true, fail: fail}}}})
		r := serve(t, e)
		check := healthy(t, r.addr)
		p := dial(t, r.addr)
		p.ask(1, 1, "fine")
		p.send(protocol.Message{Type: 1, ID: 2, Body: []byte("panic")}, protocol.Message{Type: 1, ID: 3})
		p.wantClose(protocol.InternalError)
		_ = p.Close()
		eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 1 })
		check()
	})
}

// A panic while a codec encodes is the sender's error, and where that was an answer the asker is told that there is none. No lock
// stays held.
func TestAPanicInAppendIsTheSendersError(t *testing.T) {
	e := newEcho(engine.Config{Listeners: []engine.Listener{{Codec: &panickyCodec{encode: true, fail: func() { panic("in Append") }}}}})
	errs := make(chan error, 2)
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		errs <- c.Send(1, []byte("panic"))
		errs <- c.Reply(m, []byte("panic"))
		return nil
	})
	r := serve(t, e)
	check := healthy(t, r.addr)
	p := dial(t, r.addr)
	for id := range uint32(3) {
		p.send(protocol.Message{Type: 1, ID: id + 1})
		if m := p.read(); m.ID != id+1 || m.Flags&protocol.FlagError == 0 {
			t.Errorf("got %v, want an error reply", m)
		}
		for range 2 {
			if receive(t, "an outcome", errs) == nil {
				t.Error("no error came back")
			}
		}
	}
	check()
}

// A Goexit while a codec encodes ends the goroutine that sends, and leaves no lock held: every way of sending, with each
// policy. Where that is a handler's the connection ends with InternalError.
func TestAGoexitInAppendEndsTheSenderAlone(t *testing.T) {
	e := newEcho(engine.Config{Listeners: []engine.Listener{{Codec: &panickyCodec{encode: true, fail: runtime.Goexit}}}})
	conns := make(chan *engine.Conn, 1)
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		conns <- c
		return c.Reply(m, []byte("fine"))
	})
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte("panic")) })
	e.Handle(3, func(c *engine.Conn, m *protocol.Message) error { _ = c.Send(1, []byte("panic")); return nil })
	r := serve(t, e)
	check := healthy(t, r.addr)
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	c := receive(t, "the connection", conns)
	bad := &protocol.Message{Type: 1, Body: []byte("panic")}
	for i, send := range []func(){
		func() { _ = c.Send(1, bad.Body) },
		func() { _ = c.SendMessage(bad, &engine.SendOptions{Policy: engine.SlowDropNewest}) },
		func() { _ = c.SendMessage(bad, &engine.SendOptions{Policy: engine.SlowLatest}) },
		func() { _ = c.RequestFunc(1, bad.Body, 0, func(*protocol.Message, error) {}) },
		func() { _, _ = r.Broadcast(slices.Values([]*engine.Conn{c}), bad, nil) },
	} {
		ended := make(chan struct{})
		returned := false
		go func() {
			defer close(ended)
			send()
			returned = true
		}()
		receive(t, "the end of the goroutine that sends", ended)
		if returned {
			t.Errorf("send %d returned", i)
		}
		if got := string(p.ask(1, uint32(i+2), "").Body); got != "fine" {
			t.Errorf("after send %d: got %q", i, got)
		}
		receive(t, "the connection", conns)
	}
	for _, typ := range []uint16{2, 3} {
		p := dial(t, r.addr)
		p.send(protocol.Message{Type: typ, ID: 1})
		p.wantClose(protocol.InternalError)
	}
	check()
}

// noticePanicCodec cannot encode the notice that a connection is one too many.
type noticePanicCodec struct {
	protocol.Codec
	fail func()
}

func (c *noticePanicCodec) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	if m.Type == protocol.TypeClose {
		c.fail()
	}
	return c.Codec.Append(dst, m)
}

// gnet has no recover: a panic in a notice ends nothing else either, on whichever goroutine it is encoded.
func TestAPanicInANoticeEndsNothing(t *testing.T) {
	eachFailure(t, func(t *testing.T, fail func()) {
		e := newEcho(engine.Config{Listeners: []engine.Listener{{Codec: &noticePanicCodec{Codec: protocol.Binary, fail: fail}}}, Accept: engine.Accept{MaxConnections: 2}})
		e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error { c.Close(protocol.KickedOut); return nil })
		r := serve(t, e)
		check := healthy(t, r.addr)
		p := dial(t, r.addr)
		p.ask(1, 1, "")
		stranger := dial(t, r.addr)
		if m, err := stranger.next(); err == nil {
			t.Errorf("a stranger got a message of type %#x", m.Type)
		}
		p.send(protocol.Message{Type: 2})
		p.wantEOF()
		_ = p.Close()
		eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 1 })
		check()
	})
}
