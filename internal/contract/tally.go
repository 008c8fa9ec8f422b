package contract

import (
	"context"
	"errors"

	"github.com/rollcall-go/rollcall/protocol"
)

// Tallied are the things that Tally counts: what a test that means to try everything should have come upon.
var Tallied = []string{
	"Connected", "PushedOut", "Ignored", "TimedOut", "Disconnected", "UserCountChanged",
	"take-over of a session", "logon that ended before its turn", "logon that ended in its turn",
	"logon that met its deadline", "logon after Close", "message", "message at the time of Quiesce",
	"handler given up on", "handler that panicked", "silence that was over in its turn", "end of a session that had ended",
}

// Tally tells how often each of Tallied has happened.
func (m *Manager) Tally(tell func(what string, times int)) {
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	j := m.newJudge()
	for _, h := range j.histories {
		for _, e := range h.events {
			tell(string(e.kind), 1)
		}
	}
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

// takenOver reports whether the logon of c replaced the very session that it asked for.
func (m *Manager) takenOver(j *judge, c *connection) bool {
	for _, o := range j.conns {
		if b := j.of(o.number); c.takeOver != "" && o.session == c.takeOver && b.pushedOut != nil && b.pushedOut.by == c.number {
			return true
		}
	}
	return false
}
