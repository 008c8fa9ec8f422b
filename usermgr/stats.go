package usermgr

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/protocol"
)

// Stats is a snapshot of a manager. What counts up does so since the manager was made. The parts are read one after
// another, so that they may be a moment apart.
type Stats struct {
	Users    int // users who are online now
	Sessions int // live now
	// Devices are the live sessions by device class, of the classes that Config.Devices names, those without a session too:
	// Known, or else 0 and the classes of Exclusive. The others are the rest of Sessions.
	Devices map[uint16]int

	Logons uint64 // sessions that have begun
	// Refused are the logons that came to nothing, by the code that Register gave; InternalError for an error without one.
	Refused map[protocol.CloseCode]uint64
	// Disconnected are the sessions that are over, by the code that ended them.
	Disconnected map[protocol.CloseCode]uint64

	HandlerPanics  uint64 // event handlers that panicked
	HandlersFrozen uint64 // sessions whose last message handler was given up on
}

// Stats returns a snapshot. It takes a few hundred loads and a look at each device class that it has, however many users there
// are. Any goroutine may call it.
func (m *Manager) Stats() Stats {
	s := Stats{Users: m.Count(), Logons: m.logons.Load(), Refused: m.refused.All(),
		Disconnected: m.disconnected.All(), HandlerPanics: m.handlerPanics.Load(), HandlersFrozen: m.givenUp.Load()}
	s.Devices, s.Sessions = m.deviceCounts.of(m.devices.named())
	return s
}

// counters are the manager's. None of them stands in the message path.
type counters struct {
	handlerPanics, givenUp, logons atomic.Uint64
	refused, disconnected          codes.Counter
}

// refuse counts a logon that came to nothing.
func (m *Manager) refuse(err error) {
	var ce *protocol.CloseError
	if !errors.As(err, &ce) {
		ce = &protocol.CloseError{Code: protocol.InternalError}
	}
	m.refused.Add(ce.Code)
}

// ClosedSession is a session that is over.
type ClosedSession struct {
	SessionInfo                    // with its final counters, and without its Token
	Code        protocol.CloseCode // why it ended
	At          time.Time          // when it was unbound
}

// Closed returns the sessions that have ended last, the latest first, as many as Config.ClosedHistory keeps. Any goroutine
// may call it.
func (m *Manager) Closed() []ClosedSession { return m.history.all() }

// defaultHistory is how many closed sessions are kept.
const defaultHistory = 1000

// history is the ring of the sessions that have ended last.
type history struct {
	mu   sync.Mutex
	ring []ClosedSession // grows up to size
	next int             // where the next one goes, when the ring is full: the oldest stands there
	size int
}

func (h *history) add(info *SessionInfo, code protocol.CloseCode) {
	if h.size <= 0 {
		return
	}
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ring) < h.size {
		h.ring = append(h.ring, ClosedSession{})
		h.next = len(h.ring) - 1
	}
	at := &h.ring[h.next]
	at.SessionInfo, at.Code, at.At = *info, code, now
	at.Token = ""
	h.next = (h.next + 1) % h.size
}

func (h *history) all() []ClosedSession {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]ClosedSession, len(h.ring))
	for i := range all {
		all[i] = h.ring[(h.next-1-i+2*h.size)%h.size]
	}
	return all
}
