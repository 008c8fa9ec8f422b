package usermgr

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

var (
	// ErrBlankID is returned for an ID that is empty.
	ErrBlankID = errors.New("rollcall: the ID is empty")
	// ErrUnknownID is returned for a user, a device of a user or a session that is not online.
	ErrUnknownID = errors.New("rollcall: nobody with this ID is online")
)

// CloseReporter is what a Link may be besides: one that tells how its connection ended.
type CloseReporter interface {
	// WhenClosed has f called once, from any goroutine, when the connection has ended; at once when it has already. f does
	// not block.
	WhenClosed(f func(protocol.CloseOutcome))
}

// KickOptions are what a kick may say.
type KickOptions struct {
	// Text is for the user; it goes out with the notice.
	Text string
	// RevokeFor is for how long a logon with the token of a session that is meant, or with its session ID, is refused with
	// Unauthorized, also when the session is ending by itself. KickUser means besides the sessions that have ended within the
	// last Config.OfflineGrace, since the user came online, of however many devices: the last 64 of them. A user who logs on
	// without any token is known by nothing else, and not refused: that is the authenticator's to do. 0 or less means not at
	// all.
	RevokeFor time.Duration
	// BanFor is for how long every logon of the user is refused with Unauthorized, whatever token it shows: longer than by an
	// earlier ban, or not at all. Then it is no error that the user is offline. Sessions that are not meant stay, until they
	// end; their tokens are not renewed meanwhile. See Manager.Unban. Up to a million users are banned at a time; beyond, the ban goes that would be over first. 0 or less
	// means no ban.
	BanFor time.Duration
}

// Kicked is what became of one session that was thrown out.
type Kicked struct {
	Session SessionInfo // with its final counters, once the outcome is known
	Outcome protocol.CloseOutcome
}

// Kick is a kick under way.
type Kick struct {
	revoked int64 // until when tokens are refused, see untilAfter; 0 for not at all
	change  *Change
	// closed is done when the outcomes that are awaited are known. It is held open until change is done.
	closed  *Change
	release sync.Once

	mu     sync.Mutex
	kicked []*kickedSession
}

type kickedSession struct {
	session *session
	final   *SessionInfo // nil until it has ended
	outcome protocol.CloseOutcome
}

// Wait waits until the sessions have ended, all their event handlers included, and their connections too, or until ctx
// ends. It returns what became of each session, the oldest first; with ctx's error, of each as far as is known. In an event
// handler, waiting for a kick of the handler's own user ends with ctx's error.
func (k *Kick) Wait(ctx context.Context) ([]Kicked, error) {
	_, err := k.change.Wait(ctx)
	if err == nil {
		k.release.Do(func() { k.closed.partDone(0) })
		_, err = k.closed.Wait(ctx)
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

// ended notes what a session has counted in the end.
func (k *Kick) ended(entry *kickedSession, final SessionInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry.final = &final
}

// KickUser throws a user out: every session of the user, and the logons that wait at this moment once they have come
// online, end with KickedOut, after which a client does not reconnect by itself. It returns at once, and may be called in
// handlers; Wait tells the outcome. The error is ErrBlankID, or ErrUnknownID for a user who is not there, unless the user is
// banned with it. While a logon of
// the user is under way there is no error, and Wait may return no session in the end: the logon may be refused.
func (m *Manager) KickUser(userID string, o KickOptions) (*Kick, error) {
	return m.kick(userID, o, nil)
}

// KickDevice is KickUser for the user's sessions of one device class.
func (m *Manager) KickDevice(userID string, device uint16, o KickOptions) (*Kick, error) {
	return m.kick(userID, o, func(s *session) bool { return s.device == device })
}

// KickSession is KickUser for one session. Where that is ending for another cause already, Wait returns none.
func (m *Manager) KickSession(sessionID string, o KickOptions) (*Kick, error) {
	if sessionID == "" {
		return nil, ErrBlankID
	}
	s := m.sessions.withID(sessionID)
	if s == nil {
		return nil, ErrUnknownID
	}
	return m.kick(s.user.id, o, func(other *session) bool { return other == s })
}

func (m *Manager) kick(userID string, o KickOptions, only func(*session) bool) (*Kick, error) {
	if userID == "" {
		return nil, ErrBlankID
	}
	if o.BanFor > 0 { // first: a logon that comes now is refused, and one that came before is meant
		m.banned.add(untilAfter(o.BanFor), digestOf(userID, ""))
	}
	k := &Kick{change: newChange(), closed: newChange()}
	u := m.users.get(userID)
	if u == nil {
		k.change.partDone(0)
		return k.unless(o.BanFor <= 0)
	}
	if o.RevokeFor > 0 {
		k.revoked = untilAfter(o.RevokeFor)
	}
	found := k.change.end(u, ending{code: protocol.KickedOut, text: o.Text, kick: k}, only)
	k.change.partDone(0)
	return k.unless(!found && o.BanFor <= 0)
}

// unless returns the kick, or that nobody was there.
func (k *Kick) unless(unknown bool) (*Kick, error) {
	if unknown {
		return nil, ErrUnknownID
	}
	return k, nil
}

// Unban lets a user in again whom KickOptions.BanFor keeps out, and reports whether one was. What RevokeFor refuses it does not
// change.
func (m *Manager) Unban(userID string) bool { return m.banned.lift(digestOf(userID, "")) }

// noted is called for each session that is meant, when its end is recorded; first says that this kick ends it, and no
// earlier cause. The user's lock is held on entry.
func (k *Kick) noted(entry *kickedSession, first bool) {
	if s := entry.session; k.revoked != 0 {
		s.user.manager.revoked.add(k.revoked, digestOf(s.user.id, s.token()), digestOf(s.user.id, s.ID()))
	}
	if first {
		k.add(entry)
	}
}

// revokePast refuses the logins of the sessions of u that have ended of late. u.mu is held on entry, since the sessions that
// live were looked at: one that ends is among these or those.
func (k *Kick) revokePast(u *user) {
	p := u.past.Load()
	if k.revoked == 0 || p == nil {
		return
	}
	for _, l := range p.logins.recent(u.manager) {
		u.manager.revoked.add(k.revoked, l.token, l.session)
	}
}

// add makes a session one of the kick's. The user's lock is held on entry.
func (k *Kick) add(entry *kickedSession) {
	k.mu.Lock()
	k.kicked = append(k.kicked, entry)
	k.mu.Unlock()
	reporter, ok := entry.session.links[0].(CloseReporter)
	if !ok {
		return
	}
	k.closed.open.Add(1)
	told := sync.OnceFunc(func() { k.closed.partDone(0) })
	go func() {
		known := entry.session.callLink("WhenClosed", func() {
			reporter.WhenClosed(func(o protocol.CloseOutcome) {
				k.mu.Lock()
				entry.outcome = o
				k.mu.Unlock()
				told()
			})
		})
		if !known {
			told()
		}
	}()
}
