package engine_test

import (
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// A reply that is addressed to another user is a message for the handlers, which may pass it on; it never answers a
// request of the server's that happens to have the same ID.
func TestAReplyToAnotherUserDoesNotAnswerTheServersRequest(t *testing.T) {
	e := newEngine(engine.Config{})
	answered := make(chan string, 1)
	passedOn := make(chan string, 1)
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		if m.IsReply() {
			passedOn <- m.DestUserID
			return nil
		}
		_ = c.RequestFunc(2, nil, time.Minute, func(m *protocol.Message, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			answered <- string(m.Body)
		})
		return nil
	})
	p := dial(t, serve(t, e).addr)
	p.send(protocol.Message{Type: 1})
	asked, err := p.next()
	if err != nil || asked.Type != 2 {
		t.Fatal(asked, err)
	}
	p.send(
		protocol.Message{Type: 1, Flags: protocol.FlagReply, ID: asked.ID, DestUserID: "bob", Body: []byte("to bob")},
		protocol.Message{Type: 7, Flags: protocol.FlagReply, ID: asked.ID, DestUserID: "bob"}, // without a handler: dropped
		protocol.Message{Type: 2, Flags: protocol.FlagReply, ID: asked.ID, DestUserID: protocol.ServerID, Body: []byte("to you")},
	)
	if to := <-passedOn; to != "bob" {
		t.Errorf("the handler got a reply to %q", to)
	}
	if body := <-answered; body != "to you" {
		t.Errorf("the request was answered %q", body)
	}
}
