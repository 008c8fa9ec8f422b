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

// Unregister ends a user's sessions, and the logons of the user that wait at this moment once they have come online,
// with the given code and text. It returns at once; for a user who is not there the change ends no session. To throw
// a user out with KickedOut, and to learn what became of it, there is KickUser.
func (m *Manager) Unregister(userID string, code protocol.CloseCode, text string) *Change {
	c := newChange()
	if u := m.users.get(userID); u != nil {
		c.end(u, ending{code: code, text: text}, nil)
	}
	c.partDone(0)
	return c
}

// UnregisterToken ends the user's session whose login has this token. See Unregister.
func (m *Manager) UnregisterToken(userID, token string, code protocol.CloseCode, text string) *Change {
	c := newChange()
	if u := m.users.get(userID); u != nil {
		c.end(u, ending{code: code, text: text}, func(s *session) bool { return s.token() == token })
	}
	c.partDone(0)
	return c
}

// UnregisterSession ends one session. See Unregister.
func (m *Manager) UnregisterSession(sessionID string, code protocol.CloseCode, text string) *Change {
	return endOne(m.sessions.withID(sessionID), ending{code: code, text: text})
}

// UnregisterAt ends the session on the connection a.Conn. See Unregister.
func (m *Manager) UnregisterAt(a Address, code protocol.CloseCode, text string) *Change {
	return endOne(m.sessions.onConn(a.Conn), ending{code: code, text: text})
}

// Clear ends every session of the moment, and the logons that wait at this moment, with ServerStopping.
func (m *Manager) Clear() *Change {
	c := newChange()
	for u := range m.users.all() {
		c.end(u, ending{code: protocol.ServerStopping}, nil)
	}
	c.partDone(0)
	return c
}

// end ends those of u's sessions that only says, and after them the logons that wait now and are such: its part runs
// behind them, in turn. A nil only means the whole user, with the grace of one who has no session. It reports whether there
// was anything that could end.
func (c *Change) end(u *user, why ending, only func(*session) bool) (found bool) {
	c.open.Add(1)
	var n int64
	record := func() (meant []*session) { // u.mu is held
		for s := range u.all {
			if only != nil && !only(s) {
				continue
			}
			meant = append(meant, s)
			why.kicked = nil
			if why.kick != nil {
				why.kicked = &kickedSession{session: s}
			}
			first := s.why() == nil && s.record(why)
			if first {
				n++
			}
			if why.kick != nil {
				why.kick.noted(why.kicked, first)
			}
		}
		if why.kick != nil && only == nil {
			why.kick.revokePast(u)
		}
		return meant
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	meant := record() // the cause counts from the call, not from the turn
	found = len(meant) > 0 || u.logons > 0 || only == nil && u.countsAsOnline()
	if u.manager.claims != nil && u.logons > 0 && len(meant) > 0 { // who is meant need not wait for a logon's claim
		u.enqueue(&task{ends: true, run: func(u *user) { u.finishAll(meant, u.passOn) }})
	}
	u.enqueue(&task{run: func(u *user) {
		u.mu.Lock()
		meant := record()
		u.mu.Unlock()
		u.finishAll(meant, func() {
			if only == nil && (!why.code.MayReconnect() || why.code == protocol.ServerStopping) {
				u.endGrace()
			}
			c.partDone(n)
			u.passOn()
		})
	}})
	return found
}

// endOne ends s, which may be nil.
func endOne(s *session, why ending) *Change {
	c := newChange()
	if s == nil || !s.record(why) {
		c.partDone(0)
		return c
	}
	s.user.post(&task{ends: true, run: func(u *user) {
		u.finish(s, func() {
			c.partDone(1)
			u.passOn()
		})
	}})
	return c
}
