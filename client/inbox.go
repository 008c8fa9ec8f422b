package client

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// inbox queues messages, pushes and changes of state for the application's handlers. The goroutine that reads puts
// them, and the handlers' goroutine takes them.
type inbox struct {
	limit int           // bytes that may wait
	ready chan struct{} // has a token when there may be something to take
	room  chan struct{} // has a token when there may be room again, or another reason to check

	mu         sync.Mutex
	items      []item
	bytes      int
	busy       bool // a handler runs
	discarding bool // only the last item is still delivered
}

// item is a message, a push, or a state with its error.
type item struct {
	message *protocol.Message
	push    *protocol.PushMessage
	state   State
	err     error
	size    int
}

// isLast reports whether it is the last item of the client.
func (it *item) isLast() bool { return it.state == Closed }

const (
	// stateSize is the number of bytes that a change of state counts, so that a client that reconnects again and again
	// while a handler is stuck does not gather them without limit.
	stateSize = 1 << 10
	// hardLimit is how many times the limit may wait while a request waits for its reply.
	hardLimit = 4
)

var errInboxFull = &protocol.CloseError{Code: protocol.RateLimited,
	Text: "more has come than may wait for the handlers while a request waits for its reply"}

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put adds an item. It waits until there is room, or stop is closed. While urgent, which may be nil, returns true, put
// does not wait: it adds up to the hard limit, and returns errInboxFull beyond that.
func (b *inbox) put(it item, urgent func() bool, stop <-chan struct{}) error {
	for !b.add(it, b.limit) {
		if urgent != nil && urgent() {
			if !b.add(it, hardLimit*b.limit) {
				return errInboxFull
			}
			return nil
		}
		select {
		case <-b.room:
		case <-stop:
			return nil
		}
	}
	return nil
}

// add appends an item unless limit bytes wait already, and reports whether put is done with the item.
func (b *inbox) add(it item, limit int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.discarding {
		return true
	}
	if b.bytes >= limit {
		return false
	}
	b.items = append(b.items, it)
	b.bytes += it.size
	token(b.ready)
	return true
}

// full reports whether the next put may have to wait.
func (b *inbox) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes >= b.limit && !b.discarding
}

// putLast adds the last item, which is delivered in any case.
func (b *inbox) putLast(it item) {
	b.mu.Lock()
	b.items = append(b.items, it)
	b.mu.Unlock()
	token(b.ready)
}

// discard throws away the waiting items, and all later ones but the last. It reports whether a handler is running.
func (b *inbox) discard() (busy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.discarding {
		b.discarding = true
		last := b.items
		b.items, b.bytes = nil, 0
		if n := len(last); n > 0 && last[n-1].isLast() {
			b.items = last[n-1:]
		}
		token(b.room)
	}
	return b.busy
}

// take waits for an item. The handlers' goroutine counts as busy from then on until it comes back.
func (b *inbox) take() item {
	for {
		b.mu.Lock()
		b.busy = len(b.items) > 0
		if b.busy {
			it := b.items[0]
			b.items[0] = item{}
			b.items = b.items[1:]
			b.bytes -= it.size
			b.mu.Unlock()
			token(b.room)
			return it
		}
		b.items = nil
		b.mu.Unlock()
		<-b.ready
	}
}

// idle is called when the handlers' goroutine has ended.
func (b *inbox) idle() {
	b.mu.Lock()
	b.busy = false
	b.mu.Unlock()
}

func token(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// dispatch is the handlers' goroutine.
func (c *Client) dispatch() {
	last := false
	defer func() {
		if !last { // a handler has ended this goroutine
			go c.dispatch()
			return
		}
		c.inbox.idle()
		close(c.done)
	}()
	for !last {
		it := c.inbox.take()
		last = it.isLast()
		c.call(it)
	}
}

// call runs the handler for an item.
func (c *Client) call(it item) {
	contain.Call(func() { c.handle(it) }, func(v any) { c.panicked(panicError("a handler", v)) })
}

func (c *Client) handle(it item) {
	if it.push != nil {
		c.pushed(it.push)
		return
	}
	if it.message == nil {
		if it.state == Online {
			c.acknowledgeLate()
		}
		if c.cfg.OnState != nil {
			c.cfg.OnState(c, it.state, it.err)
		}
		return
	}
	h := c.cfg.Handle[it.message.Type]
	if h == nil {
		h = c.cfg.HandleDefault
	}
	if h != nil {
		c.serve(h, it.message)
		return
	}
	if it.message.UserID == "" { // another user's request is not for this client's library to refuse
		_ = c.ReplyError(it.message, protocol.Errorf(protocol.NoHandler, "the client has no handler for this message type"))
	}
}

// serve calls a handler with m, and answers m with its error.
func (c *Client) serve(h Handler, m *protocol.Message) {
	if m.ID != 0 {
		c.unanswered.Store(m)
	}
	if err := h(c, m); err != nil && c.unanswered.Load() == m {
		_ = c.ReplyError(m, err) // when it fails there is no connection, and the sender no longer waits for an answer
	}
	c.unanswered.Store(nil)
}

// panicError returns an error for a panic, or a Goexit, of who. Its text has the stack, because the client keeps no
// log. It is called on the goroutine that failed.
func panicError(who string, v any) error {
	return fmt.Errorf("%w\n\n%s", contain.Error(who, v), debug.Stack())
}

// panicked ends the client because of a panic in a handler.
func (c *Client) panicked(e error) {
	c.stop(e, protocol.InternalError, "a handler panicked")
	c.inbox.discard()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil: // it had ended already, and delivered the rest
		c.err = errors.Join(c.err, e)
	case c.stopped != e: // it is ending
		c.stopped = errors.Join(c.stopped, e)
	}
}
