package engine_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// gate is an Admission that lets every client in at once, as the user that the first message names, and remembers what
// it is told.
type gate struct {
	first     func(k engine.Control, m *protocol.Message, b *binding) // instead of admitting
	addressed func(c *engine.Conn, m *protocol.Message) (bool, error)
	panic     func(where string) // called in each of a binding's methods, to panic there

	mu       sync.Mutex
	other    *gate // asked instead, when set
	bindings []*binding
	arrived  chan *binding // gets every binding
}

func newGate(t testing.TB, e *engine.Engine) *gate {
	g := &gate{arrived: make(chan *binding, 10_000)}
	e.SetAdmission(g)
	t.Cleanup(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, b := range g.bindings {
			if n := len(b.codes()); n != 1 {
				t.Errorf("connection %d: Ended was called %d times, want once", b.conn.ID(), n)
			}
		}
	})
	return g
}

// swap has another gate decide from now on.
func (g *gate) swap(other *gate) {
	g.mu.Lock()
	g.other = other
	g.mu.Unlock()
}

func (g *gate) First(k engine.Control, m *protocol.Message) engine.Binding {
	g.mu.Lock()
	other := g.other
	g.mu.Unlock()
	if other != nil {
		return other.First(k, m)
	}
	b := &binding{gate: g, Control: k, conn: k.Conn(), firstEnd: make(chan protocol.CloseCode, 1)}
	g.mu.Lock()
	g.bindings = append(g.bindings, b)
	g.mu.Unlock()
	g.arrived <- b
	if g.first != nil {
		g.first(k, m, b)
		return b
	}
	k.Admit(&engine.Admitted{UserID: m.UserID, Deliver: m.Clone()})
	return b
}

func (g *gate) Addressed(c *engine.Conn, m *protocol.Message) (handled bool, err error) {
	if g.addressed == nil {
		return false, nil
	}
	return g.addressed(c, m)
}

func (g *gate) Drain(ctx context.Context) (left int) {
	for ; ; time.Sleep(time.Millisecond) {
		left = 0
		g.mu.Lock()
		for _, b := range g.bindings {
			if len(b.codes()) == 0 {
				left++
			}
		}
		g.mu.Unlock()
		if left == 0 || ctx.Err() != nil {
			return left
		}
	}
}

// binding is what a gate remembers of one connection.
type binding struct {
	engine.Control
	gate     *gate
	conn     *engine.Conn
	firstEnd chan protocol.CloseCode

	beats                             atomic.Int64
	received, sent, dropped           atomic.Int64 // messages
	receivedBytes, sentBytes          atomic.Int64
	receivedType, sentType, dropsType atomic.Int64
	late                              atomic.Bool // drops were told after the end
	slowly                            func()      // when set, called by Dropped

	mu   sync.Mutex
	ends []protocol.CloseCode
}

func (b *binding) at(where string) {
	if b.gate.panic != nil {
		b.gate.panic(where)
	}
}

func (b *binding) Beat() {
	b.beats.Add(1)
	b.at("Beat")
}

func (b *binding) Received(typ uint16, messages, bytes int) {
	b.received.Add(int64(messages))
	b.receivedBytes.Add(int64(bytes))
	b.receivedType.Store(int64(typ))
	b.at("Received")
}

func (b *binding) Sent(typ uint16, messages, bytes int) {
	b.sent.Add(int64(messages))
	b.sentBytes.Add(int64(bytes))
	b.sentType.Store(int64(typ))
	b.at("Sent")
}

func (b *binding) Dropped(typ uint16, messages, bytes int) {
	b.dropped.Add(int64(messages))
	b.dropsType.Store(int64(typ))
	if b.slowly != nil {
		b.slowly()
	}
	if len(b.codes()) > 0 {
		b.late.Store(true)
	}
	b.at("Dropped")
}

func (b *binding) End(code protocol.CloseCode) {
	b.mu.Lock()
	b.ends = append(b.ends, code)
	first := len(b.ends) == 1
	b.mu.Unlock()
	if first {
		b.firstEnd <- code
	}
	b.at("Ended")
}

func (b *binding) codes() []protocol.CloseCode {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]protocol.CloseCode(nil), b.ends...)
}

// wantEnd wants the connection to have ended with this code.
func (b *binding) wantEnd(t testing.TB, code protocol.CloseCode) {
	t.Helper()
	if got := receive(t, "Ended", b.firstEnd); got != code {
		t.Errorf("the connection ended with %v, want %v", got, code)
	}
}

// enter dials and is let in as "ann".
func (g *gate) enter(t testing.TB, addr string) (*peer, *binding) {
	t.Helper()
	return g.enterOn(t, dial(t, addr))
}

// enterOn is enter for a peer that is connected.
func (g *gate) enterOn(t testing.TB, p *peer) (*peer, *binding) {
	t.Helper()
	p.send(protocol.Message{Type: 1, UserID: "ann"})
	return p, receive(t, "a connection", g.arrived)
}

// awaitAdmission waits until the connection is let in. What is sent to it before waits for that, and is dropped when the connection
// is closed before.
func (b *binding) awaitAdmission(t testing.TB) {
	t.Helper()
	eventually(t, "the admission", func() bool { return b.conn.UserID() != "" })
}
