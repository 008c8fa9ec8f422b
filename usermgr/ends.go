package usermgr

import (
	"context"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/protocol"
)

// progress is the progress of the ends of sessions, or of their connections. They go on by themselves; a caller may wait for them.
type progress struct {
	open     atomic.Int64 // parts that are not done yet
	sessions atomic.Int64 // that have ended, of all parts
	done     chan struct{}
}

// newProgress returns a progress that is held open until its maker calls partDone.
func newProgress() *progress {
	p := &progress{done: make(chan struct{})}
	p.open.Store(1)
	return p
}

func (p *progress) partDone(sessions int64) {
	p.sessions.Add(sessions)
	if p.open.Add(-1) == 0 {
		close(p.done)
	}
}

// wait waits until all parts are done, or until ctx ends, and returns how many sessions have ended.
func (p *progress) wait(ctx context.Context) (sessions int, err error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		select {
		case <-p.done: // both are true: the ends have taken effect
		default:
			return int(p.sessions.Load()), ctx.Err()
		}
	}
	return int(p.sessions.Load()), nil
}

// Clear ends all sessions that exist at the call, and the logons that wait at the call, with ServerStopping. It waits until they have
// ended, with all their event handlers, or until ctx ends, and returns how many sessions it has ended. When ctx has ended before the
// call the sessions end too, but Clear does not wait. In an event handler Clear waits for the handler itself, until ctx ends.
func (m *Manager) Clear(ctx context.Context) (sessions int, err error) {
	p := newProgress()
	for u := range m.users.all() {
		u.endSessions(p, ending{code: protocol.ServerStopping}, nil)
	}
	p.partDone(0)
	return p.wait(ctx)
}

// endSessions ends the sessions of u that only selects. A task behind the logons that wait now also ends the sessions that
// those logons have brought, where only selects them. A nil only selects the whole user, who may have no session but a
// grace. p tells when all have ended. endSessions reports whether there was anything that could end.
func (u *user) endSessions(p *progress, why ending, only func(*session) bool) (found bool) {
	p.open.Add(1)
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
			p.partDone(n)
			u.passOn()
		})
	}})
	return found
}
