package engine

import (
	"context"
	"sync"
	"time"
)

// handshakes runs what comes before an event loop and may take its time, on a bounded number of goroutines, which live
// while there are connections for them. Connections wait for their turn unread, first come first served.
type handshakes struct {
	engine *Engine
	limit  int
	ctx    context.Context // ends when the engine stops
	cancel context.CancelFunc

	mu      sync.Mutex
	running int
	waiting []*arrival
	peers   map[*handshakeConn]*arrival // those that are in TLS
	stopped bool
	look    *time.Timer // runs while connections wait
}

const (
	// lookInterval is how often those who wait, and those they wait for, are looked at.
	lookInterval = 50 * time.Millisecond
	// slowHandshake is how long a client may be waited for in its TLS handshake, in all, while others wait for its place: otherwise a
	// few clients that say nothing would keep everybody out. A client has two flights to send, and the first one has come
	// while it waited itself.
	slowHandshake = time.Second
)

func (h *handshakes) init(e *Engine) {
	h.engine, h.limit = e, e.cfg.Accept.MaxHandshakes
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.peers = make(map[*handshakeConn]*arrival)
}

// add is called by a goroutine that e.accepting waits for.
func (h *handshakes) add(a *arrival) {
	a.peer = newHandshakeConn(a.nc, &h.engine.clock)
	h.mu.Lock()
	switch {
	case h.stopped:
		h.mu.Unlock()
		a.refuse(refusedStopping, nil)
		return
	case h.running < h.limit:
		h.running++
		h.engine.accepting.Add(1)
		go h.work(a)
	default:
		a.since = h.engine.clock.Now()
		h.waiting = append(h.waiting, a)
		if len(h.waiting) == 1 {
			h.lookLater()
		}
	}
	h.mu.Unlock()
}

// host keeps watch over a client's TLS handshake until the function that it returns is called.
func (h *handshakes) host(g *handshakeConn, a *arrival) (done func()) {
	h.mu.Lock()
	h.peers[g] = a
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		delete(h.peers, g)
		h.mu.Unlock()
	}
}

func (h *handshakes) work(a *arrival) {
	defer h.engine.accepting.Done()
	for ; a != nil; a = h.next() {
		h.run(a)
	}
}

// next returns the connection whose turn it is, or nil when the goroutine is not needed any more.
func (h *handshakes) next() *arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.first(); a != nil {
		return a
	}
	h.running--
	return nil
}

// first takes the first one that waits. h.mu is held on entry.
func (h *handshakes) first() *arrival {
	if len(h.waiting) == 0 {
		return nil
	}
	a := h.waiting[0]
	h.waiting[0] = nil
	if h.waiting = h.waiting[1:]; len(h.waiting) == 0 {
		h.waiting = nil
		h.look.Stop()
	}
	return a
}

// lookLater has those who wait looked at. h.mu is held on entry.
func (h *handshakes) lookLater() {
	if h.look == nil {
		h.look = time.AfterFunc(lookInterval, h.lookAfter)
		return
	}
	h.look.Reset(lookInterval)
}

// lookAfter refuses those who have waited too long, and makes room for the others: for each of them it gives up on one client
// that is slow in its handshake.
func (h *handshakes) lookAfter() {
	h.mu.Lock()
	var late, slow []*arrival
	for len(h.waiting) > 0 && h.engine.clock.Now()-h.waiting[0].since >= int64(h.engine.cfg.Timeouts.Handshake) {
		late = append(late, h.first())
	}
	if len(h.waiting) > 0 {
		for g, a := range h.peers {
			if len(slow) < len(h.waiting) && g.awaited() >= slowHandshake {
				slow = append(slow, a)
			}
		}
		h.lookLater()
	}
	if len(late)+len(slow) > 0 { // while others wait, every goroutine is at work: the engine waits for them, and so for this one
		h.engine.accepting.Add(1)
		defer h.engine.accepting.Done()
	}
	h.mu.Unlock()
	for _, a := range late {
		a.refuse(refusedHandshake, refusedHandshake.notice(a.at))
	}
	for _, a := range slow {
		a.refuse(refusedHandshake, nil)
	}
}

// stop closes the connections that wait and those that are in a handshake.
func (h *handshakes) stop() {
	h.mu.Lock()
	h.stopped = true
	waiting := h.waiting
	h.waiting = nil
	if h.look != nil {
		h.look.Stop()
	}
	h.mu.Unlock()
	h.cancel()
	for _, a := range waiting {
		a.refuse(refusedStopping, nil)
	}
}

// counts returns how many connections are in a handshake, strangers that are told something in TLS among them, and how many
// wait for their turn.
func (h *handshakes) counts() (running, waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running + len(h.engine.telling), len(h.waiting)
}

// run takes a connection from accept to its event loop, within Timeouts.Handshake.
func (h *handshakes) run(a *arrival) {
	ctx, cancel := h.engine.clock.WithTimeout(h.ctx, h.engine.cfg.Timeouts.Handshake)
	defer cancel()
	closed := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() { // also while the hook pays no heed to ctx
		defer close(closed)
		a.giveUp(h.ctx)
	})
	done := h.host(a.peer, a)
	ok := a.shakeHands(ctx)
	done()
	if !inTime() {
		<-closed
		return
	}
	if !ok || ctx.Err() != nil {
		a.giveUp(h.ctx) // unless it has been refused
		return
	}
	_ = a.nc.SetDeadline(time.Time{})
	a.enroll()
}
