package engine

import (
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// admitLater is an Admission that has not decided.
type admitLater struct{ Admission }

func (admitLater) First(Control, *protocol.Message) Binding { return noBinding{} }

// Rule 15: the first message counts towards the rates once, when it comes, whether it is delivered later or not.
func TestTheFirstMessageCountsTowardsTheRatesOnce(t *testing.T) {
	const burst, byteBurst = 1000, 100_000
	e := testkit.Must(New(Config{Logger: zap.NewNop(), Limits: Limits{MaxMessageRate: 1, MessageBurst: burst, MaxByteRate: 1, ByteBurst: byteBurst}}))
	e.HandleDefault(func(*Conn, *protocol.Message) error { return nil })
	e.SetAdmission(admitLater{})
	l := &loop{engine: e, ended: true} // tasks run where they are posted
	gc := &bufferingConn{}
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l}
	c.state.Store(stateAccepted)
	spent := func() (messages, bytes int) {
		u := c.lazy.usage
		return int(burst - u.messageRate.tokens + 0.5), int(byteBurst - u.byteRate.tokens + 0.5)
	}
	first, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, UserID: "ann"})
	second, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, Body: make([]byte, 100)})
	gc.brings(l, c, first)
	if m, b := spent(); m != 1 || b != len(first) {
		t.Errorf("with the first message %d messages and %d bytes are spent, want 1 and %d", m, b, len(first))
	}
	gc.brings(l, c, second[:10])
	Control{c}.Admit(&Admitted{UserID: "ann", Binding: noBinding{}, Deliver: &protocol.Message{Type: 1, UserID: "ann"}})
	gc.brings(l, c, second[10:])
	if m, b := spent(); m != 2 || b != len(first)+len(second) {
		t.Errorf("with the second message %d messages and %d bytes are spent, want 2 and %d", m, b, len(first)+len(second))
	}
}
