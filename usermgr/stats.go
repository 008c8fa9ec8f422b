package usermgr

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/protocol"
)

// Stats is a snapshot of a manager. Counters count from New on. The fields are read one after another, so that they may differ by a
// moment.
type Stats struct {
	Users    int // users who are online now
	Sessions int // live now
	// Devices counts the live sessions of each device class that Config.Devices names, including classes without a session: the
	// classes in Known or, if Known is empty, class 0 and the classes of Exclusive. Sessions has all classes together.
	Devices map[uint16]int

	Logons uint64 // sessions that have begun
	// Refused counts the refused logons, by the code that Register returned; InternalError for an error without a code.
	Refused map[protocol.CloseCode]uint64
	// Disconnected counts the sessions that have ended, by the code that ended them.
	Disconnected map[protocol.CloseCode]uint64

	HandlerPanics  uint64 // event handlers that panicked
	HandlersFrozen uint64 // sessions whose last message handler did not return within Config.QuiesceTimeout
}

// Stats returns a snapshot. Its cost does not grow with the number of users: a few hundred loads, and one for each device class that
// Config.Devices names. Any goroutine may call it.
func (m *Manager) Stats() Stats {
	s := Stats{Users: m.Count(), Logons: m.logons.Load(), Refused: m.refused.All(),
		Disconnected: m.disconnected.All(), HandlerPanics: m.handlerPanics.Load(), HandlersFrozen: m.givenUp.Load()}
	s.Devices, s.Sessions = m.deviceCounts.of(m.devices.named())
	return s
}

// counters has the manager's counters. The message path uses none of them.
type counters struct {
	handlerPanics, givenUp, logons atomic.Uint64
	refused, disconnected          codes.Counter
}

// refuse counts a logon that failed.
func (m *Manager) refuse(err error) {
	var ce *protocol.CloseError
	if !codes.As(err, &ce) {
		ce = &protocol.CloseError{Code: protocol.InternalError}
	}
	m.refused.Add(ce.Code)
}

// ClosedSession is a session that has ended.
type ClosedSession struct {
	SessionInfo                    // with its final counters, and without its Token
	Code        protocol.CloseCode // why it ended
	At          time.Time          // when it was unbound
}

// Closed returns the last sessions that have ended, up to Config.ClosedHistory, the latest first. Any goroutine may call it.
func (m *Manager) Closed() []ClosedSession { return m.history.all() }

// defaultHistory is how many closed sessions are kept.
const defaultHistory = 1000

// history has the sessions that have ended last, in a ring.
type history struct {
	mu   sync.Mutex
	ring []ClosedSession // grows up to size
	next int             // the index of the oldest, which the next one replaces when the ring is full
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
