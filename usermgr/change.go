package usermgr

import (
	"context"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/protocol"
)

// Change is something that was asked for and goes on by itself.
type Change struct {
	open     atomic.Int64 // parts that are not done yet
	sessions atomic.Int64
	done     chan struct{}
}

// newChange returns a change that is held open until its maker calls partDone.
func newChange() *Change {
	c := &Change{done: make(chan struct{})}
	c.open.Store(1)
	return c
}

func (c *Change) partDone(sessions int64) {
	c.sessions.Add(sessions)
	if c.open.Add(-1) == 0 {
		close(c.done)
	}
}

// Wait waits until the change has taken effect, all its event handlers included, or until ctx ends, and returns how
// many sessions it ended. In an event handler, waiting for a change of the handler's own user ends with ctx's error.
func (c *Change) Wait(ctx context.Context) (sessions int, err error) {
	select {
	case <-c.done:
	case <-ctx.Done():
		select {
		case <-c.done: // both at once: done is done
		default:
			return int(c.sessions.Load()), ctx.Err()
		}
	}
	return int(c.sessions.Load()), nil
}

// Unregister ends a user's session, and the logons of the user that wait at this moment once they have come online,
// with the given code and text. It is how to kick: Unregister(id, protocol.KickedOut, "text for the user").
// It returns at once; for a user who is not there the change ends no session.
func (m *Manager) Unregister(userID string, code protocol.CloseCode, text string) *Change {
	c := newChange()
	if u := m.users.get(userID); u != nil {
		c.endAll(u, ending{code, text})
	}
	c.partDone(0)
	return c
}

// UnregisterSession ends one session. See Unregister.
func (m *Manager) UnregisterSession(sessionID string, code protocol.CloseCode, text string) *Change {
	return endOne(m.sessions.withID(sessionID), ending{code, text})
}

// UnregisterAt ends the session on the connection a.Conn. See Unregister.
func (m *Manager) UnregisterAt(a Address, code protocol.CloseCode, text string) *Change {
	return endOne(m.sessions.onConn(a.Conn), ending{code, text})
}

// Clear ends every session of the moment, and the logons that wait at this moment, with ServerStopping.
func (m *Manager) Clear() *Change {
	c := newChange()
	for u := range m.users.all() {
		c.endAll(u, ending{code: protocol.ServerStopping})
	}
	c.partDone(0)
	return c
}

// endAll ends the session that u has now, and after them the logons that wait now: its part runs behind them, in turn.
func (c *Change) endAll(u *user, why ending) {
	c.open.Add(1)
	u.mu.Lock()
	now := u.current.Load()
	mine := now != nil && now.record(why) // the cause counts from the call, not from the turn
	start := u.enqueue(&change{run: func(u *user) {
		var n int64
		if mine {
			n++
		}
		if s := u.current.Load(); s != nil {
			if s != now && s.record(why) {
				n++
			}
			if s.why() != nil {
				u.finish(s)
			}
		}
		c.partDone(n)
	}})
	u.mu.Unlock()
	if start {
		go u.takeTurns()
	}
}

// endOne ends s, which may be nil.
func endOne(s *session, why ending) *Change {
	c := newChange()
	if s == nil || !s.record(why) {
		c.partDone(0)
		return c
	}
	s.user.post(&change{run: func(u *user) {
		u.finish(s)
		c.partDone(1)
	}})
	return c
}
