//go:build linux

package minimal

import (
	"sync"
	"time"
)

const (
	logonTimeout   = 15 * time.Second
	silenceTimeout = 10 * time.Minute // idle users must not time out while the others are measured
	clockTick      = 100 * time.Millisecond
	watchTick      = time.Second
)

// watch finds silent connections with a wheel of lists, one for each second. A connection is in the list of the second in
// which it is checked next; messages before that do not move it.
type watch struct {
	mu    sync.Mutex
	slots [64]Conn // heads of rings
	hand  int64    // the next second to check
}

func (w *watch) init() {
	for i := range w.slots {
		head := &w.slots[i]
		head.next, head.prev = head, head
	}
	w.hand = time.Now().UnixNano() / int64(watchTick)
}

// begin watches a connection. Until its first message it has less time.
func (w *watch) begin(c *Conn, now int64) {
	c.active.Store(now - int64(silenceTimeout-logonTimeout))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.place(c)
}

// place puts a connection into the list of its next check. w.mu is held.
func (w *watch) place(c *Conn) {
	due := (c.active.Load()+int64(silenceTimeout))/int64(watchTick) + 1
	head := &w.slots[max(min(due, w.hand+int64(len(w.slots))-1), w.hand+1)%int64(len(w.slots))]
	c.next, c.prev = head, head.prev
	c.prev.next, head.prev = c, c
}

// end stops watching a connection.
func (w *watch) end(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(c)
}

func (w *watch) remove(c *Conn) {
	if c.next != nil {
		c.prev.next, c.next.prev = c.next, c.prev
		c.next, c.prev = nil, nil
	}
}

// silent returns the connections that were silent for too long, and stops watching them.
func (w *watch) silent(now int64) (silent []*Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ; w.hand <= now/int64(watchTick); w.hand++ {
		head := &w.slots[w.hand%int64(len(w.slots))]
		for head.next != head {
			c := head.next
			w.remove(c)
			if now-c.active.Load() >= int64(silenceTimeout) {
				silent = append(silent, c)
			} else {
				w.place(c)
			}
		}
	}
	return silent
}

// keepTime moves the clock on, and ends connections that are silent.
func (s *Server) keepTime() {
	for now := range time.Tick(clockTick) {
		s.clock.Store(now.UnixNano())
		for _, c := range s.watch.silent(now.UnixNano()) {
			c.Kick(codeHeartbeatTimeout)
		}
	}
}
