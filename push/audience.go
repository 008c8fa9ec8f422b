package push

import (
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/engine"
)

// audience has the receivers of a push to everyone, in the order of the engine's connections. It never changes.
type audience struct {
	version    uint64 // the engine's
	conns      []*engine.Conn
	deliveries []Delivery // one for each receiver, for the case without errors; results share it, since a copy costs as much as half a broadcast
}

// audiences keeps the audience from one push to everyone to the next, until a connection comes or goes: to make it
// takes more than half as long as the broadcast.
type audiences struct {
	now  atomic.Pointer[audience] // nil while none is kept
	used atomic.Bool              // since the last check

	mu    sync.Mutex
	timer *time.Timer // of the checks; nil while nothing is kept
}

// keepAudience is the time between checks whether the audience is still used. For that long it may keep connections
// that have closed.
var keepAudience = time.Second // a variable for the tests alone

// audience returns the present audience.
func (s *Service) audience() *audience {
	e := s.bridge.Engine()
	s.audiences.used.Store(true)
	version := s.engine.ConnsVersion()
	if a := s.audiences.now.Load(); a != nil && a.version == version {
		return a
	}
	n := s.engine.Bound()
	a := &audience{version: version, conns: make([]*engine.Conn, 0, n), deliveries: make([]Delivery, 0, n)}
	for c := range e.Conns() {
		if user := c.UserID(); user != "" {
			a.conns = append(a.conns, c)
			a.deliveries = append(a.deliveries, Delivery{UserID: user, Conn: c.ID(), Device: s.device(c)})
		}
	}
	s.audiences.keep(s, a)
	return a
}

func (k *audiences) keep(s *Service, a *audience) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s.closed.Load() {
		return
	}
	k.now.Store(a)
	if k.timer == nil {
		k.timer = time.AfterFunc(keepAudience, func() { k.look(s) })
	}
}

// look forgets an audience that is unused or outdated.
func (k *audiences) look(s *Service) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.now.Load()
	if a == nil || k.timer == nil {
		return
	}
	if !k.used.Swap(false) || a.version != s.engine.ConnsVersion() {
		k.now.Store(nil)
		k.timer = nil
		return
	}
	k.timer.Reset(keepAudience)
}

// stop forgets the audience for good. The service is closed.
func (k *audiences) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	k.now.Store(nil)
}

// everyone yields the connections that have been let in, each with its user.
func (s *Service) everyone() iter.Seq2[*engine.Conn, string] {
	return func(yield func(*engine.Conn, string) bool) {
		a := s.audience()
		for i, c := range a.conns {
			if !yield(c, a.deliveries[i].UserID) {
				return
			}
		}
	}
}

// broadcastToAll sends to everyone a message without acknowledgements, while nothing is kept for any user.
func (s *Service) broadcastToAll(c *call) {
	a := s.audience()
	told := !c.async || c.done != nil
	if told {
		c.deliveries = slices.Clip(a.deliveries)
	}
	own := false // c.deliveries is a copy
	next := 0    // the index of the last report's connection: reports come in the order of a.conns
	// The error is not needed: each delivery has its own.
	_, _ = s.bridge.Engine().Broadcast(slices.Values(a.conns), &c.frame, &engine.SendOptions{Report: func(conn *engine.Conn, why error) {
		if !told {
			return
		}
		if !own {
			c.deliveries, own = slices.Clone(a.deliveries), true
		}
		next += slices.Index(a.conns[next:], conn)
		d := &c.deliveries[next]
		if errors.Is(why, engine.ErrClosed) {
			*d = Delivery{UserID: d.UserID, Err: errOffline}
		} else {
			d.Err = why
		}
	}})
}
