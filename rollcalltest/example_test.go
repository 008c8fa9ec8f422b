package rollcalltest_test

import (
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

const greet = 1 // a message type

func testGreeting(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{}, func(s *rollcall.Server) {
		s.Engine.Handle(greet, func(c *engine.Conn, m *protocol.Message) error {
			return c.Reply(m, append([]byte("hello, "), m.UserID...))
		})
	})
	alice := srv.Client(t, "alice", client.Config{})

	reply, err := alice.Request(t.Context(), greet, nil)
	if err != nil || string(reply.Body) != "hello, alice" {
		t.Errorf("the greeting is %v, %v", reply, err)
	}
}

func Example() {
	// go test runs this as func TestGreeting(t *testing.T).
	_ = testGreeting
}
