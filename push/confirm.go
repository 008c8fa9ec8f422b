package push

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// confirmations knows which connections are to acknowledge what. Its lock is held for a few instructions, on the event
// loop too; nothing is called with it.
type confirmations struct {
	mu    sync.Mutex
	conns map[*engine.Conn]map[uuid.UUID]*wait // open as long as the connection, once it was asked
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

func (a *confirmations) init() { a.conns = make(map[*engine.Conn]map[uuid.UUID]*wait) }

// expect says that the message is about to be sent to c.
func (a *confirmations) expect(c *engine.Conn, w *wait) {
	a.mu.Lock()
	defer a.mu.Unlock()
	waits := a.conns[c]
	if waits == nil {
		waits = make(map[uuid.UUID]*wait)
		a.conns[c] = waits
		context.AfterFunc(c.Context(), func() { a.ended(c) })
	}
	if waits[w.id] != nil { // the same message again: the first one's acknowledgement will do for both
		return
	}
	waits[w.id] = w
	w.asked = append(w.asked, c)
	w.open++
}

// settle says that c has acknowledged the message, or never will.
func (a *confirmations) settle(c *engine.Conn, id uuid.UUID, confirmed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.conns[c][id]
	if w == nil {
		return
	}
	delete(a.conns[c], id)
	if confirmed {
		w.confirmed = append(w.confirmed, c)
	}
	w.close()
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
	for _, w := range a.conns[c] {
		w.close()
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
		if a.conns[c][w.id] == w {
			delete(a.conns[c], w.id) // an acknowledgement that comes later is late
		}
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
	a.settle(c, id, true)
}
