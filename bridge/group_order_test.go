package bridge_test

import (
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// waitingCodec is protocol.Binary, and calls before it encodes an application's message.
type waitingCodec struct {
	protocol.Codec
	before func(body string)
}

func (c *waitingCodec) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	if m.Type == push {
		c.before(string(m.Body))
	}
	return c.Codec.Append(dst, m)
}

// Rule 28: a message that another goroutine sends while one has reached a part of the members does not overtake it.
func TestAMessageOfAGroupDoesNotOvertakeAnother(t *testing.T) {
	first, second := make(chan struct{}), make(chan struct{})
	codec := &waitingCodec{Codec: protocol.Binary, before: func(body string) {
		if body == "second" {
			close(second)
			return
		}
		close(first) // ann has it, and bob has not
		select {
		case <-second:
		case <-time.After(200 * time.Millisecond): // the second waits for this one, as it should
		}
	}}
	const addr = "127.0.0.1:0"
	s := serve(t, options{engine: engine.Config{Listeners: []engine.Listener{{Addr: addr}, {Addr: addr, Codec: codec}}}})
	ann := s.logOn("ann")
	bob, err := dialRaw(s.engine.Addrs()[1].String())
	if err != nil {
		t.Fatal(err)
	}
	defer bob.conn.Close()
	bob.t, bob.name = t, "bob"
	bob.logOn("bob")
	g := s.bridge.Group("room")
	mustJoin(t, g, "ann", "bob")
	sent := make(chan error, 2)
	send := func(text string) {
		_, err := g.Send(push, []byte(text))
		sent <- err
	}
	go send("first")
	<-first
	go send("second")
	for range cap(sent) {
		if err := receive(t, "the end of Send", sent); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []*rawClient{ann, bob} {
		c.expect(push, "first")
		c.expect(push, "second")
	}
}
