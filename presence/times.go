package presence

import "time"

// moment is a time in microseconds since 1970; 0 for never. A server has many users in memory, and a time.Time is three times as large.
type moment int64

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return moment(t.UnixMicro())
}

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(m))
}

// times are when a user came last and when the user went last, as others saw it.
type times struct{ lastOnline, lastSeen moment }

func timesOf(r *Record) times { return times{momentOf(r.LastOnline), momentOf(r.LastSeen)} }

// later takes those of o that are later.
func (t *times) later(o times) {
	t.lastOnline, t.lastSeen = max(t.lastOnline, o.lastOnline), max(t.lastSeen, o.lastSeen)
}

// in returns what is told of a user in a state.
func (t times) in(s State, userID string) Presence {
	return Presence{UserID: userID, State: s, LastOnline: t.lastOnline.time(), LastSeen: t.lastSeen.time()}
}
