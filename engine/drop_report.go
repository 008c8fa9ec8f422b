package engine

import (
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// drops counts the messages that a connection has lost and that are not reported yet. It is under Conn.mu.
type drops struct {
	uncounted tally // not counted by the binding yet
	untold    tally // not told to Config.OnDropped yet
	listed    bool  // the connection is in the engine's list
	counting  bool  // the binding is being told
	endWaits  bool  // the binding is to be told of the end after that
}

// drop notes messages that were thrown away. c.mu is held on entry.
func (c *Conn) drop(t tally) {
	if t.messages == 0 {
		return
	}
	c.engine.droppedMessages.Add(uint64(t.messages))
	c.engine.droppedBytes.Add(uint64(t.bytes))
	x := c.needLazy()
	if x.drops == nil {
		x.drops = new(drops)
	}
	x.drops.uncounted.addAll(t)
	x.drops.untold.addAll(t)
	if !x.drops.listed {
		x.drops.listed = true
		c.engine.reports.add(c)
	}
}

// countDrops tells the binding how much was dropped, unless the binding was told of the end, which had the final
// counts.
func (c *Conn) countDrops() {
	c.mu.Lock()
	if c.lazy == nil || c.lazy.drops == nil || c.binding == nil || c.has(isEndTold) || c.lazy.drops.counting {
		c.mu.Unlock()
		return
	}
	b, d := c.binding, c.lazy.drops
	t := d.uncounted
	d.uncounted = tally{}
	d.counting = t.messages > 0
	c.mu.Unlock()
	if t.messages == 0 {
		return
	}
	c.callBinding(b, func() { b.Dropped(t.typ, t.messages, t.bytes) })
	c.mu.Lock()
	end := d.endWaits
	d.counting, d.endWaits = false, false
	c.mu.Unlock()
	if end {
		c.tellEnd()
	}
}

// tellDrops tells the application how much was dropped.
func (c *Conn) tellDrops(tell func(*Conn, protocol.Traffic)) {
	c.mu.Lock()
	t := c.lazy.drops.untold
	c.lazy.drops.untold, c.lazy.drops.listed = tally{}, false
	c.mu.Unlock()
	c.countDrops() // messages that were dropped after the last count
	c.mu.Lock()
	if d := c.lazy.drops; d.uncounted.messages > 0 && !d.listed && c.binding == nil && c.state.Load() < stateBound {
		d.listed = true // the admission has not set the binding yet
		c.engine.reports.add(c)
	}
	c.mu.Unlock()
	if tell == nil || t.messages == 0 {
		return
	}
	contain.Apart(func() {
		tell(c, protocol.Traffic{Messages: uint64(t.messages), Bytes: uint64(t.bytes), LastType: t.typ})
	},
		func(v any) { c.engine.panicked("OnDropped", v) })
}

// dropReports are the connections that have dropped messages that are not reported yet.
type dropReports struct {
	mu    sync.Mutex // taken under Conn.mu
	conns []*Conn
	kick  chan struct{}
}

func (r *dropReports) add(c *Conn) {
	r.mu.Lock()
	r.conns = append(r.conns, c)
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// reportInterval is the least time between two reports of one connection.
const reportInterval = time.Second

// tellOfDrops tells the bindings and the application how much was dropped.
func (e *Engine) tellOfDrops(quit <-chan struct{}) {
	for ended := false; ; {
		select {
		case <-e.reports.kick:
		case <-quit:
			ended = true
		}
		e.reports.mu.Lock()
		conns := e.reports.conns
		e.reports.conns = nil
		e.reports.mu.Unlock()
		for _, c := range conns {
			c.countDrops()
		}
		for _, c := range conns {
			c.tellDrops(e.cfg.OnDropped)
		}
		if ended {
			return
		}
		select {
		case <-time.After(reportInterval):
		case <-quit:
		}
	}
}
