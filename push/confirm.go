package push

import (
	"context"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// confirmations knows which connections are to acknowledge what. Its lock is held for a few instructions, on the event
// loop too; nothing is called with it.
type confirmations struct {
	mu    sync.Mutex
	conns map[*engine.Conn]map[uuid.UUID][]*wait // kept as long as the connection is open, once it was asked
}

// wait is one message that is to be acknowledged. The lock of the confirmations guards it.
type wait struct {
	id        uuid.UUID
	asked     []*engine.Conn
	open      int // connections that may still acknowledge, and one for whoever sends
	confirmed []*engine.Conn
	done      chan struct{} // closed when open is 0
}

func newWait(id uuid.UUID) *wait { return &wait{id: id, open: 1, done: make(chan struct{})} }

func (a *confirmations) init() { a.conns = make(map[*engine.Conn]map[uuid.UUID][]*wait) }

// expect says that the message is about to be sent to c.
func (a *confirmations) expect(c *engine.Conn, w *wait) {
	a.mu.Lock()
	defer a.mu.Unlock()
	waits := a.conns[c]
	if waits == nil {
		waits = make(map[uuid.UUID][]*wait)
		a.conns[c] = waits
		context.AfterFunc(c.Context(), func() { a.ended(c) })
	}
	waits[w.id] = append(waits[w.id], w) // the same message again: one acknowledgement does for both
	w.asked = append(w.asked, c)
	w.open++
}

// confirm says that c has acknowledged the message.
func (a *confirmations) confirm(c *engine.Conn, id uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.conns[c][id] {
		w.confirmed = append(w.confirmed, c)
		w.close()
	}
	delete(a.conns[c], id)
}

// unexpect says that the message was not sent to c after all.
func (a *confirmations) unexpect(c *engine.Conn, w *wait) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.forget(c, w) {
		w.close()
	}
}

// forget takes w from those that c may acknowledge, and reports whether it was among them. a.mu is held on entry.
func (a *confirmations) forget(c *engine.Conn, w *wait) bool {
	waits := a.conns[c][w.id]
	i := slices.Index(waits, w)
	if i < 0 {
		return false
	}
	if waits = slices.Delete(waits, i, i+1); len(waits) > 0 {
		a.conns[c][w.id] = waits
	} else {
		delete(a.conns[c], w.id)
	}
	return true
}

// close says that one fewer may acknowledge.
func (w *wait) close() {
	if w.open--; w.open == 0 {
		close(w.done)
	}
}

// ended says that nothing more comes from c.
func (a *confirmations) ended(c *engine.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, waits := range a.conns[c] {
		for _, w := range waits {
			w.close()
		}
	}
	delete(a.conns, c)
}

// await waits until nobody can acknowledge any more, or ctx ends, and returns those who have.
func (a *confirmations) await(ctx context.Context, w *wait) []*engine.Conn {
	a.mu.Lock()
	w.close() // all is sent
	a.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range w.asked {
		a.forget(c, w) // an acknowledgement that comes later is late
	}
	return w.confirmed
}

// acknowledged is the handler of PushAck.
func (a *confirmations) acknowledged(c *engine.Conn, m *protocol.Message) {
	id, err := protocol.ParsePushAck(m.Body)
	if err != nil {
		c.Close(protocol.InvalidMessage, err.Error())
		return
	}
	a.confirm(c, id)
}
