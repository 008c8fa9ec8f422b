package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 14; gnet: a Close drops what is pending. What was queued before a close arrives whole before the end, however slow the
// peer is.
func TestAGracefulCloseDeliversWhatWasQueued(t *testing.T) {
	eachLayer(t, aGracefulCloseDeliversWhatWasQueued)
}

func aGracefulCloseDeliversWhatWasQueued(t *testing.T) {
	size := transportOf(t).fills(kernelBuffers)
	for name, send := range map[string]func(c *engine.Conn, m *protocol.Message, body []byte) error{
		"Reply": func(c *engine.Conn, m *protocol.Message, body []byte) error { return c.Reply(m, body) },
		"Send":  func(c *engine.Conn, m *protocol.Message, body []byte) error { return c.Send(m.Type, body) },
	} {
		t.Run(name, func(t *testing.T) {
			body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			e := newEngine(engine.Config{Limits: engine.Limits{MaxBody: size, MaxOutbound: 2 * size}, Timeouts: engine.Timeouts{Close: time.Minute}})
			closed := make(chan error, 1)
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
				err := send(c, m, body)
				c.Close(protocol.Errorf(protocol.KickedOut, "enough"))
				closed <- err
				return nil
			})
			r := serve(t, e)
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 1, ID: 1})
			if err := receive(t, "the close", closed); err != nil {
				t.Fatal(err)
			}
			dial(t, r.addr) // the loops go on meanwhile
			if m := p.read(); !bytes.Equal(m.Body, body) {
				t.Errorf("got %d bytes, and not those that were sent", len(m.Body))
			}
			p.wantClose(protocol.KickedOut)
		})
	}
}

// Rule 14: the notice reaches a peer that has sent what the server does not want to read.
func TestAPeerThatSentGarbageGetsItsNotice(t *testing.T) {
	eachLayer(t, aPeerThatSentGarbageGetsItsNotice)
}

func aPeerThatSentGarbageGetsItsNotice(t *testing.T) {
	r := serve(t, newEcho(engine.Config{}))
	check := healthy(t, r.addr)
	for range 10 / lighter {
		p := dial(t, r.addr)
		p.sendRaw(bytes.Repeat([]byte("garbage "), 1<<20/8))
		p.wantClose(protocol.InvalidMessage)
	}
	check()
}

// Rule 14: a peer that takes nothing, or takes everything and does not end its side, is gone at Timeouts.Close.
func TestAPeerThatDoesNotGoIsGoneAtCloseTimeout(t *testing.T) {
	eachLayer(t, aPeerThatDoesNotGoIsGoneAtCloseTimeout)
}

func aPeerThatDoesNotGoIsGoneAtCloseTimeout(t *testing.T) {
	const timeout = 300 * time.Millisecond
	e := newEngine(engine.Config{Timeouts: engine.Timeouts{Close: timeout}, Limits: engine.Limits{MaxOutbound: 64 << 20}})
	closed := make(chan time.Time, 1)
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		for range int(m.ID) {
			_ = c.Send(1, make([]byte, 1<<20))
		}
		began := time.Now()
		c.Close(protocol.KickedOut)
		closed <- began
		return nil
	})
	r := serve(t, e)
	tooMuch := uint32(transportOf(t).fills(kernelBuffers)>>20 + 1)
	for name, megabytes := range map[string]uint32{"takes nothing": tooMuch, "does not end its side": 0} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 1, ID: megabytes})
			if megabytes == 0 && !transportOf(t).halfCloses() {
				p.wantClose(protocol.KickedOut) // there is no end of one side to wait for
				return
			}
			if megabytes == 0 {
				p.wantClose(protocol.KickedOut)
			}
			began := receive(t, "the close", closed)
			eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
			if took := time.Since(began); took < timeout {
				t.Errorf("gone after %v, Timeouts.Close is %v", took, timeout)
			}
		})
	}
}

// Rule 14: after Close nothing more of the same read is delivered, and nothing can be sent.
func TestAfterCloseNothingIsDeliveredAndNothingSent(t *testing.T) {
	eachTransportThat(t, (*transport).halfCloses, afterCloseNothingIsDeliveredAndNothingSent)
}

