package chatmodel

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// What the reference of the model does with users who come, go, choose a state and watch, and with the clock.

const hour = time.Hour

// mostSeen is the maximum of a group up to which its members see each other. Groups of the model have one of 2 to 4.
const mostSeen = 3

// shifted is a store whose messages have later times than the clock's. An hour passes when a test says so.
type shifted struct {
	chat.Store
	by atomic.Int64
}

// Append implements chat.Store.
func (s *shifted) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	for _, p := range posts {
		p.Time = p.Time.Add(time.Duration(s.by.Load()))
	}
	return s.Store.Append(ctx, posts, allow)
}

func (s *shifted) now() time.Time { return time.Now().Add(time.Duration(s.by.Load())) }

// The numbers from which on a step is one of changePresence.
const comes, goes, chooses, watches, passes, end = 100, 105, 109, 113, 118, 120

var states = []protocol.PresenceState{protocol.PresenceOnline, protocol.PresenceBusy, protocol.PresenceStealth}

func (r *reference) changePresence(u *refUser, n int) {
	r.t.Helper()
	state := states[r.IntN(len(states))]
	note := func(format string, args ...any) { r.log = append(r.log, u.id+" "+fmt.Sprintf(format, args...)) }
	switch {
	case n < goes:
		if len(u.sessions) == 3 {
			r.leave(u, note)
		}
		var fields []string
		if r.IntN(2) == 0 {
			r.before = presenceOf{u.id, u.chosen}
			fields, u.chosen = []string{"presence", state.String()}, state
		}
		note("comes with %q", fields)
		u.sessions = append(u.sessions, &refSession{Peer: r.w.LogOn(u.id, fields...)})
		r.awaitState(u)
	case n < chooses:
		r.leave(u, note)
	case n < watches:
		u.chosen = state
		r.ask(u.sessions[0].Peer, 0, protocol.TypePresence, protocol.PresenceSet, nil, "state", state.String())
	case n < passes:
		r.watch(u, u.sessions[r.IntN(len(u.sessions))])
	default:
		note("waits for an hour")
		r.hours++
		r.clock.by.Add(int64(hour))
	}
}

// leave has one of a user's connections end, or be lost.
func (r *reference) leave(u *refUser, note func(string, ...any)) {
	r.t.Helper()
	i, lost := r.IntN(len(u.sessions)), r.IntN(2) == 0
	p := u.sessions[i]
	u.sessions = append(u.sessions[:i], u.sessions[i+1:]...)
	note("goes, lost: %v", lost)
	if lost {
		_ = p.Conn.(*net.TCPConn).SetLinger(0)
	}
	_ = p.Close()
	testkit.Eventually(r.t, "the session has ended", func() bool { return len(r.w.Users.Links(u.id)) == len(u.sessions) })
	r.awaitState(u)
}

// awaitState waits until presence has heard that a user has come or gone, which it does after the client.
func (r *reference) awaitState(u *refUser) {
	r.t.Helper()
	testkit.Eventually(r.t, fmt.Sprintf("rule P20: %s is %v\n%s", u.id, u.visible(), r.lately()), func() bool { return r.w.Chat.Presence().Visible(u.id) == u.visible() })
}

// visible is what others see of a user.
func (u *refUser) visible() protocol.PresenceState {
	if len(u.sessions) == 0 || u.chosen == protocol.PresenceStealth {
		return protocol.PresenceOffline
	}
	return u.chosen
}

// sees reports whether a user is told of another.
func (r *reference) sees(u, o *refUser) bool {
	if o.contacts[u].blocked {
		return false
	}
	if u.contacts[o].state == protocol.ContactFriend {
		return true
	}
	for _, g := range r.groups {
		if !g.dissolved && g.max <= mostSeen && g.in(u) && g.in(o) {
			return true
		}
	}
	return false
}

// shown is what a session that watches must know: contacts who are not Offline, and what its own user has chosen.
func (r *reference) shown(u *refUser) map[string]protocol.PresenceState {
	all := map[string]protocol.PresenceState{u.id: u.chosen}
	for _, o := range r.users {
		if s := o.visible(); o != u && s != protocol.PresenceOffline && r.sees(u, o) {
			all[o.id] = s
		}
	}
	return all
}

// watch has a session begin to watch, or end it.
func (r *reference) watch(u *refUser, p *refSession) {
	r.t.Helper()
	if p.knows != nil && r.IntN(2) == 0 {
		r.ask(p.Peer, 0, protocol.TypePresence, protocol.PresenceWatch, nil, "on", "0")
		p.Seen, p.knows = nil, nil
		return
	}
	o := r.ask(p.Peer, 0, protocol.TypePresence, protocol.PresenceWatch, nil)
	p.Seen = nil // what has come before is in the answer
	p.knows = map[string]protocol.PresenceState{u.id: u.chosen}
	for _, e := range testkit.Must(protocol.ParsePresences(o.Content)) {
		p.knows[e.UserID] = e.State
	}
}

// presenceOf is a user in a state.
type presenceOf struct {
	user  string
	state protocol.PresenceState
}

// compareStates compares what a session was told of others. Each notice tells something new, which is right: but a user who has logged on with a choice
// may be in the state of before until the choice is stored, unless that was Stealth.
func (r *reference) compareStates(u *refUser, p *refSession) {
	r.t.Helper()
	if p.knows == nil {
		if len(p.Seen) > 0 {
			r.t.Fatalf("rule P22: %s, who does not watch, is told %q\n%s", u.id, p.Seen, r.lately())
		}
		return
	}
	want := r.shown(u)
	testkit.Eventually(r.t, fmt.Sprintf("rule P21: %s, who knows %v, knows %v\n%s", u.id, p.knows, want, r.lately()), func() bool {
		r.takeSeen(u, p, want)
		if maps.Equal(p.knows, want) {
			return true
		}
		p.Must(protocol.TypePresence, protocol.PresenceQuery, chattest.IDs())
		return false
	})
}

func (r *reference) takeSeen(u *refUser, p *refSession, want map[string]protocol.PresenceState) {
	r.t.Helper()
	for _, s := range p.Seen {
		user, name, _ := strings.Cut(s, " ")
		state, visible := want[user]
		if !visible {
			state = protocol.PresenceOffline
		}
		if was := r.before; user == was.user && visible && name == was.state.String() && was.state != protocol.PresenceStealth {
			state = was.state
		}
		if known, knew := p.knows[user]; name != state.String() || knew == visible && known == state {
			r.t.Fatalf("rules P21, P23: %s, who knows %v, is told %s, and not what is right, %v\n%s", u.id, p.knows, s, want, r.lately())
		}
		if p.knows[user] = state; !visible {
			delete(p.knows, user)
		}
	}
	p.Seen = nil
}
