package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestAMessageGoesToTheHandlerOfItsType(t *testing.T) {
	e := newEngine(engine.Config{})
	answer := func(text string) engine.Handler {
		return func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(text)) }
	}
	e.Handle(1, answer("first"))
	e.Handle(0xFEFF, answer("last"))
	e.HandleDefault(answer("other"))
	r := serve(t, e)
	p := dial(t, r.addr)
	for typ, want := range map[uint16]string{1: "first", 0xFEFF: "last", 2: "other", 0x101: "other"} {
		if got := string(p.ask(typ, uint32(typ), "").Body); got != want {
			t.Errorf("type %#x went to %q, want %q", typ, got, want)
		}
	}
}

func TestWithoutAHandlerTheClientIsToldIfItAsked(t *testing.T) {
	e := newEngine(engine.Config{})
	e.Handle(1, echo)
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 2}, protocol.Message{Type: 2, ID: 3}, protocol.Message{Type: 1, ID: 4})
	p.wantError(3, protocol.NoHandler)
	if m := p.read(); m.ID != 4 {
		t.Errorf("got %v", m)
	}
}

func TestMiddlewareWrapsEveryHandlerFirstOutermost(t *testing.T) {
	e := newEngine(engine.Config{})
	var trace []string // on the loop alone
	mw := func(name string) func(engine.Handler) engine.Handler {
		return func(next engine.Handler) engine.Handler {
			return func(c *engine.Conn, m *protocol.Message) error {
				trace = append(trace, name+"(")
				next(c, m)
				trace = append(trace, ")"+name)
				return nil
			}
		}
	}
	e.Use(mw("a"), mw("b"))
	h := func(c *engine.Conn, m *protocol.Message) error { trace = append(trace, fmt.Sprint(m.Type)); return nil }
	e.Handle(1, h)
	e.HandleDefault(h)
	e.Use(mw("c")) // also after the handlers
	e.Handle(3, func(c *engine.Conn, m *protocol.Message) error {
		return c.Reply(m, []byte(strings.Join(trace[:len(trace)-3], " ")))
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1}, protocol.Message{Type: 2}, protocol.Message{Type: 3, ID: 1})
	want := "a( b( c( 1 )c )b )a a( b( c( 2 )c )b )a"
	if got := string(p.read().Body); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHandlersAreSetBeforeRun(t *testing.T) {
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic", name)
			}
		}()
		f()
	}
	e := newEngine(engine.Config{})
	e.Handle(1, echo)
	panics("a second handler", func() { e.Handle(1, echo) })
	panics("type 0", func() { e.Handle(0, echo) })
	panics("a system type", func() { e.Handle(protocol.TypeHeartbeat, echo) })
	panics("a nil handler", func() { e.Handle(2, nil) })
	panics("a nil handler of a system type", func() { e.Handle(0xFF10, nil) })
	e.SetAdmission(&gate{arrived: make(chan *binding, 1)})
	panics("a second admission", func() { e.SetAdmission(&gate{}) })
	r := serve(t, e)
	dial(t, r.addr).ask(1, 1, "") // it runs
	panics("Handle while running", func() { e.Handle(2, echo) })
	panics("HandleDefault while running", func() { e.HandleDefault(echo) })
	panics("Use while running", func() { e.Use() })
	panics("SetAdmission while running", func() { e.SetAdmission(&gate{}) })
}

// A mistake in a long list of handlers is found by its type.
func TestARefusedHandlerIsNamedByItsType(t *testing.T) {
	e := newEngine(engine.Config{})
	e.Handle(0x0102, echo)
	e.Handle(0xFF10, echo)
	for typ, set := range map[string]func(){
		"0x0102": func() { e.Handle(0x0102, echo) },
		"0xff00": func() { e.Handle(protocol.TypeHeartbeat, echo) },
		"0x0203": func() { e.Handle(0x0203, nil) },
		"0xff10": func() { e.Handle(0xFF10, echo) },
	} {
		func() {
			defer func() {
				if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), typ) {
					t.Errorf("type %s: the panic says %v", typ, v)
				}
			}()
			set()
		}()
	}
}

func TestTyped(t *testing.T) {
	type sum struct{ A, B int }
	type total struct{ Total int }
	core, logs := observer.New(zap.InfoLevel)
	e := newEngine(engine.Config{Logger: zap.New(core)})
	secret := errors.New("the database's password is hunter2")
	e.Handle(1, engine.Typed(engine.JSON, func(_ *engine.Conn, _ *protocol.Message, s sum) (total, error) { return total{s.A + s.B}, nil }))
	e.Handle(2, engine.Typed(engine.JSON, func(*engine.Conn, *protocol.Message, sum) (total, error) { return total{}, secret }))
	e.Handle(3, engine.Typed(engine.JSON, func(*engine.Conn, *protocol.Message, sum) (total, error) {
		return total{}, fmt.Errorf("wrapped: %w", &protocol.CloseError{Code: protocol.Refused, Text: "not today"})
	}))
	e.Handle(4, engine.Typed(engine.JSON, func(*engine.Conn, *protocol.Message, sum) (chan int, error) { return nil, nil })) // not for JSON
	r := serve(t, e)
	p := dial(t, r.addr)
	send := func(typ uint16, body string) {
		p.send(protocol.Message{Type: typ, ID: uint32(typ), Body: []byte(body)})
	}

	if got := string(p.ask(1, 1, `{"A":2,"B":3}`).Body); got != `{"Total":5}` {
		t.Errorf("got %s", got)
	}
	send(1, `{"A":"two"}`)
	p.wantError(1, protocol.HandlerFailed)
	if got := string(p.ask(1, 1, ``).Body); got != `{"Total":0}` {
		t.Errorf("an empty body is answered %s, want what a zero request is", got)
	}
	send(2, `{}`)
	if ce := p.wantError(2, protocol.HandlerFailed); strings.Contains(ce.Text, "hunter2") {
		t.Errorf("the client was told %q", ce.Text)
	}
	if logs.FilterMessage("a handler failed").FilterField(zap.Error(secret)).Len() != 1 {
		t.Errorf("the log has not the error: %v", logs.All())
	}
	send(3, `{}`)
	if ce := p.wantError(3, protocol.Refused); ce.Text != "not today" {
		t.Errorf("the text is %q", ce.Text)
	}
	send(4, `{}`)
	p.wantError(4, protocol.HandlerFailed)
	p.ask(1, 5, `{}`) // the connection is as before
}

