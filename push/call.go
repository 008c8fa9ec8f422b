package push

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// confirmTimeout is the default of Options.Timeout.
var confirmTimeout = 10 * time.Second // a variable for the tests alone

// call is one call of Push or Go: a message on its way, and its outcomes so far.
type call struct {
	service    *Service
	message    Message
	frame      protocol.Message // the message as it goes to sessions
	confirm    bool             // the caller asked for acknowledgements
	first      bool             // one acknowledgement for each user is enough
	keep       time.Duration    // 0 for not at all
	timeout    time.Duration
	sameDevice bool                // a kept message goes only to sessions of the lost session's device class
	async      bool                // Go's
	done       func(Result, error) // Go's; may be nil
	waited     chan struct{}       // Push's: closed when open is 0
	only       []*engine.Conn      // of the user's sessions; nil for all
	// classes has the device classes of the targeted sessions, with sameDevice: the class of a session cannot be found
	// when it has ended. It is written before the first session is served.
	classes map[*engine.Conn]uint16
	follow  bool // another service keeps the message: see seam.PushHere

	deadline time.Time // guarded by the deadlines
	place    int       // index among the deadlines, plus one; 0 for none

	mu         sync.Mutex
	sending    bool            // the caller has not returned from sending
	open       int             // what Push waits for, or Go has still to tell: asks, operations in a queue, pushers, and sending itself
	alive      int             // asks that are not over
	deliveries []Delivery      // Push's: all; Go's: those that were not told yet
	failed     error           // the pushers' errors, or why nothing was sent
	over       bool            // Push has returned
	late       bool            // the deadline has come
	queued     bool            // Go: the call is in the news
	told       bool            // Go: the last call of done has been made
	parcels    []*parcel       // in outboxes
	pushing    int             // pushers that have not returned
	absent     []string        // users who had no session, and whose message is kept: the Keeper is to be told
	early      []early         // confirmations that wait for the pushers
	missed     map[string]bool // users who had no session, and whose message is not kept; only with a Keeper
}

// class returns the device class of a session.
func (c *call) class(conn *engine.Conn) uint16 {
	if class, known := c.classes[conn]; known {
		return class
	}
	return c.service.device(conn)
}

// tracked reports whether clients are asked to acknowledge the message.
func (c *call) tracked() bool { return c.confirm || c.keep > 0 }

// lasts returns after how long the service gives up on waiting deliveries; 0 means never.
func (c *call) lasts() time.Duration {
	switch {
	case c.keep > 0:
		return c.keep
	case !c.async || c.timeout < 0: // Push gives up by itself
		return 0
	case c.timeout == 0:
		return confirmTimeout
	}
	return c.timeout
}

// expired returns the outcome of an ask at the deadline.
func (c *call) expired() error {
	if c.keep > 0 {
		return errExpired
	}
	return nil
}

// isOver reports whether the deadline has come.
func (c *call) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.late
}

// note adds a delivery with its final outcome.
func (c *call) note(d Delivery) {
	c.mu.Lock()
	if !c.async || c.done != nil {
		c.deliveries = append(c.deliveries, d)
	}
	c.unlockAndTell(true)
}

// ask adds a delivery that waits for an acknowledgement, and returns its index. waited means that Push waits for it;
// with Go it is always true.
func (c *call) ask(d Delivery, waited bool) (index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive++
	if waited {
		c.open++
	}
	if c.async {
		return 0
	}
	c.deliveries = append(c.deliveries, d)
	return len(c.deliveries) - 1
}

// settle sets the outcome of a delivery that waited for an acknowledgement.
func (c *call) settle(index int, d Delivery, waited bool) {
	c.mu.Lock()
	c.alive--
	if waited {
		c.open--
	}
	switch {
	case c.async && c.done != nil:
		c.deliveries = append(c.deliveries, d)
	case !c.async && !c.over:
		c.deliveries[index] = d
	}
	c.unlockAndTell(true)
}

// retract removes a delivery that waited for an acknowledgement, because the message was not handed over.
func (c *call) retract(index int, waited bool) {
	c.mu.Lock()
	c.alive--
	if waited {
		c.open--
	}
	if !c.async {
		c.deliveries = c.deliveries[:index] // it is the last, because one goroutine at a time sends
	}
	c.unlockAndTell(false)
}

// hold says that one more outcome is to come, and release that it has come.
func (c *call) hold() {
	c.mu.Lock()
	c.open++
	c.mu.Unlock()
}

func (c *call) release() {
	c.mu.Lock()
	c.open--
	c.unlockAndTell(false)
}

// sent says that the caller has finished sending. Each delivery is done, or in an outbox.
func (c *call) sent() {
	c.message.Content, c.message.Metadata = nil, nil // the frame has them
	c.mu.Lock()
	c.sending = false
	c.open--
	if d := c.lasts(); d > 0 && (c.alive > 0 || c.open > 0) {
		c.service.deadlines.add(c, d)
	}
	c.unlockAndTell(len(c.deliveries) > 0)
}

// unlockAndTell unlocks c.mu, and wakes Push or queues the call for Go. news means that there is a delivery to tell.
func (c *call) unlockAndTell(news bool) {
	tell := c.async && c.done != nil && !c.sending && !c.queued && (news || c.failed != nil || c.open == 0)
	c.queued = c.queued || tell
	if c.waited != nil && c.open == 0 {
		close(c.waited)
		c.waited = nil
	}
	over := c.alive == 0 && c.open == 0 && !c.sending
	c.mu.Unlock()
	if over {
		c.service.deadlines.remove(c)
	}
	if tell {
		c.service.news.add(c)
	}
}

// add adds the results of pushers.
func (c *call) add(deliveries []Delivery, err error) {
	c.mu.Lock()
	if !c.async || c.done != nil {
		c.deliveries = append(c.deliveries, deliveries...)
		c.failed = errors.Join(c.failed, err)
	}
	c.unlockAndTell(true)
}

// wait waits until all awaited outcomes are known, or the time is over.
func (c *call) wait(waited <-chan struct{}, ctx context.Context) {
	limit := c.timeout
	if _, limited := ctx.Deadline(); limit == 0 && !limited {
		limit = confirmTimeout
	}
	var late <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-waited:
	case <-late:
	case <-ctx.Done():
	}
}

// result returns what Push returns. Later outcomes do not change it.
func (c *call) result() (Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	return Result{ID: c.message.ID, Deliveries: c.deliveries}, c.failed
}

// abandon gives up on waiting deliveries that are not kept.
func (c *call) abandon() {
	c.mu.Lock()
	c.over = true
	parcels := c.parcels
	c.mu.Unlock()
	for _, p := range parcels {
		p.box.abandon(p)
	}
}

// expire gives up on waiting deliveries, because the time is over. It runs on the timer's goroutine.
func (s *Service) expire(c *call) {
	c.mu.Lock()
	c.late = true
	parcels := c.parcels
	c.mu.Unlock()
	c.countEarly()
	for _, p := range parcels {
		p.box.end(p, c.expired())
	}
}
