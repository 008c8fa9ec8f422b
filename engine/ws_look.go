package engine

import (
	"math"
	"time"

	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// webs are a loop's connections that speak WebSocket. The loop looks at all of them by turns, and pings those that are
// silent: a page in a browser cannot ping, and may not even run.
type webs struct {
	list  []*wsStream
	next  int   // the place of the next to look at in this pass
	pass  int   // passes that have begun
	began int64 // when this one has, by the loop's clock
}

func (w *webs) add(s *wsStream) {
	s.place = int32(len(w.list))
	w.list = append(w.list, s)
}

// remove takes a connection out. The last one gets its place, and may be looked at one pass later.
func (w *webs) remove(s *wsStream) {
	last := len(w.list) - 1
	if s.place < 0 || int(s.place) > last || w.list[s.place] != s {
		return
	}
	w.list[s.place] = w.list[last]
	w.list[s.place].place = s.place
	w.list[last] = nil
	w.list = w.list[:last]
	s.place = -1
}

// defaultPing is the default of WebSocket.PingInterval, where the heartbeat timeout does not ask for less.
const defaultPing = 10 * time.Second

// setPings sets how often the loops look at connections that speak WebSocket: twice in the shortest PingInterval.
func (e *Engine) setPings(heartbeat time.Duration) {
	e.ping = defaultPing
	if heartbeat > 0 {
		e.ping = min(e.ping, heartbeat/3)
	}
	shortest := e.ping
	for _, l := range e.cfg.Listeners {
		if w := l.WebSocket; w != nil && w.PingInterval > 0 {
			shortest = min(shortest, w.PingInterval)
		}
	}
	e.webPass = max(shortest/2, watchInterval)
}

// passes returns how many passes take so long; 0 for no limit.
func (e *Engine) passes(d time.Duration) uint16 {
	if d <= 0 {
		return 0
	}
	return uint16(min(max(d/e.webPass, 1), math.MaxUint16))
}

// lookAtWebs looks at some of the connections, each quarter of a second, so that a pass takes Engine.webPass.
func (l *loop) lookAtWebs() {
	w, pass := &l.webs, l.engine.webPass
	now := l.clock.Coarse()
	if w.next >= len(w.list) {
		if now-w.began < int64(pass) {
			return
		}
		w.began, w.next, w.pass = now, 0, w.pass+1
	}
	parts := max(int(pass/watchInterval), 1)
	for range (len(w.list) + parts - 1) / parts {
		if w.next >= len(w.list) {
			return
		}
		s := w.list[w.next]
		w.next++
		s.conn.guardOnLoop(s.look)
	}
}

// look pings the client if nothing has come from it, and ends the connection of a page that is dead.
func (s *wsStream) look() {
	c := s.conn
	if c.gone || s.finished || c.state.Load() != stateBound {
		return
	}
	at := c.web
	if c.loop.webs.pass%(2*max(int(at.looks), 1)) == 0 {
		s.controls = 0
	}
	s.silent += uint16(min(1, math.MaxUint16-int(s.silent)))
	if at.page > 0 && s.silent >= at.page {
		c.closeBy(protocol.HeartbeatTimeout, "no message came from the page for too long")
		return
	}
	if c.unsent == 0 {
		s.answerLate()
	}
	if s.unheard == justHeard {
		s.unheard = 0
		return
	}
	if s.unheard++; at.looks > 0 && s.unheard >= at.looks {
		s.unheard = 0
		if c.unsent == 0 { // otherwise the client takes nothing
			s.control(wsframe.Ping, nil)
		}
	}
}