// A client is told codes from 3000 on, with their texts, and of any other error no more than that there was one.
func TestReplyErrorTellsTheClientWhatIsForIt(t *testing.T) {
	for name, tc := range map[string]struct {
		why  error
		want protocol.CloseError
	}{
		"a code":                       {protocol.UserOffline, protocol.CloseError{Code: protocol.UserOffline}},
		"a code and a text":            {protocol.Errorf(protocol.Refused, "not %s", "today"), protocol.CloseError{Code: protocol.Refused, Text: "not today"}},
		"within another error":         {fmt.Errorf("secret: %w", protocol.Errorf(4001, "go")), protocol.CloseError{Code: 4001, Text: "go"}},
		"with what to act on":          {&protocol.CloseError{Code: 3000, Info: map[string]string{"retry-ms": "5"}}, protocol.CloseError{Code: 3000, Info: map[string]string{"retry-ms": "5"}}},
		"a code about connections":     {protocol.Errorf(protocol.KickedOut, "secret"), protocol.CloseError{Code: protocol.HandlerFailed}},
		"an error without a code":      {errors.New("secret"), protocol.CloseError{Code: protocol.HandlerFailed}},
		"a nil error":                  {nil, protocol.CloseError{Code: protocol.HandlerFailed}},
		"a code's pointer that is nil": {(*protocol.CloseError)(nil), protocol.CloseError{Code: protocol.HandlerFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{})
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.ReplyError(m, tc.why) })
			r := serve(t, e)
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 1}, protocol.Message{Type: 1, ID: 7})
			if got := p.wantError(7, tc.want.Code); got.Text != tc.want.Text || fmt.Sprint(got.Info) != fmt.Sprint(tc.want.Info) {
				t.Errorf("the client is told %+v, want %+v", got, tc.want)
			}
		})
	}
}

// A message is valid until its handler returns; a clone stays.
func TestAClonedMessageStays(t *testing.T) {
	e := newEngine(engine.Config{})
	clones := make(chan *protocol.Message, 100)
	e.HandleDefault(func(_ *engine.Conn, m *protocol.Message) error { clones <- m.Clone(); return nil })
	r := serve(t, e)
	p := dial(t, r.addr)
	for i := range uint32(100) {
		p.send(protocol.Message{Type: 1, ID: i, Device: 7, DestUserID: "bob", Body: fmt.Appendf(nil, "body %d", i)})
	}
	for i := range uint32(100) {
		m := receive(t, "a message", clones)
		if m.ID != i || m.Device != 7 || m.DestUserID != "bob" || string(m.Body) != fmt.Sprintf("body %d", i) {
			t.Fatalf("message %d is %v", i, m)
		}
	}
}

func TestValuesAndIdentity(t *testing.T) {
	e := newEngine(engine.Config{})
	type key struct{}
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		n, _ := c.Value(key{}).(int)
		c.SetValue(key{}, n+1)
		return c.Reply(m, fmt.Append(nil, n))
	})
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
		c.SetValue(key{}, nil)
		return c.Reply(m, []byte(c.RemoteAddr().String()))
	})
	e.Handle(3, func(c *engine.Conn, m *protocol.Message) error {
		return c.Reply(m, fmt.Append(nil, c.ID(), e.Conn(c.ID()) == c, e.Conn(c.ID()+1_000_000) == nil))
	})
	r := serve(t, e)
	a, b := dial(t, r.addr), dial(t, r.addr)
	var got []string
	for _, p := range []*peer{a, a, b, a} {
		got = append(got, string(p.ask(1, 1, "").Body))
	}
	if want := []string{"0", "1", "0", "2"}; !slices.Equal(got, want) {
		t.Errorf("the values are %v, want %v", got, want)
	}
	if got := string(a.ask(2, 1, "").Body); got != a.LocalAddr().String() {
		t.Errorf("the remote address is %s, want %v", got, a.LocalAddr())
	}
	if got := string(a.ask(1, 1, "").Body); got != "0" {
		t.Errorf("the value that was taken away is %s", got)
	}
	ida, idb := string(a.ask(3, 1, "").Body), string(b.ask(3, 1, "").Body)
	if ida == idb || !strings.HasSuffix(ida, "true true") || !strings.HasSuffix(idb, "true true") {
		t.Errorf("the IDs are %s and %s", ida, idb)
	}
}
