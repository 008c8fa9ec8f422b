package usermgr

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// Claims decides, together with other managers, which logons may come in: a logon is prepared, then claimed, then completed. A manager
// calls Claim for every logon that it would let in by itself, and gives each granted claim back once, by Release.
//
// Online, Offline and Count concern this manager's sessions alone, unless the Claims is a cluster.Node: then Online and Offline concern the
// whole cluster (rule 17).
type Claims interface {
	// Claim returns when every session on other managers that the logon excludes has ended and its Disconnected handlers have returned.
	// It runs in the user's turn, before the logon has any effect, and may block. It runs on the goroutine of the bridge's logon; if a
	// program calls Register itself, it runs on another goroutine, for which Register waits. Meanwhile the user's sessions on this
	// manager may end, be evicted (see Manager.Evict) or time out; other changes of the user wait. Claim must return soon after ctx has
	// ended, which happens when the logon is given up or the manager is closed.
	//
	// An error refuses the logon, with the error's close code or, if it has none, with InternalError. With AlreadyLoggedOn
	// the event Ignored follows. After an error, a panic or a Goexit there is no claim: Claim itself must undo what it has stored.
	Claim(ctx context.Context, r ClaimRequest) (Claimed, error)
	// Release gives a claim back: the session has ended, and its Disconnected handlers have returned. last has its final
	// counters. For a logon that was given up after its claim was granted, last has only IDs, address and device. Release runs
	// in the user's turn, before the next change of the user, and must not block.
	Release(userID string, session uuid.UUID, generation uint64, last SessionInfo)
}

// ClaimRequest is a logon that asks to come in.
type ClaimRequest struct {
	Logon   Logon     // with the address of its connection
	Session uuid.UUID // the ID of the session that would begin
}

// Claimed is a claim that was granted.
type Claimed struct {
	// Generation is greater than the Generation of every session that the new session replaces. It becomes SessionInfo.Generation.
	Generation uint64
	// First and Carry are for a cluster's node, which knows who is online elsewhere. First means that the user was not online on any
	// node, so that Online follows. Carry is what has moved with the user, from each node that the user has left.
	First bool
	Carry []Carry
}

// Evict ends a session because a claim on another manager excludes it. With the code PushedOut the events are PushedOut, with the
// address by, and Disconnected; with another code Disconnected alone. The code is recorded at the call. A session that has been
// claimed but is not Connected yet is completed first: Connected, then its end. Evict returns at once, and reports whether this
// manager has the session; Claims.Release is called when it has ended. Any goroutine may call Evict, inside Claim too. A second call
// does nothing.
func (m *Manager) Evict(session uuid.UUID, by Address, code protocol.CloseCode) bool {
	s := m.claimedOrBound(session)
	if s == nil {
		return false
	}
	why := ending{code: code, by: &by}
	if code == protocol.PushedOut {
		why.text = textPushedOut
	}
	s.record(why)
	s.user.post(finishing(s))
	return true
}

// claimedOrBound returns the session with this ID; nil for none.
func (m *Manager) claimedOrBound(id uuid.UUID) *session {
	if s := m.claimed.find(id); s != nil { // first: a session that is not bound yet is only here
		return s
	}
	return m.sessions.find(id)
}

func init() {
	seam.Quiesce = func(users any, session uuid.UUID, done func()) {
		if s := users.(*Manager).claimedOrBound(session); s != nil {
			s.quiesceLink(done)
		}
	}
	seam.ClaimsOf = func(users any) any {
		if m, ok := users.(*Manager); ok {
			return m.claims
		}
		return nil
	}
}

// enter decides whether s, the session of the logon p, may come in. With Config.Claims it claims the place first.
func (u *user) enter(p *pendingLogon, s *session) (entry, error) {
	if u.manager.claims == nil {
		return u.decide(&p.logon, s)
	}
	c, err := u.claim(p, s)
	if err != nil {
		return entry{}, err
	}
	e, err := u.decide(&p.logon, s)
	if err != nil { // while the turn was lent, a session changed that excludes it
		u.unclaim(s)
	}
	e.claimed = c
	return e, err
}

// claim claims a place for s, the session of the logon p. The turn is lent while Claim runs: see user.lend. On return
// the caller has it again.
func (u *user) claim(p *pendingLogon, s *session) (Claimed, error) {
	m := u.manager
	if _, err := u.judge(&p.logon, s); err != nil { // a logon that is refused here must end no session elsewhere
		return Claimed{}, err
	}
	ctx := &claimContext{Context: p.ctx}
	m.claimed.add(s, ctx)
	if m.closed.Load() { // Close may have given up the claims before this one was added
		ctx.giveUp(&protocol.CloseError{Code: protocol.ServerStopping})
	}
	u.lend()
	c, err := u.askClaims(ctx, p, s)
	u.takeBack()
	ended := ctx.cause()
	ctx.release()
	if err != nil {
		m.claimed.remove(s)
		var ce *protocol.CloseError
		if codes.As(err, &ce) && ce.Code == protocol.AlreadyLoggedOn {
			u.tellIgnored(s)
		}
		return Claimed{}, claimError(ended, err)
	}
	s.needLazy().generation = c.Generation
	switch {
	case ended != nil:
		err = claimError(ended, ended)
	default:
		err = m.turnsAway(u.id, &p.logon) // the user may have been banned meanwhile
	}
	if err != nil {
		u.unclaim(s)
	}
	return c, err
}

