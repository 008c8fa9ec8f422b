package engine

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/protocol"
)

// limitKind is a set of limits that a read must check.
type limitKind uint8

const (
	limitRate limitKind = 1 << iota
	limitRequests
	limitMemory
)

// setLimits derives the fields that the message path reads from the settings.
func (e *Engine) setLimits() {
	cfg := &e.cfg
	if cfg.Limits.MaxMessageRate != noLimit || cfg.Limits.MaxByteRate != noLimit {
		e.limits |= limitRate
	}
	if cfg.Limits.MaxRequests != noLimit {
		e.limits |= limitRequests
	}
	if cfg.Limits.MaxMemory != noLimit {
		e.limits |= limitMemory
	}
	e.maxBody = cfg.Limits.MaxBody
	if cfg.SlowPolicy == SlowClose {
		e.plainLimit = cfg.Limits.MaxOutbound
	}
	e.budget.left.Store(int64(cfg.Limits.MaxMemory))
	e.budget.slack = int64(cfg.Limits.MaxMemory / 8)
	e.budget.kick = make(chan struct{}, 1)
	e.budget.looks.Store(1)
	e.reports.kick = make(chan struct{}, 1)
}

// startLimits starts the goroutines that check limits outside the event loops. The function that it returns ends them.
func (e *Engine) startLimits() (end func(context.Context) error) {
	quit := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { e.tellOfDrops(quit) })
	if e.limits&limitMemory != 0 {
		running.Go(func() { e.watchMemory(quit) })
	}
	if e.writable != nil {
		running.Go(func() { e.writable.run(e) })
	}
	return func(ctx context.Context) error {
		close(quit)
		if e.writable != nil {
			e.writable.close()
		}
		if !waitAtLeast(ctx, time.Second, running.Wait) {
			return fmt.Errorf("%w: OnDropped has not returned", ErrStopTimeout)
		}
		return nil
	}
}

// budget watches how many bytes wait in the whole engine. Growth is only added up: it brings the next look forward, and
// a look counts the bytes that really wait. When the budget is used up its own goroutine looks. When much more is sent
// before that goroutine runs, the sender looks.
type budget struct {
	left  atomic.Int64 // how many more bytes may come to wait before the next look
	slack int64        // how far left may fall below zero before senders must look; one look for each message would be too slow
	kick  chan struct{}
	look  sync.Mutex // held during a look; taken with no other lock held
	looks atomic.Uint32
}

// addPending counts n more bytes that wait, or may wait. The caller, or the loop soon after, calls keepWithinBudget
// when it holds no lock.
func (e *Engine) addPending(n int) {
	if n > 0 && e.limits&limitMemory != 0 && e.budget.left.Add(-int64(n)) < 0 {
		select {
		case e.budget.kick <- struct{}{}:
		default:
		}
	}
}

// addQueue counts the memory of a connection's new queue. c.mu is held on entry.
func (e *Engine) addQueue(o *outBuf) {
	if e.limits&limitMemory != 0 {
		o.look = e.budget.looks.Load()
		e.addPending(cap(o.b))
	}
}

// subtractQueue undoes addQueue for a queue that was written, unless a look has counted the queue since. Without it a
// busy engine would look all the time although nothing waits.
func (e *Engine) subtractQueue(o *outBuf) {
	if e.limits&limitMemory != 0 && o.look != 0 && o.look == e.budget.looks.Load() {
		e.budget.left.Add(int64(cap(o.b)))
	}
}

// keepWithinBudget looks, or waits for the goroutine that looks, when more waits than the budget and its slack allow.
// No lock is held on entry.
func (e *Engine) keepWithinBudget() {
	if e.limits&limitMemory != 0 && e.budget.left.Load() < -e.budget.slack {
		e.keepBudget(-e.budget.slack)
	}
}

// noteInbound notes how many bytes gnet has read for the connection and the engine has not taken. It runs on the loop.
func (c *Conn) noteInbound() {
	if c.engine.limits&limitMemory == 0 {
		return
	}
	var now uint32
	if !c.gone {
		now = uint32(c.heldInbound())
	}
	if was := c.inbound.Load(); now != was {
		c.inbound.Store(now)
		if now > was {
			c.engine.addPending(int(now - was))
		}
	}
	c.engine.keepWithinBudget()
}

// restBetweenLooks is the least time between two looks. Looks take at most a twentieth of the time.
const restBetweenLooks = 2 * time.Millisecond

func (e *Engine) watchMemory(quit <-chan struct{}) {
	t := time.NewTimer(watchInterval)
	defer t.Stop()
	for {
		select {
		case <-quit:
			return
		case <-t.C:
		case <-e.budget.kick:
		}
		began := time.Now()
		e.keepBudget(math.MaxInt64)
		rest := max(restBetweenLooks, 20*time.Since(began))
		select {
		case <-quit:
			return
		case <-time.After(rest):
		}
		t.Reset(watchInterval)
	}
}

// offender is a connection with waiting bytes.
type offender struct {
	conn    *Conn
	in, out int
}

