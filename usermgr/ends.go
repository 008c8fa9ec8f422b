package usermgr

import (
	"context"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/protocol"
)

// change is the end of some sessions. It goes on by itself; a caller may wait for it.
type change struct {
	open     atomic.Int64 // parts that are not done yet
	sessions atomic.Int64
	done     chan struct{}
}

// newChange returns a change that is held open until its maker calls partDone.
func newChange() *change {
	c := &change{done: make(chan struct{})}
	c.open.Store(1)
	return c
}

func (c *change) partDone(sessions int64) {
	c.sessions.Add(sessions)
	if c.open.Add(-1) == 0 {
		close(c.done)
	}
}

// wait waits until the change has taken effect, all its event handlers included, or until ctx ends, and returns how
// many sessions it ended.
func (c *change) wait(ctx context.Context) (sessions int, err error) {
	select {
	case <-c.done:
	case <-ctx.Done():
		select {
		case <-c.done: // both are true: the change has taken effect
		default:
			return int(c.sessions.Load()), ctx.Err()
		}
	}
	return int(c.sessions.Load()), nil
}

// Clear ends all sessions that exist at the call, and the logons that wait at the call, with ServerStopping. It waits until they have
// ended, with all their event handlers, or until ctx ends, and returns how many sessions it has ended. When ctx has ended before the
// call the sessions end too, but Clear does not wait. In an event handler Clear waits for the handler itself, until ctx ends.
func (m *Manager) Clear(ctx context.Context) (sessions int, err error) {
	c := newChange()
	for u := range m.users.all() {
		c.end(u, ending{code: protocol.ServerStopping}, nil)
	}
	c.partDone(0)
	return c.wait(ctx)
}

// end ends the sessions of u that only selects. A task behind the logons that wait now also ends the sessions that
// those logons have brought, where only selects them. A nil only selects the whole user, who may have no session but a
// grace. end reports whether there was anything that could end.
func (c *change) end(u *user, why ending, only func(*session) bool) (found bool) {
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
	if u.manager.claims != nil && u.logons > 0 && len(meant) > 0 { // the end of these sessions need not wait for a logon's claim
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
