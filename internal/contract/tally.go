package contract

import (
	"context"
	"errors"

	"github.com/rollcall-go/rollcall/protocol"
)

// Tallied are the things that Tally counts. A test that should try everything must have met them all.
var Tallied = []string{
	"Connected", "PushedOut", "Ignored", "TimedOut", "Disconnected", "UserCountChanged",
	"take-over of a session", "logon that ended before its turn", "logon that ended in its turn",
	"logon that met its deadline", "logon after Close", "message", "message at the time of Quiesce",
	"handler given up on", "handler that panicked", "silence that was over in its turn", "end of a session that had ended",

	"Online", "Offline", "Expired", "Tagged", "UserTagged", "session beside another", "eviction of several sessions",
	"eviction of the oldest over the number", "logon over the number refused", "logon with the token of another session",
	"return within the grace", "grace that passed", "grace that was ended",
	"return with a session that had ended for good refused", "return behind a newer login refused",
	"return with an older session of a chain", "return with a session that had ended",
	"logon of a banned user refused", "logon of a user who was banned", "logon on an unknown device refused",

	"kick of a session", "kick of a device", "kick of a user", "kick of nobody", "kick of several sessions",
	"kick of a logon that waited", "kick in the grace", "logon with a revoked token refused",
	"logon with a token that is refused no more", "connection told", "connection closed by its peer", "connection closed by force",
}

// Tally calls tell, perhaps repeatedly, with how often each of Tallied happened.
func (m *Manager) Tally(tell func(what string, times int)) {
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	j := m.newJudge()
	for _, h := range j.histories {
		j.presence(h)
		live := 0
		for i, e := range h.events {
			tell(string(e.kind), 1)
			switch e.kind {
			case connected:
				if live++; live > 1 {
					tell("session beside another", 1)
				}
			case disconnected:
				live--
			case pushedOut:
				if next := h.at(i + 2); next != nil && next.kind == pushedOut && next.by == e.by {
					tell("eviction of several sessions", 1)
				}
				o, l := j.login(e.conn), j.login(e.by)
				switch {
				case l.same(o) && l.takeOver != o.session:
					tell("logon with the token of another session", 1)
				case !l.same(o) && !m.policy.clash(o.device, l.device):
					tell("eviction of the oldest over the number", 1)
				}
			case ignored:
				if m.policy.Max > 1 && live == m.policy.Max {
					tell("logon over the number refused", 1)
				}
			}
		}
	}
	m.tallyAbsences(j, tell)
	m.tallyKicks(j, tell)
	for _, e := range m.log.counts {
		if e.subscriber == 0 {
			tell("UserCountChanged", 1)
		}
	}
	tell("handler that panicked", int(m.log.panics))
	least, _ := j.givenUp()
	tell("handler given up on", int(least))
	for _, c := range m.log.conns {
		b := j.of(c.number)
		if b.connected != nil && m.takenOver(j, c) {
			tell("take-over of a session", 1)
		}
		m.tallyReturns(j, c, tell)
		var refused *protocol.CloseError
		switch {
		case errors.As(c.err, &refused) && refused.Code == protocol.ServerStopping:
			tell("logon after Close", 1)
		case c.err != nil && c.cause == context.DeadlineExceeded:
			tell("logon that met its deadline", 1)
		case c.err != nil && c.cause != nil && b.ignored == nil:
			tell("logon that ended before its turn", 1)
		case c.err == nil && c.cause != nil && c.contextEnded != 0 && c.contextEnded < c.logon.to:
			tell("logon that ended in its turn", 1)
		}
		tell("message", len(c.messages))
		for _, msg := range c.messages {
			if len(c.quiesces) > 0 && msg.from < c.quiesces[0].from && msg.reaches(c.quiesces[0].from) {
				tell("message at the time of Quiesce", 1)
			}
		}
		for _, s := range c.silences {
			if !s.silent && (b.disconnected == nil || s.at < b.disconnected.from) {
				tell("silence that was over in its turn", 1)
			}
		}
	}
	for _, a := range m.log.asks {
		if b := j.found[a.conn]; b != nil && a.what == endConn && b.disconnected != nil && b.disconnected.to < a.from {
			tell("end of a session that had ended", 1)
		}
	}
}

