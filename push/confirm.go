package push

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// confirmations knows what is to be acknowledged by whom. Its lock is held for a few instructions, on the event loop too,
// and no other is taken meanwhile but that of a connection's context.
type confirmations struct {
	mu    sync.Mutex
	asked map[question][]*ask
}

// question is a message that was put to a user, and not yet given up on.
type question struct {
	user string // as bound to the connection
	id   uuid.UUID
}

// ask is one message on one connection, for one wait.
type ask struct {
	question
	wait *wait
	name string // of the user, as the wait's target has it
	conn *engine.Conn
	ctx  context.Context // the connection's
	stop func() bool     // ends the watch over ctx
	by   *engine.Conn    // whose acknowledgement counts for this one; nil while none does
	over bool            // it is not waited for any more. The lock of the confirmations guards by and over
}

// wait is one message that is to be acknowledged.
type wait struct {
	id   uuid.UUID
	asks []*ask        // belongs to whoever sends
	open int           // asks that are not over, and one for whoever sends; guarded by the lock of the confirmations
	done chan struct{} // closed when open is 0
}

func newWait(id uuid.UUID) *wait { return &wait{id: id, open: 1, done: make(chan struct{})} }

func (a *confirmations) init() { a.asked = make(map[question][]*ask) }

// expect says that the message is about to be sent to c, a connection of the user whom the target calls name.
func (a *confirmations) expect(c *engine.Conn, name string, w *wait) {
	k := &ask{question: question{c.UserID(), w.id}, wait: w, name: name, conn: c, ctx: c.Context()}
	if k.user == "" { // it is being let in
		k.user = name
	}
	w.asks = append(w.asks, k)
	a.mu.Lock()
	a.asked[k.question] = append(a.asked[k.question], k)
	w.open++
	a.mu.Unlock()
	k.stop = context.AfterFunc(k.ctx, func() { a.ended(k) })
}

// unexpect takes the last expect back: the message was not sent after all.
func (a *confirmations) unexpect(w *wait) {
	last := len(w.asks) - 1
	a.forget(w.asks[last])
	w.asks = w.asks[:last]
}

// confirm says that c has acknowledged the message. That counts for c itself; and in each wait in which c was not asked,
// for one of its user's connections that were and have ended since: the client has lost that one, and come back by c. Where one
// who has acknowledged already has ended since, c may be that client, and nothing is counted: too few is better than too many.
func (a *confirmations) confirm(c *engine.Conn, id uuid.UUID) {
	q := question{c.UserID(), id}
	a.mu.Lock()
	defer a.mu.Unlock()
	asks := a.asked[q]
	for _, k := range asks {
		if k.conn == c {
			k.confirm(c)
		}
	}
	for _, k := range asks {
		spoken := func(other *ask) bool { return other.wait == k.wait && (other.by == c || other.conn == c) }
		if k.by != nil || k.ctx.Err() == nil || slices.ContainsFunc(asks, spoken) {
			continue
		}
		before := func(other *ask) bool {
			return other.wait == k.wait && other.by != nil && other.by.Context().Err() != nil
		}
		if i := slices.IndexFunc(asks, before); i >= 0 {
			asks[i].by = c
			continue
		}
		k.confirm(c)
	}
}

// confirm says that c has acknowledged it. The lock of the confirmations is held on entry.
func (k *ask) confirm(c *engine.Conn) {
	if k.by == nil {
		k.by = c
		k.end()
	}
}

// end says that it is not waited for any more. The lock of the confirmations is held on entry.
func (k *ask) end() {
	if !k.over {
		k.over = true
		k.wait.close()
	}
}

// close says that one fewer is waited for. The lock of the confirmations is held on entry.
func (w *wait) close() {
	if w.open--; w.open == 0 {
		close(w.done)
	}
}

// ended says that the connection of k begins to close. Its client may be back in time to acknowledge on another.
func (a *confirmations) ended(k *ask) {
	if mayComeBack(context.Cause(k.ctx)) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k.end()
}

// mayComeBack reports whether the client whose connection ended with this error may log on again by itself. One that was
// pushed out may have done so already: servers often hear of a lost connection by the next one.
func mayComeBack(why error) bool {
	var ce *protocol.CloseError
	if !errors.As(why, &ce) {
		return false
	}
	switch ce.Code {
	case protocol.ClientClosed, protocol.ServerStopping:
		return false
	case protocol.PushedOut:
		return true
	}
	return ce.Code.MayReconnect()
}

// forget ends an ask for good, and returns whose acknowledgement it has.
func (a *confirmations) forget(k *ask) (by *engine.Conn) {
	k.stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	k.end()
	asks := a.asked[k.question]
	if i := slices.Index(asks, k); len(asks) > 1 {
		a.asked[k.question] = slices.Delete(asks, i, i+1)
	} else {
		delete(a.asked, k.question)
	}
	return k.by
}

// await waits until nobody is waited for any more, or ctx ends, and yields the user of each acknowledgement.
func (a *confirmations) await(ctx context.Context, w *wait, confirmed func(user string)) {
	a.mu.Lock()
	w.close() // all is sent
	a.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	for _, k := range w.asks {
		if a.forget(k) != nil { // an acknowledgement that comes later is late
			confirmed(k.name)
		}
	}
	w.asks = nil
}

// abandon forgets what is still waited for.
func (a *confirmations) abandon(w *wait) {
	for _, k := range w.asks {
		a.forget(k)
	}
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