func afterCloseNothingIsDeliveredAndNothingSent(t *testing.T) {
	e := newEngine(engine.Config{})
	g := newGate(t, e)
	handled := make(chan uint32, 10)
	sent := make(chan error, 3)
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		handled <- m.ID
		if m.ID < 3 {
			return nil
		}
		c.Close(protocol.Errorf(protocol.KickedOut, "first"))
		c.Close(protocol.Errorf(protocol.InternalError, "second"))
		sent <- c.Reply(m, nil)
		sent <- c.Send(1, nil)
		sent <- c.RequestFunc(1, nil, 0, func(*protocol.Message, error) { t.Error("a request that was refused was finished") })
		return nil
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	var ms []protocol.Message
	for id := range uint32(10) {
		ms = append(ms, protocol.Message{Type: 1, ID: id + 1, UserID: "ann"})
	}
	p.send(ms...)
	p.wantClose(protocol.KickedOut)
	receive(t, "a connection", g.arrived).wantEnd(t, protocol.KickedOut)
	for range cap(sent) {
		if err := receive(t, "an outcome", sent); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("sending after Close returned %v", err)
		}
	}
	p.send(ms...) // thrown away
	p.endSide()
	eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
	if len(handled) != 3 {
		t.Errorf("%d messages were delivered, want 3", len(handled))
	}
}

// Rule 14: what went out before the close comes before the notice, in its order.
func TestTheNoticeGoesLast(t *testing.T) { eachTransport(t, theNoticeGoesLast) }

func theNoticeGoesLast(t *testing.T) {
	e := newEngine(engine.Config{})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		for i := range uint32(100) {
			if i%2 == 0 {
				_ = c.Reply(m, []byte(fmt.Sprint(i)))
			} else {
				_ = c.Send(1, []byte(fmt.Sprint(i)))
			}
		}
		c.Close(protocol.ServerStopping)
		return nil
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, ID: 1})
	for i := range 100 {
		if m := p.read(); string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Body)
		}
	}
	p.wantClose(protocol.ServerStopping)
}

// docs/protocol.md, "Closing, and coming back": how a peer ends a connection says why.
func TestThePeersEndHasItsCode(t *testing.T) {
	eachTransportThat(t, func(tr *transport) bool { return tr.secure == nil && !tr.web && !tr.piped }, thePeersEndHasItsCode)
}

func thePeersEndHasItsCode(t *testing.T) {
	whole := frame(t, protocol.Message{Type: 1, Body: []byte("hello")})
	for _, c := range []struct {
		name string
		end  func(p *peer)
		code protocol.CloseCode
	}{
		{"a Close message", func(p *peer) { p.send(protocol.Message{Type: protocol.TypeClose}) }, protocol.ClientClosed},
		{"half a close", func(p *peer) { p.endSide() }, protocol.ClientClosed},
		{"a close", func(p *peer) { _ = p.Close() }, protocol.ClientClosed},
		{"half a close right after a frame", func(p *peer) { p.sendRaw(whole); p.endSide() }, protocol.ClientClosed},
		{"half a close within a header", func(p *peer) { p.sendRaw(whole[:7]); p.endSide() }, protocol.NetworkError},
		{"half a close within a body", func(p *peer) { p.sendRaw(whole[:len(whole)-1]); p.endSide() }, protocol.NetworkError},
		{"a whole frame and half of one", func(p *peer) {
			p.sendRaw(append(bytes.Clone(whole), whole[:len(whole)/2]...))
			p.endSide()
		}, protocol.NetworkError},
		{"a reset", func(p *peer) { p.reset() }, protocol.NetworkError},
	} {
		if c.name == "a reset" && !transportOf(t).resets() {
			continue
		}
		for _, workers := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s, %d workers", c.name, workers), func(t *testing.T) {
				e := newEngine(engine.Config{Workers: workers})
				e.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
				g := newGate(t, e)
				r := serve(t, e)
				p, b := g.enter(t, r.addr)
				eventually(t, "the first message", func() bool { return b.received.Load() == 1 })
				c.end(p)
				b.wantEnd(t, c.code)
				if c.code == protocol.ClientClosed && c.name == "a Close message" {
					p.wantEOF() // no notice: the peer knows
					_ = p.Close()
				}
				eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
			})
		}
	}
}

// A peer that ends its side while its first message is being decided has not ended within a frame.
func TestAnEndWhileTheAdmissionDecidesIsTheClients(t *testing.T) {
	eachTransportThat(t, (*transport).halfCloses, anEndWhileTheAdmissionDecidesIsTheClients)
}

func anEndWhileTheAdmissionDecidesIsTheClients(t *testing.T) {
	e := newEngine(engine.Config{Timeouts: engine.Timeouts{Close: 50 * time.Millisecond}}) // so long the answer is waited for
	g := newGate(t, e)
	g.first = func(engine.Control, *protocol.Message, *binding) {}
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, UserID: "ann"}, protocol.Message{Type: 1, UserID: "ann"})
	b := receive(t, "a connection", g.arrived)
	p.endSide()
	b.wantEnd(t, protocol.ClientClosed)
	b.Admit(&engine.Admitted{UserID: "ann"}) // too late, and harmless
}

