package usermgr

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

var (
	// ErrBlankID is returned for an ID that is empty, by Register too.
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

// KickOptions say what a kick ends, and how. All that is set holds: a session that is meant is on one of the Devices, and has the
// Token. Nil options, as the zero value, mean all of the user, with KickedOut.
type KickOptions struct {
	// Code is what the sessions end with, and what the clients are told. 0 means KickedOut. After a code from 2000 to 2999, or
	// from 4000 to 4999, a client does not come back by itself.
	Code protocol.CloseCode
	// Text is for the user; it goes out with the notice.
	Text string
	// Devices are the device classes whose sessions are meant. Empty means all.
	Devices []uint16
	// Token is that of the session that is meant, see Logon.Token. Empty means any.
	Token string
	// BanFor is for how long every logon of the user is refused with Unauthorized, whatever token it shows: longer than by an
	// earlier ban, or not at all. Then it is no error that the user is offline. Sessions that are not meant stay, until they
	// end; their tokens are not renewed meanwhile. See Manager.Unban. Up to a million users are banned at a time; beyond, the ban goes that would be over first. 0 or less
	// means no ban.
	BanFor time.Duration
	// RevokeFor is for how long a logon with the token of a session that is meant, or with its session ID, is refused with
	// Unauthorized, also when the session is ending by itself. A kick of all of the user means besides the sessions that have
	// ended within the last Config.OfflineGrace, since the user came online, of however many devices: the last 64 of them. A
	// user who logs on without any token is known by nothing else, and not refused: that is the authenticator's to do. 0 or
	// less means not at all.
	RevokeFor time.Duration
}

// Wait waits until the sessions of a kick have ended, all their event handlers included, and their connections too, or until
// ctx ends. It returns what became of each session, the oldest first; with ctx's error, of each as far as is known. It may be
// called again, and need not be called. In an event handler, waiting for a kick of the handler's own user ends with ctx's error.
type Wait func(ctx context.Context) ([]Kicked, error)

// Kicked is what became of one session that was thrown out.
type Kicked struct {
	Session SessionInfo // with its final counters, once the outcome is known
	Outcome protocol.CloseOutcome
}

// Kick throws a user out: the sessions that o means, all without o, and such of the logons that wait at this moment once they
// have come online, end with o's code. It returns at once, and may be called in handlers; the Wait that it returns tells the
// outcome. The error is ErrBlankID, or ErrUnknownID where the user has no such session, unless the user is banned with it;
// then Wait is nil. While a logon of the user is under way there is no error, and Wait may return no session in the end: the
// logon may be refused.
func (m *Manager) Kick(userID string, o *KickOptions) (Wait, error) {
	if o == nil {
		o = new(KickOptions)
	}
	return m.kick(userID, o, o.only())
}

// KickSession is Kick for one session, by its ID; SessionAt finds the one on a connection. A session that is not as Devices and
// Token say is unknown. Where the session is ending for another cause already, Wait returns none.
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

// only returns which sessions of the user are meant; nil for all. It is called with the user's lock held.
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
	if o.BanFor > 0 { // first: a logon that comes now is refused, and one that came before is meant
		m.banned.add(untilAfter(o.BanFor), digestOf(userID, ""))
	}
	k := &kick{change: newChange(), closed: newChange()}
	found := false
	if u := m.users.get(userID); u != nil {
		if o.RevokeFor > 0 {
			k.revoked = untilAfter(o.RevokeFor)
		}
		why := ending{code: protocol.KickedOut, text: o.Text, kick: k}
		if o.Code != 0 {
			why.code = o.Code
		}
		found = k.change.end(u, why, only)
	}
	k.change.partDone(0)
	if !found && o.BanFor <= 0 {
		return nil, ErrUnknownID
	}
	return k.wait, nil
}

// Unban lets a user in again whom KickOptions.BanFor keeps out, and reports whether one was. What RevokeFor refuses it does not
// change.
func (m *Manager) Unban(userID string) bool { return m.banned.lift(digestOf(userID, "")) }

// kick is a kick under way.
type kick struct {
	revoked int64 // until when tokens are refused, see untilAfter; 0 for not at all
	change  *change
	// closed is done when the outcomes that are awaited are known. It is held open until change is done.
	closed  *change
	release sync.Once

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
	_, err := k.change.wait(ctx)
	if err == nil {
		k.release.Do(func() { k.closed.partDone(0) })
		_, err = k.closed.wait(ctx)
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
func (k *kick) ended(entry *kickedSession, final SessionInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry.final = &final
}

// noted is called for each session that is meant, when its end is recorded; first says that this kick ends it, and no
// earlier cause. The user's lock is held on entry.
func (k *kick) noted(entry *kickedSession, first bool) {
	if s := entry.session; k.revoked != 0 {
		s.user.manager.revoked.add(k.revoked, digestOf(s.user.id, s.token()), digestOf(s.user.id, s.ID()))
	}
	if first {
		k.add(entry)
	}
}

// revokePast refuses the logins of the sessions of u that have ended of late. u.mu is held on entry, since the sessions that
// live were looked at: one that ends is among these or those.
func (k *kick) revokePast(u *user) {
	p := u.past.Load()
	if k.revoked == 0 || p == nil {
		return
	}
	for _, l := range p.logins.recent(u.manager) {
		u.manager.revoked.add(k.revoked, l.token, l.session)
	}
}

// add makes a session one of the kick's. The user's lock is held on entry.
func (k *kick) add(entry *kickedSession) {
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
