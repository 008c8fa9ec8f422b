package engine

import (
	"iter"
	"sync"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// seamEngine is an engine as this module's other packages see it.
type seamEngine Engine

var _ seam.Engine[*Conn, *SendOptions] = (*seamEngine)(nil)

func init() { seam.EngineOf = func(e any) any { return (*seamEngine)(e.(*Engine)) } }

// MaxBody implements seam.Engine.
func (s *seamEngine) MaxBody() int { return s.maxBody }

// Bound implements seam.Engine.
func (s *seamEngine) Bound() int { return s.in(stateBound) + s.in(stateHalfClosed) }

// ConnsVersion implements seam.Engine.
func (s *seamEngine) ConnsVersion() (version uint64) {
	loops := s.started.Load()
	if loops == nil {
		return 0
	}
	for _, l := range *loops {
		version += l.changes.Load()
	}
	return version
}

// BroadcastInOrder implements seam.Engine.
func (s *seamEngine) BroadcastInOrder(order sync.Locker, to iter.Seq[*Conn], m *protocol.Message, o *SendOptions) (n int, err error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	e := (*Engine)(s)
	b := broadcast{engine: e, m: m, o: o.of(e, m), large: tooLarge(m, e.maxBody), early: true}
	n = b.inOrder(order, to)
	for _, l := range b.left {
		o.report(l.conn, l.conn.unsentFor(l.why))
	}
	e.keepWithinBudget()
	return n, b.err
}

// leftOut is a connection that a broadcast does not reach.
type leftOut struct {
	conn *Conn
	why  error
}

// inOrder queues the message for all, under the lock, which is released even where a codec ends the goroutine.
func (b *broadcast) inOrder(order sync.Locker, to iter.Seq[*Conn]) (n int) {
	order.Lock()
	defer order.Unlock()
	b.begin()
	defer b.end()
	for c := range to {
		b.next()
		if why := b.sendTo(c); why != nil {
			b.left = append(b.left, leftOut{c, why})
		} else {
			n++
		}
	}
	return n
}
