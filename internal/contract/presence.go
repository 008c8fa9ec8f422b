package contract

import (
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// absence is the time of a user who has no session and still counts as online.
type absence struct {
	user string
	left *event // Disconnected of the last session
	to   place  // Connected or Offline; 0 when there was neither
	due  time.Duration
}

// presence compares Online and Offline with the events of sessions: a user is online from the first session to the last
// one, and for the grace after it if the client may come back by itself (rule 17).
func (j *judge) presence(h *history) {
	var live []uint64
	online := false
	var away *absence
	for i, e := range h.events {
		switch e.kind {
		case cameOnline:
			if online {
				j.complain(17, h.user, "%v came while the user was online", e)
			}
			if next := h.at(i + 1); next == nil || next.kind != connected || next.conn != e.conn {
				j.complain(17, h.user, "%v was not followed by Connected", e)
			}
			if n := len(e.data.Sessions); n != 1 {
				j.complain(17, h.user, "%v has %d sessions", e, n)
			}
			online = true
		case connected:
			if !online {
				j.complain(17, h.user, "%v came without Online", e)
			}
			online = true
			if away != nil {
				j.back(h, i, away)
				away = nil
			}
			live = append(live, e.conn)
		case disconnected:
			live = slices.DeleteFunc(live, func(c uint64) bool { return c == e.conn })
			if len(live) > 0 || j.succeeded(h, i) {
				continue
			}
			if j.graceful(e) {
				away = &absence{user: h.user, left: e, due: e.fromAt + j.m.grace}
				j.absences = append(j.absences, away)
			} else if next := h.at(i + 1); next == nil || next.kind != wentOffline || j.m.FakeTime && next.fromAt > e.toAt {
				j.complain(17, h.user, "%v of the last session was not followed by Offline", e)
			}
		case wentOffline:
			if !online || len(live) > 0 {
				j.complain(17, h.user, "%v came while the user was offline, or on connections %v", e, live)
			}
			online = false
			if away != nil {
				j.gone(h, i, away)
				away = nil
			}
		}
	}
}

func (h *history) at(i int) *event {
	if i < 0 || i >= len(h.events) {
		return nil
	}
	return h.events[i]
}

// graceful reports whether the grace may begin with e, the end of a user's last session. While the manager closes it need not.
func (j *judge) graceful(e *event) bool {
	return j.m.grace > 0 && e.code.MayReconnect() && e.code != protocol.ServerStopping
}

// back: event i is Connected of a user who was within the grace, and was never offline.
func (j *judge) back(h *history, i int, away *absence) {
	e := h.events[i]
	away.to = e.from
	if j.m.FakeTime && e.fromAt > max(away.due, h.events[i-1].toAt) {
		j.complain(17, h.user, "%v came without Online, %v after the grace", e, e.fromAt-away.due)
	}
}

// gone: event i is Offline at the end of a user's grace: when it is over, or was ended; not before, and not later.
func (j *judge) gone(h *history, i int, away *absence) {
	e := h.events[i]
	away.to = e.from
	due, latest := away.due, away.due
	slack := time.Duration(0)
	if !j.m.FakeTime {
		slack = 100 * time.Millisecond // difference between the timer's clock and ours
	}
	c := j.byConn[away.left.conn]
	for _, a := range j.asks {
		if c == nil || a.from > e.from || !a.endsGrace() || !j.concerns(a, c) {
			continue
		}
		if a.from > away.left.from {
			due, latest = min(due, a.fromAt), min(latest, a.fromAt)
		} else {
			due = min(due, away.left.fromAt) // its turn may have come after the end of the session
		}
	}
	if e.fromAt < due-slack {
		j.complain(17, h.user, "%v came %v before the grace was over", e, due-e.fromAt)
	}
	if j.m.FakeTime && e.fromAt > max(latest, h.events[i-1].toAt) {
		j.complain(17, h.user, "%v came %v after the grace was over", e, e.fromAt-latest)
	}
}

// endsGrace reports whether a ends the grace of a user who has no session.
func (a *ask) endsGrace() bool {
	switch a.what {
	case kickUser, endAll, endForGood:
		return a.refused() == nil && (!a.code.MayReconnect() || a.code == protocol.ServerStopping)
	}
	return false
}

// absent: at a rest no user is away whose grace is over, or was ended.
func (j *judge) absent(r *rest) {
	for _, w := range j.absences {
		if w.left.to == 0 || w.left.to > r.from || w.to != 0 && w.to < r.from {
			continue
		}
		if j.m.FakeTime && r.fromAt > w.due {
			j.complain(17, w.user, "at rest the user is not offline, %v after the grace", r.fromAt-w.due)
		}
		c := j.byConn[w.left.conn]
		for _, a := range j.asks {
			if a.from > w.left.from && a.before(r.from) && a.endsGrace() && c != nil && j.concerns(a, c) {
				j.complain(17, w.user, "at rest the user is not offline, in spite of %v", a)
			}
		}
	}
}

// onlineUsers returns the users online at p, by Online and Offline.
func (j *judge) onlineUsers(p place) map[string]bool {
	users := make(map[string]bool)
	for _, h := range j.histories {
		for _, e := range h.events {
			if e.from > p {
				break
			}
			switch e.kind {
			case cameOnline:
				users[h.user] = true
			case wentOffline:
				delete(users, h.user)
			}
		}
	}
	return users
}

// tags: each change of a tag is told once, in order, with the old tag; none after the end (rules 3, 4 and 17).
func (j *judge) tags(h *history) {
	user := ""
	sessions := make(map[uint64]string)
	for _, e := range h.events {
		switch e.kind {
		case cameOnline, wentOffline:
			user = ""
		case tagged:
			if e.old != sessions[e.conn] || e.old == e.tag {
				j.complain(4, h.user, "%v came when the tag told last was %q", e, sessions[e.conn])
			}
			sessions[e.conn] = e.tag
			j.wasTagged(e)
		case userTagged:
			if e.old != user || e.old == e.tag {
				j.complain(4, h.user, "%v came when the tag told last was %q", e, user)
			}
			user = e.tag
			j.wasTagged(e)
		}
	}
}

// wasTagged complains unless a call had set the tag of e.
func (j *judge) wasTagged(e *event) {
	if !slices.ContainsFunc(j.taggings, func(t *tagging) bool {
		mine := t.user == e.user
		if e.kind == tagged {
			mine = t.session != "" && t.session == e.info.ID
		}
		return mine && t.tag == e.tag && t.from < e.from && (t.done || t.to == 0 || t.to > e.from)
	}) {
		j.complain(3, e.user, "%v came, and that tag had not been set", e)
	}
}

// tagsAt compares the tags at a rest with the events.
func (j *judge) tagsAt(r *rest) {
	for user, d := range r.data {
		h := j.byUser[user]
		if h == nil {
			continue
		}
		users, sessions := "", make(map[uint64]string)
		for _, e := range h.events {
			switch {
			case e.from > r.from:
			case e.kind == cameOnline, e.kind == wentOffline:
				users = ""
			case e.kind == tagged:
				sessions[e.conn] = e.tag
			case e.kind == userTagged:
				users = e.tag
			}
		}
		if d.Tag != users {
			j.complain(10, user, "at rest the user's tag is %q; %q was told", d.Tag, users)
		}
		for _, s := range d.Sessions {
			if s.Tag != sessions[s.Address.Conn] || s.UserTag != d.Tag {
				j.complain(10, user, "at rest the tags of %d are %q and %q; %q was told", s.Address.Conn, s.Tag, s.UserTag,
					sessions[s.Address.Conn])
			}
		}
	}
}

// described: a SessionInfo has what the Logon said (rule 17).
func (j *judge) described(s *usermgr.SessionInfo) {
	c := j.byConn[s.Address.Conn]
	if c == nil {
		return
	}
	token := c.token
	if token == "" {
		token = s.ID
	}
	if s.Device != c.device || s.Token != token || s.UserID != c.user {
		j.complain(17, c.user, "%d is described as %+v; its logon said device %d, token %q", c.number, *s, c.device, c.token)
	}
}
