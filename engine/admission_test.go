package engine_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// A message for another user is the Admission's first; what the Admission does not handle goes to the handler of its type. Middleware
// is around both, once.
func TestTheAdmissionSeesMessagesForOtherUsers(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		e := newEngine(engine.Config{Workers: workers})
		g := newGate(t, e)
		g.addressed = func(c *engine.Conn, m *protocol.Message) (bool, error) {
			switch m.DestUserID {
			case "bob":
				return true, c.Reply(m, []byte("the admission's"))
			case "carol":
				return true, protocol.Errorf(protocol.UserOffline, "carol is offline")
			}
			return false, nil
		}
		seen := make(chan string, 10)
		e.Use(func(next engine.Handler) engine.Handler {
			return func(c *engine.Conn, m *protocol.Message) error {
				seen <- m.DestUserID
				return next(c, m)
			}
		})
		e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte("the handler's")) })
		r := serve(t, e)
		p, _ := g.enter(t, r.addr)
		receive(t, "the first message", seen)
		p.read()
		for _, tc := range []struct {
			to   string
			typ  uint16
			want string
			code protocol.CloseCode
		}{
			{to: "bob", typ: 1, want: "the admission's"},
			{to: "bob", typ: 2, want: "the admission's"}, // a type without a handler
			{to: "carol", typ: 1, code: protocol.UserOffline},
			{to: "dave", typ: 1, want: "the handler's"},
			{to: "dave", typ: 2, code: protocol.NoHandler},
			{to: "", typ: 1, want: "the handler's"},
			{to: protocol.ServerID, typ: 1, want: "the handler's"},
		} {
			p.send(protocol.Message{Type: tc.typ, ID: 7, DestUserID: tc.to})
			m := p.read()
			if tc.code != 0 {
				if ce, err := protocol.ParseClose(m.Body); err != nil || ce.Code != tc.code {
					t.Errorf("type %d to %q was answered %v, %v, want %v", tc.typ, tc.to, ce, err, tc.code)
				}
			} else if string(m.Body) != tc.want {
				t.Errorf("type %d to %q was answered %q, want %q", tc.typ, tc.to, m.Body, tc.want)
			}
			if got := receive(t, "the middleware", seen); got != tc.to {
				t.Errorf("middleware saw a message to %q, want %q", got, tc.to)
			}
			if len(seen) > 0 {
				t.Errorf("middleware saw a message to %q twice", tc.to)
			}
		}
	})
}
