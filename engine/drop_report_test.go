package engine_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: what was accepted is counted as sent or as dropped when the client has gone before it could be written, and before
// the session's end is told.
func TestWhatIsQueuedAtTheEndIsCounted(t *testing.T) {
	eachTransportThat(t, (*transport).resets, whatIsQueuedAtTheEndIsCounted)
}

func whatIsQueuedAtTheEndIsCounted(t *testing.T) {
	for name, end := range map[string]func(*peer){"half a close": (*peer).endSide, "a reset": (*peer).reset} {
		t.Run(name, func(t *testing.T) {
			const messages = 100
			e := newEngine(engine.Config{Loops: 1})
			entered, release := make(chan struct{}), make(chan struct{})
			e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
			e.Handle(2, func(*engine.Conn, *protocol.Message) error {
				close(entered)
				<-release
				return nil
			})
			g := newGate(t, e)
			r := serve(t, e)
			blocker, _ := g.enter(t, r.addr)
			p, b := g.enter(t, r.addr)
			blocker.send(protocol.Message{Type: 2})
			receive(t, "the handler", entered)
			end(p) // the loop hears of it before it hears that something is to be sent
			for range messages {
				if err := b.conn.Send(1, nil); err != nil {
					t.Fatal(err)
				}
			}
			close(release)
			<-b.firstEnd
			if sent, dropped := b.sent.Load(), b.dropped.Load(); sent+dropped != messages {
				t.Errorf("%d were counted as sent, and %d as dropped", sent, dropped)
			}
		})
	}
}

// Rule 3: nothing is counted for a session after its end, even by a count that runs when the end comes.
func TestDropsAreNotToldAfterTheEnd(t *testing.T) { eachTransport(t, dropsAreNotToldAfterTheEnd) }

func dropsAreNotToldAfterTheEnd(t *testing.T) {
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 10}, SlowPolicy: engine.SlowDropNewest, Timeouts: engine.Timeouts{Close: 50 * time.Millisecond}})
	g := newGate(t, e)
	r := serve(t, e)
	_, b := g.enterSlow(t, r.addr)
	counting, release := make(chan struct{}, 100), make(chan struct{})
	b.slowly = func() {
		counting <- struct{}{}
		<-release
	}
	for n := 0; len(counting) == 0; n++ {
		_ = b.conn.SendMessage(numbered(n), nil)
	}
	b.conn.Close(protocol.Errorf(protocol.KickedOut, "out")) // while drops are being counted
	for range 10 {
		_ = b.conn.SendMessage(numbered(0), nil)
	}
	if n := len(b.codes()); n != 0 {
		t.Error("the end was told while drops were being counted")
	}
	close(release)
	b.wantEnd(t, protocol.KickedOut)
	eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
	if err := r.stop(t); err != nil { // what was dropped is told until then
		t.Error(err)
	}
	if b.late.Load() {
		t.Error("drops were counted after the end")
	}
	if n := len(b.codes()); n != 1 {
		t.Errorf("the end was told %d times", n)
	}
}

// Rule 15: what is dropped before the admission has said who counts is counted too, over each transport.
func TestDropsBeforeTheBindingIsThereAreCounted(t *testing.T) {
	t.Parallel() // it mostly waits

	var reported, dropped sync.Map // by the connection
	all := transports(t)
	e := newQuiet(onAll(t, all, engine.Config{Loops: len(all), Limits: engine.Limits{MaxOutbound: 64 << 10}, SlowPolicy: engine.SlowDropNewest,
		OnDropped: func(c *engine.Conn, _ protocol.Traffic) {
			first, _ := reported.LoadOrStore(c, make(chan struct{}, 100))
			first.(chan struct{}) <- struct{}{}
		}}))
	g := newGate(t, e)
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) { // on a loop, which writes nothing meanwhile
		n := int64(0)
		for range 100 {
			if err := k.Conn().SendMessage(numbered(1), nil); errors.Is(err, engine.ErrDropped) {
				n++
			}
		}
		dropped.Store(k.Conn(), n)
		first, _ := reported.LoadOrStore(k.Conn(), make(chan struct{}, 100))
		<-first.(chan struct{})
		k.Admit(&engine.Admitted{UserID: m.UserID})
	}
	r := serve(t, e)
	for _, w := range waysTo(r.Engine, all) {
		w.dialSlow(t).send(protocol.Message{Type: 1, UserID: "ann"})
	}
	for range all {
		b := receive(t, "a connection", g.arrived)
		b.awaitAdmission(t)
		want, _ := dropped.Load(b.conn)
		eventually(t, "the drops to be counted", func() bool { return b.dropped.Load() > 0 })
		if n := b.dropped.Load(); n != want.(int64) {
			t.Errorf("%s: %d drops are counted, want %d", b.conn.Transport(), n, want)
		}
	}
}
