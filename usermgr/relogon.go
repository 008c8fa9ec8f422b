package usermgr

import "github.com/rollcall-go/rollcall/protocol"

// RelogonMode says what happens when a user who is online logs on again.
type RelogonMode int

const (
	// ReplaceOld ends the old session with PushedOut, then brings the new one online.
	ReplaceOld RelogonMode = iota
	// IgnoreNew keeps the old session and refuses the new logon with AlreadyLoggedOn.
	IgnoreNew
)

// entry is how a logon comes in.
type entry struct {
	logon    *Logon
	from     origin     // the end of a live one is recorded
	excluded []*session // sessions that must end before, the oldest first; from.live is among them
	claimed  Claimed    // with Config.Claims
}

// decide decides whether a logon with the session s may come in. If it may, decide records the end of the session that
// the logon takes over.
func (u *user) decide(l *Logon, s *session) (entry, error) {
	serial := serialOf(s.id)
	for {
		e, err := u.judge(l, s)
		if err != nil {
			return entry{}, err
		}
		from := e.from
		if from.live == nil || from.live.record(ending{code: protocol.PushedOut, text: textPushedOut, heir: serial}) {
			return e, nil
		}
		// It has ended by itself meanwhile, so the decision is made again with its close code.
	}
}

// judge returns how a logon with the session s comes in, or why it is refused. It finishes sessions that have ended,
// and changes nothing else.
func (u *user) judge(l *Logon, s *session) (entry, error) {
	m := u.manager
	u.finishEnded()
	from, err := u.originOf(l)
	if err != nil {
		return entry{}, err
	}
	excluded := m.devices.excluded(u, l, from.live)
	if from.displaces(excluded, l) && !m.returnWins {
		return entry{}, &protocol.CloseError{Code: protocol.PushedOut, Text: textPushedOut}
	}
	if m.relogon == IgnoreNew && len(excluded) > 0 && !(len(excluded) == 1 && excluded[0] == from.live) {
		u.tellIgnored(s)
		return entry{}, &protocol.CloseError{Code: protocol.AlreadyLoggedOn, Text: u.id + " is logged on already"}
	}
	return entry{logon: l, from: from, excluded: excluded}, nil
}

func (u *user) tellIgnored(s *session) {
	by := s.address()
	u.manager.each("Ignored", func(h *Events) { h.Ignored(u.id, by) })
}

// replace ends the sessions that s excludes, the oldest first, in rule 4's order. s takes the place of the last one, so
// that the user is never offline.
func (u *user) replace(e entry, s *session) {
	for i, old := range e.excluded {
		last := i == len(e.excluded)-1
		var successor *session
		if last {
			successor = s
		}
		var heir *session
		if old.hasToken(e.logon.Token) {
			heir = s
		}
		pushedOut := old == e.from.live
		if pushedOut {
			u.tellPushedOut(old, successor, s.address())
		} else {
			pushedOut = u.pushOut(old, successor, heir, s.address())
		}
		if !pushedOut && last {
			u.comeIn(s, &e.claimed)
		}
	}
}

// pushOut ends a session because of one at the address by. The new session may be the successor, which takes the old
// one's place, and the heir, which continues it for a client that comes back. pushOut reports false for a session that
// has ended by itself meanwhile: it is not pushed out, and has no successor or heir. pushOut waits, so only a goroutine
// that the turn was handed over to may call it.
func (u *user) pushOut(old, successor, heir *session, by Address) bool {
	why := ending{code: protocol.PushedOut, text: textPushedOut}
	if heir != nil {
		why.heir = serialOf(heir.id)
	}
	if !old.record(why) {
		u.finishNow(old)
		return false
	}
	u.tellPushedOut(old, successor, by)
	return true
}

// tellPushedOut is the second half of pushOut.
func (u *user) tellPushedOut(old, successor *session, by Address) {
	d := departure{user: u, session: old, successor: successor, event: "PushedOut", by: by}
	d.await()
}
