package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// outcome is what a request came to.
type outcome struct {
	body string
	err  error
}

func reply(request protocol.Message, body string) protocol.Message {
	return protocol.Message{Type: request.Type, ID: request.ID, Flags: protocol.FlagReply, Body: []byte(body)}
}

// requesting runs an engine that, for a message of type 1, sends its client a request of type 2.
func requesting(t *testing.T, workers int, timeout time.Duration) (*running, chan outcome) {
	e := newEngine(engine.Config{Workers: workers})
	outcomes := make(chan outcome, 10)
	e.Handle(1, func(c *engine.Conn, _ *protocol.Message) error {
		err := c.RequestFunc(2, []byte("question"), timeout, func(m *protocol.Message, err error) {
			o := outcome{err: err}
			if m != nil {
				o.body = string(m.Body)
			}
			outcomes <- o
		})
		if err != nil {
			t.Error(err)
		}
		return nil
	})
	e.Handle(3, echo)
	return serve(t, e), outcomes
}

func TestRequestsToAClient(t *testing.T) {
	for _, workers := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			r, outcomes := requesting(t, workers, 0)
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 1}, protocol.Message{Type: 1}, protocol.Message{Type: 1})
			a, b, c := p.read(), p.read(), p.read()
			if a.ID == 0 || a.ID == b.ID || b.ID == c.ID || a.IsReply() || a.Type != 2 || string(a.Body) != "question" {
				t.Errorf("the requests are %v, %v, %v", a, b, c)
			}
			p.send(reply(c, "third")) // in any order
			if o := receive(t, "an outcome", outcomes); o.body != "third" || o.err != nil {
				t.Errorf("the outcome is %v", o)
			}
			p.send(reply(a, "first"), reply(a, "again")) // the second is dropped
			if o := receive(t, "an outcome", outcomes); o.body != "first" || o.err != nil {
				t.Errorf("the outcome is %v", o)
			}
			refused := reply(b, string(system.AppendClose(nil, &protocol.CloseError{Code: protocol.Refused, Text: "no"})))
			refused.Flags |= protocol.FlagError
			p.send(refused)
			var ce *protocol.CloseError
			if o := receive(t, "an outcome", outcomes); !errors.As(o.err, &ce) || ce.Code != protocol.Refused || ce.Text != "no" {
				t.Errorf("the outcome is %v", o)
			}
			p.ask(3, 1, "")
			if len(outcomes) != 0 {
				t.Errorf("one outcome too many: %v", <-outcomes)
			}
		})
	}
}

// An answer that a client sends over its next connection answers no request of that one. For the same reason docs/protocol.md has
// clients begin at a random number.
func TestTheRequestsToTwoConnectionsHaveOtherIDs(t *testing.T) {
	r, outcomes := requesting(t, 0, 0)
	p, next := dial(t, r.addr), dial(t, r.addr)
	p.send(protocol.Message{Type: 1})
	late := p.read()
	_ = p.Close()
	if o := receive(t, "an outcome", outcomes); !errors.Is(o.err, engine.ErrClosed) {
		t.Errorf("the outcome is %v", o)
	}
	next.send(protocol.Message{Type: 1})
	m := next.read()
	next.send(reply(late, "late"), reply(m, "right"))
	if o := receive(t, "an outcome", outcomes); o.body != "right" || o.err != nil {
		t.Errorf("the outcome is %v", o)
	}
}

func TestARequestThatIsNotAnsweredTimesOut(t *testing.T) {
	r, outcomes := requesting(t, 0, 50*time.Millisecond)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1})
	request := p.read()
	if o := receive(t, "an outcome", outcomes); !errors.Is(o.err, context.DeadlineExceeded) {
		t.Errorf("the outcome is %v", o)
	}
	p.send(reply(request, "too late"))
	p.ask(3, 1, "")
	if len(outcomes) != 0 {
		t.Errorf("one outcome too many: %v", <-outcomes)
	}
}

func TestARequestEndsWithItsConnection(t *testing.T) {
	for name, end := range map[string]func(p *peer, c *engine.Conn){
		"the peer":   func(p *peer, _ *engine.Conn) { _ = p.Close() },
		"the server": func(_ *peer, c *engine.Conn) { c.Close(protocol.KickedOut) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{})
			conns := make(chan *engine.Conn, 1)
			e.HandleDefault(func(c *engine.Conn, _ *protocol.Message) error { conns <- c; return nil })
			r := serve(t, e)
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 1})
			c := receive(t, "a connection", conns)

			outcomes := make(chan error, 10)
			for range 3 {
				if err := c.RequestFunc(2, nil, time.Minute, func(_ *protocol.Message, err error) { outcomes <- err }); err != nil {
					t.Fatal(err)
				}
			}
			waited := make(chan error, 1)
			go func() {
				_, err := c.Request(context.Background(), 2, nil)
				waited <- err
			}()
			for range 4 {
				p.read()
			}
			end(p, c)
			for range 3 {
				if err := receive(t, "an outcome", outcomes); !errors.Is(err, engine.ErrClosed) {
					t.Errorf("the outcome is %v", err)
				}
			}
			if err := receive(t, "Request", waited); !errors.Is(err, engine.ErrClosed) {
				t.Errorf("Request returned %v", err)
			}
			if _, err := c.Request(context.Background(), 2, nil); !errors.Is(err, engine.ErrClosed) {
				t.Errorf("Request on a closed connection returned %v", err)
			}
		})
	}
}

// With Workers a handler may wait for its client's reply: replies do not wait behind handlers.
func TestAHandlerMayWaitForAReplyWithWorkers(t *testing.T) {
	e := newEngine(engine.Config{Workers: 1})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		ctx, cancel := context.WithTimeout(c.Context(), patience)
		defer cancel()
		got, err := c.Request(ctx, 2, []byte("question"))
		if err != nil {
			t.Error(err)
			return nil
		}
		return c.Reply(m, got.Body)
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	for id := range uint32(5) {
		p.send(protocol.Message{Type: 1, ID: id + 1})
		p.send(reply(p.read(), "answer"))
		if m := p.read(); m.ID != id+1 || string(m.Body) != "answer" {
			t.Errorf("got %v", m)
		}
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	e := newEngine(engine.Config{})
	conns := make(chan *engine.Conn, 1)
	e.Handle(1, func(c *engine.Conn, _ *protocol.Message) error { conns <- c; return nil })
	e.Handle(3, echo)
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1})
	c := receive(t, "a connection", conns)
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error, 1)
	go func() {
		_, err := c.Request(ctx, 2, nil)
		waited <- err
	}()
	request := p.read()
	cancel()
	if err := receive(t, "Request", waited); !errors.Is(err, context.Canceled) {
		t.Errorf("Request returned %v", err)
	}
	p.send(reply(request, "too late"))
	p.ask(3, 1, "")
}

// A request whose context has ended is not sent.
func TestARequestWhoseContextHasEndedIsNotSent(t *testing.T) {
	e := newEngine(engine.Config{})
	conns := make(chan *engine.Conn, 1)
	e.Handle(1, func(c *engine.Conn, _ *protocol.Message) error { conns <- c; return nil })
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1})
	c := receive(t, "the connection", conns)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Request(ctx, 2, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Request returned %v", err)
	}
	if err := c.Send(3, nil); err != nil {
		t.Fatal(err)
	}
	if m := p.read(); m.Type != 3 {
		t.Errorf("got %v", m)
	}
}
