package usermgr

import "github.com/rollcall-go/rollcall/protocol"

// textPushedOut is the notice to a client that was pushed out.
const textPushedOut = "the same user logged on again"

// origin is the session with which a client comes back. The zero origin is that of a logon that continues none.
type origin struct {
	live  *session // the session that is taken over; nil when it has ended
	ended uint64   // serial of an ended session that may be continued; 0 for none
}

// originOf returns the session that the logon continues, or the error for a client that must not come back with that
// session (rule 26). The caller has the user's turn, and has finished the sessions that have ended.
func (u *user) originOf(l *Logon) (origin, error) {
	if l.Session == "" {
		return origin{}, nil
	}
	for s := range u.all {
		if s.hasID(l.Session) {
			return origin{live: s}, nil
		}
	}
	last, known := u.manager.ended.find(u.id, l.Session)
	switch {
	case !known:
		return origin{}, nil
	case last.lives:
		for s := range u.all {
			if serialOf(s.id) == last.serial {
				return origin{live: s}, nil
			}
		}
		return origin{}, nil
	case !last.code.MayReconnect():
		return origin{}, &protocol.CloseError{Code: last.code, Text: last.text}
	}
	return origin{ended: last.serial}, nil
}

// displaces reports whether a client that comes back with an ended session would end a newer login. A session with the
// logon's token is the same login.
func (o origin) displaces(excluded []*session, l *Logon) bool {
	if o.ended == 0 {
		return false
	}
	for _, s := range excluded {
		if serialOf(s.id) > o.ended && !s.hasToken(l.Token) {
			return true
		}
	}
	return false
}