func (m *Manager) tallyReturns(j *judge, c *connection, tell func(what string, times int)) {
	var refused *protocol.CloseError
	if errors.As(c.err, &refused) && refused.Code == protocol.DeviceNotAllowed {
		tell("logon on an unknown device refused", 1)
	}
	for _, a := range j.asks {
		if a.ban <= 0 || a.refused() != nil || !j.bans(a, c) || c.logon.from < a.to {
			continue
		}
		if refused != nil && refused.Code == protocol.Unauthorized && j.mayBeBanned(c) {
			tell("logon of a banned user refused", 1)
		} else if c.err == nil {
			tell("logon of a user who was banned", 1)
		}
	}
	if target := j.of(j.chains.targets[c.number]); c.err == nil && target.connected != nil {
		if target.connected.info.ID != c.takeOver {
			tell("return with an older session of a chain", 1)
		}
		if !m.takenOver(j, c) {
			tell("return with a session that had ended", 1)
		}
		return
	}
	if !errors.As(c.err, &refused) || refused.Code == protocol.AlreadyLoggedOn || !j.mayBeTurnedAway(c, refused) {
		return
	}
	if t := j.of(j.comesBackWith(c, c.logon.to)); t.disconnected != nil && !t.disconnected.code.MayReconnect() {
		tell("return with a session that had ended for good refused", 1)
	} else {
		tell("return behind a newer login refused", 1)
	}
}

func (m *Manager) tallyAbsences(j *judge, tell func(what string, times int)) {
	for _, w := range j.absences {
		for _, e := range j.byUser[w.user].events {
			switch {
			case w.to == 0 || e.from != w.to:
			case e.kind == connected:
				tell("return within the grace", 1)
			case e.fromAt < w.due:
				tell("grace that was ended", 1)
			default:
				tell("grace that passed", 1)
			}
		}
		for _, a := range j.asks {
			if a.what == kickUser && a.user == w.user && a.from > w.left.to && w.left.to != 0 && (w.to == 0 || a.to < w.to) {
				tell("kick in the grace", 1)
			}
		}
	}
}

func (m *Manager) tallyKicks(j *judge, tell func(what string, times int)) {
	outcomes := map[protocol.CloseOutcome]string{protocol.OutcomeTold: "connection told",
		protocol.OutcomeClosedByPeer: "connection closed by its peer", protocol.OutcomeForced: "connection closed by force"}
	kinds := map[what]string{kickUser: "kick of a user", kickSome: "kick of a device", kickSession: "kick of a session"}
	for _, a := range j.asks {
		kind, ok := kinds[a.what]
		if !ok {
			continue
		}
		if a.err != nil {
			tell("kick of nobody", 1)
			continue
		}
		n := 0
		for _, c := range j.conns {
			if !j.meant(a, c) {
				continue
			}
			n++
			if c.outcome != protocol.OutcomePending {
				tell(outcomes[c.outcome], 1)
			}
			if j.of(c.number).connected.from > a.to {
				tell("kick of a logon that waited", 1)
			}
			if a.revoke <= 0 {
				continue
			}
			for _, later := range j.conns {
				if later.logon.from > a.to && j.shows(later, c) {
					var refused *protocol.CloseError
					if errors.As(later.err, &refused) && refused.Code == protocol.Unauthorized {
						tell("logon with a revoked token refused", 1)
					} else if later.err == nil {
						tell("logon with a token that is refused no more", 1)
					}
				}
			}
		}
		if n > 0 {
			tell(kind, 1)
		}
		if n > 1 {
			tell("kick of several sessions", 1)
		}
	}
}

// takenOver reports whether the logon of c replaced the session that it asked for.
func (m *Manager) takenOver(j *judge, c *connection) bool {
	for _, o := range j.conns {
		if b := j.of(o.number); j.chains.targets[c.number] == o.number && b.pushedOut != nil && b.pushedOut.by == c.number {
			return true
		}
	}
	return false
}
