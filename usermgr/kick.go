package usermgr

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

var (
	// ErrBlankID is returned for an ID that is empty, by Register too.
	ErrBlankID = errors.New("rollcall: the ID is empty")
	// ErrUnknownID is returned when no session matches: the user or the session is not online, or KickOptions select none of the
	// user's sessions.
	ErrUnknownID = errors.New("rollcall: no user or session with this ID is online")
)

// KickOptions say which sessions a kick ends, and how. A session is selected when it is on one of the Devices and has the Token; fields
// that are not set select all. Nil options and the zero value select all sessions of the user and end them with KickedOut.
type KickOptions struct {
	// Code is the close code of the sessions, in events and in the notice. 0 means KickedOut. After a code of 2xxx or 4xxx a
	// client does not come back by itself.
	Code protocol.CloseCode
	// Text is the notice's text, for the user.
	Text string
	// Devices selects sessions by device class. Empty means all.
	Devices []uint16
	// Token selects the session with this token: see Logon.Token. Empty means any.
	Token string
	// BanFor bans the user: for this long every logon of the user is refused with Unauthorized, whatever its token. A shorter ban
	// does not shorten an earlier one. With a ban it is no error that the user is offline. Sessions that are not selected live
	// on, but their tokens are not renewed during the ban. See Manager.Unban. A million users can be banned at a time; beyond
	// that the ban that ends soonest is forgotten. 0 or less means no ban.
	BanFor time.Duration
	// RevokeFor revokes the tokens of the selected sessions: for this long a logon with such a token, or with the ID of such a
	// session, is refused with Unauthorized, also when the session is ending by itself. A kick of all sessions of a user also
	// revokes the tokens of the sessions that have ended within the last Config.OfflineGrace since the user came online, up to
	// the last 64. A logon without a token is not refused; refusing it is up to the authenticator. 0 or less means that nothing
	// is revoked.
	RevokeFor time.Duration
}

// Wait waits until the sessions of a kick have ended, with all their event handlers and their connections, or until ctx ends. It
// returns the outcome of each session, the oldest first. With ctx's error it returns the outcomes that are known so far. It may be
// called again, and need not be called. In an event handler, waiting for a kick of the handler's own user ends with ctx's error.
type Wait func(ctx context.Context) ([]Kicked, error)

// Kicked is the outcome of one session that was kicked.
type Kicked struct {
	Session SessionInfo // with its final counters, once the outcome is known
	Outcome protocol.CloseOutcome
}

// Kick throws a user out: the sessions that o selects end with o's code. Logons of the user that wait at the call are included: once
// they have come online, their sessions end too if o selects them. Kick returns at once, and may be called in handlers; the Wait that
// it returns waits for the outcome. The error is ErrBlankID, or ErrUnknownID where o selects no session and bans nothing; then Wait is
// nil. While a logon of the user is running there is no error, and Wait may return no session, because the logon may be refused.
func (m *Manager) Kick(userID string, o *KickOptions) (Wait, error) {
	if o == nil {
		o = new(KickOptions)
	}
	return m.kick(userID, o, o.only())
}

// KickSession is Kick for one session, by its ID; SessionAt finds the ID of the session on a connection. The error is also ErrUnknownID
// for a session that Devices and Token do not select. When the session is already ending for another cause, Wait returns no session.
func (m *Manager) KickSession(id string, o *KickOptions) (Wait, error) {
	if o == nil {
		o = new(KickOptions)
	}
	if id == "" {
		return nil, ErrBlankID
	}
	s := m.sessions.withID(id)
	if s == nil {
		return nil, ErrUnknownID
	}
	only := o.only()
	return m.kick(s.user.id, o, func(other *session) bool { return other == s && (only == nil || only(s)) })
}

// only returns the function that selects the user's sessions; nil for all. The function is called with the user's lock
// held.
func (o *KickOptions) only() func(*session) bool {
	if len(o.Devices) == 0 && o.Token == "" {
		return nil
	}
	devices, token := slices.Clone(o.Devices), o.Token // the caller may change them afterwards
	return func(s *session) bool {
		return (len(devices) == 0 || slices.Contains(devices, s.device)) && (token == "" || s.hasToken(token))
	}
}

func (m *Manager) kick(userID string, o *KickOptions, only func(*session) bool) (Wait, error) {
	if userID == "" {
		return nil, ErrBlankID
	}
	if o.BanFor > 0 { // first: a logon that comes from now on is refused, and a logon that came before is kicked
		m.banned.add(untilAfter(o.BanFor), digestOf(userID, ""))
	}
	k := &kick{ends: newProgress(), outcomes: newProgress()}
	found := false
	if u := m.users.get(userID); u != nil {
		if o.RevokeFor > 0 {
			k.revoked = untilAfter(o.RevokeFor)
		}
		why := ending{code: protocol.KickedOut, text: o.Text, kick: k}
		if o.Code != 0 {
			why.code = o.Code
		}
		found = u.endSessions(k.ends, why, only)
	}
	k.ends.partDone(0)
	if !found && o.BanFor <= 0 {
		return nil, ErrUnknownID
	}
	return k.wait, nil
}

