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

// limitKind is a set of limits that reading must look at.
type limitKind uint8

const (
	limitRate limitKind = 1 << iota
	limitRequests
	limitMemory
)

// setLimits derives from the settings what the message path looks at.
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

// startLimits starts the goroutines that look at limits beside the event loops. What it returns ends them.
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

// budget watches how much waits in the whole engine. Nothing is subtracted anywhere: growth brings the next look forward, and
// a look counts what is there. A goroutine of its own looks when the budget is used up; a goroutine that sends on nevertheless, faster
// than that goroutine gets a processor, looks itself.
type budget struct {
	left  atomic.Int64 // how much may come to wait before the next look
	slack int64        // how far left may fall below zero before those who send must look; a look a message would take all the time
	kick  chan struct{}
	look  sync.Mutex // taken with no other lock held, by one who looks
	looks atomic.Uint32
}

// addPending counts n more bytes that wait, or may wait. The caller, or the loop soon after, calls keepWithinBudget when it holds
// no lock any more.
func (e *Engine) addPending(n int) {
	if n > 0 && e.limits&limitMemory != 0 && e.budget.left.Add(-int64(n)) < 0 {
		select {
		case e.budget.kick <- struct{}{}:
		default:
		}
	}
}

// addQueue counts the memory of a queue that a connection has got. c.mu is held on entry.
func (e *Engine) addQueue(o *outBuf) {
	if e.limits&limitMemory != 0 {
		o.look = e.budget.looks.Load()
		e.addPending(cap(o.b))
	}
}

// subtractQueue takes back what addQueue has counted for a queue that has been written, unless a look has counted it since.
// Otherwise a busy engine, for which nothing waits, would look all the time.
func (e *Engine) subtractQueue(o *outBuf) {
	if e.limits&limitMemory != 0 && o.look != 0 && o.look == e.budget.looks.Load() {
		e.budget.left.Add(int64(cap(o.b)))
	}
}

// keepWithinBudget looks, or waits for the one who does, where more has come to wait than the budget and its slack allow. No
// lock is held on entry.
func (e *Engine) keepWithinBudget() {
	if e.limits&limitMemory != 0 && e.budget.left.Load() < -e.budget.slack {
		e.keepBudget(-e.budget.slack)
	}
}

// noteInbound keeps how much gnet has read for the connection and the engine has not taken. It runs on the loop.
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

// restBetweenLooks is the least time between two looks, and no more than a twentieth of the time is spent on them.
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

// offender is a connection for which something waits.
type offender struct {
	conn    *Conn
	in, out int
}

func (o offender) sum() int { return o.in + o.out }

// keepBudget closes the connections for which most waits, the worst first, until the rest is within the budget. It does
// nothing where another goroutine has just looked, and found that more than least may come yet.
func (e *Engine) keepBudget(least int64) {
	for _, o := range e.worst(least) {
		e.log.Warn("a connection is closed: more waits than the memory budget allows", zapConn(o.conn),
			zap.Int("toBeRead", o.in), zap.Int("toBeWritten", o.out))
		o.conn.closeOverBudget(o)
	}
}

// worst gives up what waits for the worst connections, and returns them; to close them calls code that is not ours.
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
	e.budget.left.Add(int64(limit-total) - before) // what has grown meanwhile stays taken off
	return over
}

// waits returns what waits for the connection; nothing when that is being given up.
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

// itemCost is what a message in a mailbox takes besides its own bytes.
const itemCost = 150

// giveUp frees what waits for a connection that is to be closed; again, when more has come before it was.
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

// closeOverBudget closes a connection for which too much waits.
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

// freeOverBudget frees the backlogs of up to most connections over the budget. It runs on the loop, between two connections too where the
// loop is short: one broadcast may leave one with each of thousands before the loop comes to its next turn.
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

// free frees what waits for a connection that is being closed. It runs on the loop.
func (c *Conn) free() {
	if c.gone {
		return
	}
	if c.buffered() > 0 {
		c.discard(-1)
	}
	if c.unsent > 0 { // the notice would never be read
		c.closeNow()
	}
}

// discard gives up the messages that wait, not what must come all the same.
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
