package engine

import (
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// A reply to a message that was not lent is sent like any message, also on a connection whose loop has not lent one yet.
func TestAReplyIsSentBeforeTheLoopHasLentAMessage(t *testing.T) {
	_, l, _, conns := newTurns(t, 1)
	if err := conns[0].Reply(&protocol.Message{Type: 1, ID: 7}, nil); err != nil {
		t.Fatal(err)
	}
	l.run()
	if n := writtenTo(conns); n != 1 {
		t.Errorf("%d of 1 replies were written", n)
	}
}
