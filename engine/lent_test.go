package engine_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// A reply to a message whose handler has returned is an error, and one line in the log, not one a message; it is neither sent nor
// taken for the answer to another message, and the connections go on.
func TestAReplyAfterTheHandlerIsAnError(t *testing.T) {
	const messages = 10 // fewer than a loop lends in turn
	core, logs := observer.New(zapcore.WarnLevel)
	e := newEngine(engine.Config{Loops: 1, Logger: zap.New(core)})
	errs := make(chan error, 2*messages)
	returned := make(chan struct{})
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		go func() {
			<-returned
			errs <- c.Reply(m, []byte("too late"))
			errs <- c.ReplyError(m, protocol.HandlerFailed)
		}()
		return nil
	})
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { // another message is being delivered, of another connection
		close(returned)
		for range 2 * messages {
			if err := <-errs; !errors.Is(err, engine.ErrMessageOver) {
				t.Errorf("a late reply: %v", err)
			}
		}
		return c.Reply(m, m.Body)
	})
	e.Handle(3, echo)
	r := serve(t, e)
	p, other := dial(t, r.addr), dial(t, r.addr)
	for i := range messages {
		p.send(protocol.Message{Type: 1, ID: uint32(i + 1)})
	}
	p.ask(3, messages+1, "all have come")
	other.ask(2, 1, "not the late ones")
	p.ask(3, messages+2, "nothing else comes")
	if n := logs.Len(); n != 1 {
		t.Errorf("%d lines were logged, want 1: %v", n, logs.All())
	}
}

// While the loop delivers another message of the same connection, also one of the same read, a late reply is found out.
func TestAReplyToAnEarlierMessageOfTheSameReadIsAnError(t *testing.T) {
	for _, between := range []int{0, 1, 10} {
		t.Run(fmt.Sprint(between), func(t *testing.T) {
			e := newEngine(engine.Config{Loops: 1})
			var kept *protocol.Message
			e.Handle(1, func(_ *engine.Conn, m *protocol.Message) error { kept = m; return nil })
			var others atomic.Int32
			e.Handle(2, func(*engine.Conn, *protocol.Message) error { others.Add(1); return nil })
			e.Handle(3, func(c *engine.Conn, m *protocol.Message) error {
				done := make(chan error)
				go func() { done <- c.Reply(kept, []byte("too late")) }()
				if err := <-done; !errors.Is(err, engine.ErrMessageOver) {
					t.Errorf("a late reply: %v", err)
				}
				return c.Reply(m, m.Body)
			})
			r := serve(t, e)
			p := dial(t, r.addr)
			all := []protocol.Message{{Type: 1, ID: 1}}
			for range between {
				all = append(all, protocol.Message{Type: 2})
			}
			p.send(append(all, protocol.Message{Type: 3, ID: 2, Body: []byte("in time")})...)
			if m := p.read(); m.ID != 2 || string(m.Body) != "in time" {
				t.Errorf("got %v", m)
			}
			if n := int(others.Load()); n != between {
				t.Errorf("%d messages came in between, want %d", n, between)
			}
		})
	}
}

// A clone is kept for as long as its handler likes, and answered from any goroutine; so is a message with Workers.
func TestACloneIsAnsweredLater(t *testing.T) {
	for _, workers := range []int{0, 1} {
		e := newEngine(engine.Config{Workers: workers})
		e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
			if workers == 0 {
				m = m.Clone()
			}
			go func() {
				if err := c.Reply(m, m.Body); err != nil {
					t.Error(err)
				}
			}()
			return nil
		})
		r := serve(t, e)
		p := dial(t, r.addr)
		for i := range uint32(100) {
			p.ask(1, i+1, fmt.Sprint(i))
		}
	}
}