func init() {
	seam.LoginsOf = func(users any, userID, session string, options any) [][16]byte {
		return users.(*Manager).logins(userID, session, options.(*KickOptions))
	}
}

// logins is seam.LoginsOf.
func (m *Manager) logins(userID, session string, o *KickOptions) (digests [][16]byte) {
	u, only := m.users.get(userID), o.only()
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for s := range u.all {
		if (session == "" || s.hasID(session)) && (only == nil || only(s)) {
			digests = append(digests, digestOf(u.id, s.token()), digestOf(u.id, s.ID()))
		}
	}
	if p := u.lazy.Load(); p != nil && session == "" && only == nil {
		for _, l := range p.logins.recent(m) {
			digests = append(digests, l.token, l.session)
		}
	}
	return digests
}

// BannedUntil returns when a user's ban (KickOptions.BanFor) ends; banned is false where there is none. In a cluster other nodes may know of a
// ban that this one has not been told of. Any goroutine may call it.
func (m *Manager) BannedUntil(userID string) (until time.Time, banned bool) {
	left := m.banned.left(digestOf(userID, ""))
	if left <= 0 {
		return time.Time{}, false
	}
	return time.Now().Add(left), true
}

// Unban ends a user's ban (KickOptions.BanFor), and reports whether the user was banned. Tokens that RevokeFor has revoked stay
// revoked.
func (m *Manager) Unban(userID string) bool { return m.banned.lift(digestOf(userID, "")) }

// kick is a kick under way.
type kick struct {
	revoked int64 // the time until which tokens are refused, see untilAfter; 0 for none
	ends    *progress
	// outcomes is done when the outcomes are known, and not before ends is done.
	outcomes *progress
	release  sync.Once

	mu     sync.Mutex
	kicked []*kickedSession
}

type kickedSession struct {
	session *session
	final   *SessionInfo // nil until it has ended
	outcome protocol.CloseOutcome
}

// wait is the kick's Wait.
func (k *kick) wait(ctx context.Context) ([]Kicked, error) {
	_, err := k.ends.wait(ctx)
	if err == nil {
		k.release.Do(func() { k.outcomes.partDone(0) })
		_, err = k.outcomes.wait(ctx)
	}
	k.mu.Lock()
	all := make([]Kicked, len(k.kicked))
	var live []int
	for i, s := range k.kicked {
		all[i].Outcome = s.outcome
		if s.final != nil {
			all[i].Session = *s.final
		} else {
			live = append(live, i)
		}
	}
	kicked := k.kicked
	k.mu.Unlock()
	for _, i := range live {
		s := kicked[i].session
		all[i].Session = s.user.info(s)
	}
	return all, err
}

// ended notes a session's final counters.
func (k *kick) ended(entry *kickedSession, final SessionInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry.final = &final
}

// noted is called for each selected session when its end is recorded. first says that this kick is the cause, and not
// an earlier one. The user's lock is held on entry.
func (k *kick) noted(entry *kickedSession, first bool) {
	if s := entry.session; k.revoked != 0 {
		s.user.manager.revoked.add(k.revoked, digestOf(s.user.id, s.token()), digestOf(s.user.id, s.ID()))
	}
	if first {
		k.add(entry)
	}
}

// revokePast revokes the logins of the sessions of u that have ended recently. u.mu is held from before the look at the
// live sessions, so that a session that ends meanwhile is not missed.
func (k *kick) revokePast(u *user) {
	p := u.lazy.Load()
	if k.revoked == 0 || p == nil {
		return
	}
	for _, l := range p.logins.recent(u.manager) {
		u.manager.revoked.add(k.revoked, l.token, l.session)
	}
}

// add adds a session to the kick. The user's lock is held on entry. The session's end calls outcomeOf.
func (k *kick) add(entry *kickedSession) {
	k.outcomes.open.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kicked = append(k.kicked, entry)
}

// outcomeOf returns the function that notes how the session's connection ended. Only its first call counts.
func (k *kick) outcomeOf(entry *kickedSession) func(protocol.CloseOutcome) {
	var told atomic.Bool
	return func(o protocol.CloseOutcome) {
		if told.Swap(true) {
			return
		}
		k.mu.Lock()
		entry.outcome = o
		k.mu.Unlock()
		k.outcomes.partDone(0)
	}
}