func (o offender) sum() int { return o.in + o.out }

// keepBudget closes the connections with the most waiting bytes, the worst first, until the rest is within the budget.
// It does nothing when another goroutine has just looked and found room for more than least.
func (e *Engine) keepBudget(least int64) {
	for _, o := range e.worst(least) {
		e.log.Warn("a connection is closed: more waits than the memory budget allows", zapConn(o.conn),
			zap.Int("toBeRead", o.in), zap.Int("toBeWritten", o.out))
		o.conn.closeOverBudget(o)
	}
}

// worst gives up the waiting bytes of the worst connections, and returns these. The caller closes them, because that
// calls the application's code.
func (e *Engine) worst(least int64) (over []offender) {
	e.budget.look.Lock()
	defer e.budget.look.Unlock()
	if e.budget.left.Load() >= least {
		return nil
	}
	e.budget.looks.Add(1)
	before := e.budget.left.Load()
	limit := e.cfg.Limits.MaxMemory
	var waiting []offender
	total := 0
	for i := range e.conns.shards {
		e.conns.shards[i].conns.All(func(c *Conn) bool {
			if o := c.waits(); o.sum() > 0 {
				total += o.sum()
				waiting = append(waiting, o)
			}
			return true
		})
	}
	if total > limit {
		slices.SortFunc(waiting, func(a, b offender) int { return cmp.Compare(b.sum(), a.sum()) })
		for _, o := range waiting {
			if total <= limit {
				break
			}
			total -= o.sum()
			o.conn.giveUp()
			over = append(over, o)
		}
	}
	e.budget.left.Add(int64(limit-total) - before) // growth during the look stays subtracted
	return over
}

// waits returns the number of bytes that wait for the connection, 0 when they are being given up.
func (c *Conn) waits() offender {
	o := offender{conn: c}
	open := c.state.Load() < stateClosed
	if open {
		o.in = int(c.inbound.Load())
	}
	if c.box != nil {
		c.box.mu.Lock()
		o.in += c.box.bytes + len(c.box.items)*itemCost
		c.box.mu.Unlock()
	}
	if !open || o.in == 0 && !c.queued.Load() && c.state.Load() == stateBound {
		return o
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy != nil && c.lazy.overBudget && c.state.Load() >= stateClosing {
		return offender{conn: c}
	}
	o.out = int(c.unsent)
	if c.out != nil && !c.out.shared {
		o.out += c.out.memory()
	}
	if own := c.ownCodec(); own != nil {
		o.out += own.earlySize
	}
	return o
}

// itemCost is the memory of a message in a mailbox besides its own bytes.
const itemCost = 150

// giveUp frees the waiting bytes of a connection that is to be closed. It is called again when more has come before the
// close.
func (c *Conn) giveUp() {
	c.mu.Lock()
	c.needLazy().overBudget = true
	c.dropEarly()
	if c.out != nil {
		c.dropQueue()
		c.needLazy().noticed = false
	}
	c.mu.Unlock()
	if c.box != nil {
		c.box.discard(c.engine)
	}
}

// closeOverBudget closes a connection with too many waiting bytes.
func (c *Conn) closeOverBudget(o offender) {
	if o.out >= o.in {
		c.closeBy(protocol.SlowConsumer, "the server is short of memory, and the client does not take what is sent")
	} else {
		c.closeBy(protocol.RateLimited, "the server is short of memory, and the client sends more than it can handle")
	}
	l := c.loop
	l.mu.Lock()
	l.excess = append(l.excess, c)
	l.short.Store(true)
	wake := l.mustWake()
	l.mu.Unlock()
	if wake {
		l.wake()
	}
}

// freeOverBudget frees the backlogs of up to most connections over the budget. It runs on the loop, also between two
// connections when the loop is short, because one broadcast may give thousands of connections a backlog before the
// loop's next turn.
func (l *loop) freeOverBudget(most int) {
	for range most {
		l.mu.Lock()
		if len(l.excess) == 0 {
			l.excess = nil
			l.short.Store(false)
			l.mu.Unlock()
			return
		}
		c := l.excess[0]
		l.excess[0], l.excess = nil, l.excess[1:]
		l.mu.Unlock()
		c.guardOnLoop(c.free)
	}
}

// free frees the waiting bytes of a connection that is being closed. It runs on the loop.
func (c *Conn) free() {
	if c.gone {
		return
	}
	if c.buffered() > 0 {
		c.discard(-1)
	}
	if c.unsent > 0 { // the client would never read the notice
		c.closeNow()
	}
}

// discard gives up the messages that wait, but not the items that must still be done.
func (b *mailbox) discard(e *Engine) {
	b.mu.Lock()
	before := b.bytes
	b.items = slices.DeleteFunc(b.items, func(it item) bool { return it.request == nil && !it.end })
	b.bytes = 0
	for _, it := range b.items {
		b.bytes += it.size
	}
	e.inboundQueue.Add(int64(b.bytes - before))
	b.mu.Unlock()
}