// A peer that ends its side right after its requests is answered: Reply on the loop, and Send from the handler.
func TestHalfAClosedPeerGetsItsAnswers(t *testing.T) {
	eachTransportThat(t, (*transport).halfCloses, halfAClosedPeerGetsItsAnswers)
}

func halfAClosedPeerGetsItsAnswers(t *testing.T) {
	e := newEngine(engine.Config{})
	e.Handle(1, echo)
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { _ = c.Send(2, m.Body); return nil })
	r := serve(t, e)
	for range 50 {
		p := dial(t, r.addr)
		p.send(protocol.Message{Type: 1, ID: 1, Body: []byte("a")}, protocol.Message{Type: 2, Body: []byte("b")})
		p.endSide()
		if a, b := p.read(), p.read(); string(a.Body) != "a" || string(b.Body) != "b" {
			t.Fatalf("got %q and %q", a.Body, b.Body)
		}
		p.wantEOF()
	}
}

func TestASilentConnectionIsClosedAtLogonTimeout(t *testing.T) {
	eachTransport(t, aSilentConnectionIsClosedAtLogonTimeout)
}

func aSilentConnectionIsClosedAtLogonTimeout(t *testing.T) {
	const timeout = 200 * time.Millisecond
	r := serve(t, newEcho(engine.Config{Timeouts: engine.Timeouts{FirstMessage: timeout}}))
	for _, sent := range [][]byte{nil, frame(t, protocol.Message{Type: 1})[:10]} {
		began := time.Now()
		p := dial(t, r.addr)
		p.sendRaw(sent)
		p.wantClose(protocol.LogonTimeout)
		if took := time.Since(began); took < timeout {
			t.Errorf("closed after %v, FirstMessage is %v", took, timeout)
		}
	}
	const longer = time.Second // the machine may be busy
	r = serve(t, newEcho(engine.Config{Timeouts: engine.Timeouts{FirstMessage: longer}, Loops: 1}))
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	dial(t, r.addr).wantClose(protocol.LogonTimeout) // which came later and is silent: the timeout of the one that has spoken is over
	p.ask(1, 2, "")
}

// Send and Close from other goroutines, and the end of the peer, all at once: Ended comes once (newGate looks).
func TestEndedComesOnceWhoeverCloses(t *testing.T) {
	e := newEcho(engine.Config{Timeouts: engine.Timeouts{Close: 5 * time.Second}})
	g := newGate(t, e)
	var closing atomic.Pointer[engine.Conn]
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		if m.ID%2 == 0 {
			k.Admit(&engine.Admitted{UserID: m.UserID, Deliver: m.Clone()})
		}
		closing.Store(k.Conn()) // the other goroutine closes it while First returns, a little earlier or later
		for range m.ID % 64 * 8 {
			closing.Load()
		}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			if c := closing.Swap(nil); c != nil {
				c.Close(protocol.KickedOut)
			} else if n%4096 == 0 {
				select {
				case <-quit:
					return
				default:
					runtime.Gosched()
				}
			}
		}
	}()
	r := serve(t, e)
	const conns = 1500
	for i := range uint32(conns) {
		p := dial(t, r.addr)
		p.send(protocol.Message{Type: 1, ID: i + 1, UserID: "ann"})
		if i%3 == 0 {
			p.reset()
		} else {
			_ = p.Close()
		}
	}
	for range conns {
		b := receive(t, "a connection", g.arrived)
		receive(t, "Ended", b.firstEnd)
	}
	close(quit)
	<-ended
	eventually(t, "the end of all", func() bool { return e.Stats().Conns.Open == 0 })
}

// A connection's context ends when it begins to close, with the reason.
func TestTheContextEndsWithTheCode(t *testing.T) { eachTransport(t, theContextEndsWithTheCode) }

func theContextEndsWithTheCode(t *testing.T) {
	e := newEngine(engine.Config{})
	contexts := make(chan context.Context, 1)
	conns := make(chan *engine.Conn, 1)
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		ctx := c.Context()
		if ctx.Err() != nil {
			t.Error("the context has ended too early")
		}
		conns <- c
		contexts <- ctx
		return nil
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1})
	ctx, c := receive(t, "a context", contexts), receive(t, "a connection", conns)
	_ = p.Close()
	receive(t, "the context's end", ctx.Done())
	var ce *protocol.CloseError
	if cause := context.Cause(ctx); !errors.As(cause, &ce) || ce.Code != protocol.ClientClosed {
		t.Errorf("the cause is %v", cause)
	}
	if late := c.Context(); late.Err() == nil {
		t.Error("the context of a closed connection has not ended")
	}
}