// unclaim gives back the claim of a logon that failed.
func (u *user) unclaim(s *session) {
	m := u.manager
	m.claimed.remove(s)
	if m.presences != nil {
		m.presences.Left(u.id, s.id, seam.Left{Unused: true})
		return
	}
	m.release(s, &SessionInfo{UserID: u.id, ID: s.ID(), Address: s.address(), Device: s.device, Generation: s.generation()})
}

// connected is called when the Connected handlers of a claimed session have returned. It carries out an eviction that
// came before.
func (u *user) connected(s *session) {
	u.manager.claimed.remove(s)
	if s.why() != nil {
		u.post(finishing(s))
	}
}

// claimError returns the error for the client of a logon whose claim was not granted. ended is the cause of the end of its context; nil
// while it had not ended.
func claimError(ended, err error) error {
	var ce *protocol.CloseError
	switch {
	case codes.As(err, &ce), codes.As(ended, &ce):
		return ce
	case ended != nil:
		return &protocol.CloseError{Code: protocol.InternalError, Text: "the logon's claim did not come: " + ended.Error()}
	}
	return &protocol.CloseError{Code: protocol.InternalError, Text: "the logon's claim failed: " + err.Error()}
}

// errClaimPanicked is the error of a Claim that has not returned.
var errClaimPanicked = errors.New("it panicked")

// askClaims calls Claim: on this goroutine if the caller of Register has said that the goroutine may end, as a bridge does, and otherwise
// on another goroutine. The turn is lent, so a Claim that waits delays only its own logon and other logons of the user.
func (u *user) askClaims(ctx *claimContext, p *pendingLogon, s *session) (Claimed, error) {
	m, r := u.manager, ClaimRequest{Logon: p.logon, Session: s.id}
	r.Logon.Address = s.address()
	if contain.IsTrusted(m.claims) {
		return m.claims.Claim(ctx, r)
	}
	if _, ok := p.ctx.(seam.Expendable); ok {
		return u.askHere(ctx, s, r)
	}
	foreign := r
	return m.askApart(ctx, &foreign)
}

// askHere calls Claim of the application on this goroutine. After a panic it returns an error. After a Goexit its callers run only
// their deferred functions, so askHere itself undoes the logon.
func (u *user) askHere(ctx *claimContext, s *session, r ClaimRequest) (c Claimed, err error) {
	m, returned := u.manager, false
	defer func() {
		v := contain.Failure(recover(), returned)
		if v == nil {
			return
		}
		m.noteFailure("a Claims' Claim", v)
		c, err = Claimed{}, errClaimPanicked
		if v == contain.Exited {
			u.takeBack()
			ctx.release()
			m.claimed.remove(s)
			s.stopWatches()
			m.refuse(err)
		}
	}()
	c, err = m.claims.Claim(ctx, r)
	returned = true
	return c, err
}

// askApart calls Claim of the application on a goroutine of its own, so that the caller's goroutine goes on even after a Goexit.
func (m *Manager) askApart(ctx context.Context, r *ClaimRequest) (c Claimed, err error) {
	if !m.apart("a Claims' Claim", func() { c, err = m.claims.Claim(ctx, *r) }) {
		return Claimed{}, errClaimPanicked
	}
	return c, err
}

// release calls Release.
func (m *Manager) release(s *session, last *SessionInfo) {
	if contain.IsTrusted(m.claims) {
		m.claims.Release(last.UserID, s.id, s.generation(), *last)
		return
	}
	c := releases.Get().(*releasing)
	c.session, c.last = s, *last
	contain.Apart(c.run, c.failed)
	c.session, c.last = nil, SessionInfo{}
	releases.Put(c)
}

// releasing is a call of Release of the application's. It is reused, so that nothing is allocated.
type releasing struct {
	session *session
	last    SessionInfo
	run     func()
	failed  func(v any)
}

var releases = sync.Pool{New: func() any {
	c := new(releasing)
	c.run = func() {
		s := c.session
		s.user.manager.claims.Release(c.last.UserID, s.id, s.generation(), c.last)
	}
	c.failed = func(v any) { c.session.user.manager.noteFailure("a Claims' Release", v) }
	return c
}}

// generation returns the generation of the session's claim; 0 without Claims.
func (s *session) generation() uint64 {
	if r := s.lazy.Load(); r != nil {
		return r.generation
	}
	return 0
}

// claimedSessions has the sessions that wait for their claim or for their Connected handlers. The zero value is ready
// to use.
type claimedSessions struct {
	mu  sync.Mutex
	all map[uuid.UUID]claimedSession
}

type claimedSession struct {
	session *session
	ctx     *claimContext // of the claim
}

func (c *claimedSessions) add(s *session, ctx *claimContext) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[uuid.UUID]claimedSession)
	}
	c.all[s.id] = claimedSession{s, ctx}
}

func (c *claimedSessions) remove(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, s.id)
}

func (c *claimedSessions) find(id uuid.UUID) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[id].session
}

// giveUp cancels the claims that are running.
func (c *claimedSessions) giveUp(why error) {
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.all))
	c.mu.Unlock()
	for _, s := range all {
		s.ctx.giveUp(why)
	}
}
