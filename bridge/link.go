package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// link joins one connection to its session. To the manager it is the Link. To the engine it is the Binding until the
// connection is let in; then the session itself is the Binding, so that the message path touches less memory.
type link struct {
	bridge  *Bridge
	conn    *engine.Conn
	control engine.Control

	mu      sync.Mutex
	session usermgr.Session    // nil until the manager has returned it
	logon   *logon             // nil when the connection has been let in, so that it may be closed
	ended   protocol.CloseCode // why the connection ended; 0 while it has not
	closed  bool               // the manager is done with the link
	expiry  *expiry            // nil for a session that does not expire
}

// logon has the fields that a link needs until it has been let in. It is also the context of its authenticator, with a
// deadline that a timer enforces.
type logon struct {
	context.Context
	deadline int64 // see clock.Nanoseconds
	conn     *engine.Conn

	turn, authTurn *turn // the places among the logons, and among the authenticators

	first    protocol.Message // the Logon, or the Renew
	userID   string           // the ID given to the user manager; empty before
	expires  time.Time        // when the session is to end; zero for never
	admitted engine.Admitted
	answered bool                    // or about to be answered
	refused  bool                    // and counted as refused
	cancel   context.CancelCauseFunc // ends the logon while it runs
	why      *protocol.CloseError    // the arguments of Close, when it came before the connection was let in
}

var (
	_ engine.Binding = (*link)(nil)
	_ usermgr.Link   = (*link)(nil)
	_ seam.Looker    = (*link)(nil)
)

// Trusted and TrustedLink are for package contain: as a Binding the link calls the manager, as a Link it calls only the
// engine.
func (l *link) Trusted() bool     { return l.bridge.manager != nil }
func (l *link) TrustedLink() bool { return true }

// Beat, Received and Sent do nothing: once the connection is let in the engine calls those of the session.
func (l *link) Beat()                     {}
func (l *link) Received(uint16, int, int) {}
func (l *link) Sent(uint16, int, int)     {}

// Dropped may come from any goroutine.
func (l *link) Dropped(typ uint16, messages, bytes int) {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s != nil {
		s.Dropped(typ, messages, bytes)
	}
}

// End is called by the engine when the connection begins to close.
func (l *link) End(code protocol.CloseCode) {
	l.mu.Lock()
	l.ended = code
	s := l.session
	var cancel context.CancelCauseFunc
	if s == nil {
		cancel = l.logon.cancel
	}
	l.mu.Unlock()
	if s != nil {
		s.End(code)
	} else if cancel != nil {
		cancel(&protocol.CloseError{Code: code, Text: "the connection ended before the logon was done"})
	}
}

func (l *link) Address() usermgr.Address {
	return usermgr.Address{Conn: l.conn.ID(), Remote: l.conn.RemoteAddr(), Via: l.conn.Transport()}
}

// remoteText returns the address of a connection's peer for people to read; the transport's name for a peer without an IP address.
func remoteText(c *engine.Conn) string {
	if a := c.RemoteAddr(); a.IsValid() {
		return a.String()
	}
	return c.Transport()
}

// hidden returns what the engine provides to this module alone.
func (l *link) hidden() seam.Conn { return seam.ConnOf(l.conn) }

func (l *link) Quiesce(done func()) { l.control.Quiesce(done) }

// Look implements seam.Looker.
func (l *link) Look(done func(busy bool)) { l.hidden().Look(done) }

// Close is called by the manager when the session is unbound.
func (l *link) Close(why *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		l.control.WhenClosed(done)
	}
	l.mu.Lock()
	again := l.closed
	l.closed = true
	early := l.logon != nil
	if early {
		l.logon.why = why
	}
	x, userID := l.expiry, ""
	if early {
		userID = l.logon.userID
	}
	l.mu.Unlock()
	x.stop()
	l.hidden().Unbind()
	if again {
		return
	}
	if why.Code == protocol.PushedOut {
		l.bridge.gotInTheWay(cmp.Or(userID, l.conn.UserID()))
	}
	if !early { // otherwise admit does it, after the reply to the Logon
		l.close(why)
	}
	l.bridge.release()
}

func (l *link) close(why *protocol.CloseError) {
	if why.Code == protocol.TokenExpired && why.Text == "" { // Session.End takes no text
		why = &protocol.CloseError{Code: why.Code, Text: expiredText}
	}
	if l.bridge.cfg.ManualClose {
		time.AfterFunc(l.bridge.grace, func() { l.conn.Close(why) })
		return
	}
	l.conn.Close(why)
}

// logOn logs the connection on, or refuses it. It runs on a goroutine of its own, which ends with the logon.
func (l *link) logOn() {
	b, p := l.bridge, l.logon
	returned := false
	defer func() {
		if v := contain.Failure(recover(), returned); v != nil {
			l.fail(v)
		}
	}()
	defer b.leaveTurns(p)
	b.underWay.Add(1)
	defer b.underWay.Add(-1)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	p.Context, p.deadline = ctx, clock.Nanoseconds()+int64(b.cfg.LogonDeadline)
	l.mu.Lock()
	p.cancel = cancel
	ended := l.ended
	l.mu.Unlock()
	if ended != 0 {
		b.refused.Add(ended)
		b.release()
		returned = true
		return
	}
	// The client is told at the deadline even where an authenticator or an event handler is stuck.
	stop := l.hidden().AfterFunc(b.cfg.LogonDeadline, func() { l.tookTooLong(p, cancel) })
	defer stop()

	s, err := l.takeTurn(p)
	if err != nil {
		l.refuse(err)
		b.release()
		returned = true
		return
	}
	l.admit(s, stop)
	returned = true
}

// tookTooLong ends a logon at its deadline.
func (l *link) tookTooLong(p *logon, cancel context.CancelCauseFunc) {
	tooLong := &protocol.CloseError{Code: protocol.InternalError, Text: "the logon took too long"}
	l.bridge.log.Warn("a logon took too long: an authenticator, the user manager or an event handler did not return in time, or its turn did not come",
		zap.String("user", p.first.UserID), zap.String("remote", remoteText(l.conn)), zap.Duration("after", l.bridge.cfg.LogonDeadline))
	cancel(tooLong)
	l.refuse(tooLong)
}

// fail ends a logon in which the application's code has panicked, or has ended the goroutine: the user manager, or with
// a Goexit the authenticator.
func (l *link) fail(v any) {
	if v != contain.Exited { // an Exited was reported already
		l.bridge.log.Error("a logon panicked", zap.Any("panic", v), zap.Stack("stack"))
	}
	l.refuse(contain.Error("the logon", v))
	l.mu.Lock()
	release := l.session == nil && !l.closed
	l.closed = l.closed || release
	l.mu.Unlock()
	if release {
		l.bridge.release()
	}
}

// takeTurn waits for a place among the logons, authenticates the client and registers it.
func (l *link) takeTurn(p *logon) (usermgr.Session, error) {
	if err := p.turn.wait(p); err != nil {
		return nil, err
	}
	logon, err := l.identify(p)
	if err != nil {
		return nil, err
	}
	if err := l.slowDown(p, logon.UserID); err != nil {
		return nil, err
	}
	l.mu.Lock()
	p.userID = logon.UserID
	l.mu.Unlock()
	s, err := l.register(p.Context, logon)
	if errors.Is(err, protocol.AlreadyLoggedOn) {
		l.bridge.gotInTheWay(logon.UserID)
	}
	return s, err
}

// leaveTurns gives up the logon's places, also those in a queue.
func (b *Bridge) leaveTurns(p *logon) {
	b.authenticating.leave(p.authTurn)
	b.loggingOn.leave(p.turn)
}

// register calls the user manager. A manager of the application may panic.
func (l *link) register(ctx context.Context, logon usermgr.Logon) (s usermgr.Session, err error) {
	contain.Call(func() { s, err = l.bridge.users.Register(ctx, logon, l) }, func(v any) {
		l.bridge.log.Error("the user manager panicked", zap.Any("panic", v), zap.Stack("stack"))
		s, err = nil, contain.Error("the user manager", v)
	})
	return s, err
}

// Deadline implements context.Context.
func (p *logon) Deadline() (time.Time, bool) { return clock.Time(p.deadline), true }

// identify returns the logon with the user that the client logs on as.
func (l *link) identify(p *logon) (usermgr.Logon, error) {
	first := &p.first
	logon := usermgr.Logon{UserID: first.UserID, Device: first.Device, Address: l.Address()}
	if first.Type == protocol.TypeLogon {
		fields, err := system.ParseStringMap(first.Body)
		if err != nil {
			return logon, err
		}
		logon.Fields, logon.Session, logon.Token = fields, fields[protocol.FieldSession], fields[protocol.FieldToken]
	}
	if l.bridge.authenticator == nil {
		return logon, protocol.CheckUserID(logon.UserID)
	}
	if first.Type != protocol.TypeLogon {
		return logon, &protocol.CloseError{Code: protocol.Unauthorized, Text: "the first message must be a Logon"}
	}
	if logon.UserID != "" {
		if err := protocol.CheckUserID(logon.UserID); err != nil {
			return logon, err
		}
	}
	return l.authenticated(p, logon)
}

// authenticated completes a Logon or a Renew with the authenticator's answer.
func (l *link) authenticated(p *logon, logon usermgr.Logon) (usermgr.Logon, error) {
	id, err := l.authenticate(p, logon)
	if err != nil {
		return logon, err
	}
	if err := protocol.CheckUserID(id.UserID); err != nil { // the authenticator's mistake, not the client's
		return logon, errors.New("the authenticator returned an unusable user ID: " + err.Error())
	}
	if logon.UserID != "" && logon.UserID != id.UserID && (!id.Canonical || logon.Renewal) {
		return logon, &protocol.CloseError{Code: protocol.Unauthorized, Text: "the token is not this user's"}
	}
	logon.UserID = id.UserID
	if id.Token != "" {
		logon.Token = id.Token
	}
	if !id.Expires.IsZero() {
		left := time.Until(id.Expires)
		if left <= 0 {
			return logon, &protocol.CloseError{Code: protocol.TokenExpired, Text: expiredText}
		}
		p.expires = time.Now().Add(left)
	}
	return logon, nil
}

// authenticate waits for a place among the authenticators, and runs one.
func (l *link) authenticate(p *logon, logon usermgr.Logon) (id Identity, err error) {
	b := l.bridge
	if p.authTurn == nil {
		p.authTurn = b.authenticating.join()
	}
	if err := p.authTurn.wait(p); err != nil {
		return Identity{}, err
	}
	defer func() { b.authenticating.leave(p.authTurn) }()
	contain.Call(func() { id, err = b.authenticator(p, p.conn, logon) }, func(v any) {
		b.authenticatorPanics.Add(1)
		b.log.Error("the authenticator panicked", zap.Any("panic", v), zap.Stack("stack"))
		err = contain.Error("the authenticator", v)
	})
	return id, err
}

// admit lets the connection in as the session's.
func (l *link) admit(s usermgr.Session, stop func() bool) {
	inTime := stop() // if not, the client is told in this moment that it took too long
	l.mu.Lock()
	l.session = s
	first := &l.logon.first
	l.logon.answered = inTime
	l.logon.cancel = nil
	ended := l.ended
	l.mu.Unlock()
	if ended == 0 && !inTime {
		ended = protocol.InternalError
	}
	if ended != 0 {
		s.End(ended)
		return
	}
	a := &l.logon.admitted
	a.UserID, a.StrictUserID, a.Binding = s.UserID(), l.bridge.cfg.StrictUserID, s
	if first.Type == protocol.TypeLogon {
		a.Reply = l.logonReply(first, s)
	} else {
		a.Deliver = first
	}
	l.startExpiry()
	l.control.Admit(a)
	l.mu.Lock()
	why := l.logon.why
	l.logon = nil
	l.mu.Unlock()
	if why != nil {
		l.close(why)
	}
}

func (l *link) logonReply(first *protocol.Message, s usermgr.Session) *protocol.Message {
	fields := map[string]string{protocol.FieldSession: s.ID()}
	if l.bridge.heartbeat > 0 {
		fields[protocol.FieldHeartbeatMS] = strconv.FormatInt(max(l.bridge.heartbeat.Milliseconds(), 1), 10)
	}
	if n := l.bridge.engine.MaxBody(); n != protocol.DefaultMaxBody {
		fields[protocol.FieldMaxBody] = strconv.FormatInt(min(int64(n), math.MaxUint32), 10)
	}
	addExpiry(fields, l.logon.expires)
	body, err := system.AppendLogonReply(make([]byte, 0, 96), fields)
	if err != nil {
		l.bridge.log.Error("a logon reply cannot be encoded", zap.String("user", s.UserID()), zap.Error(err))
	}
	return &protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: first.ID, DestUserID: s.UserID(), Body: body}
}

// refuse refuses the connection. Only the first answer to a logon counts.
func (l *link) refuse(err error) {
	var ce *protocol.CloseError
	if codes.As(err, &ce) && (ce == nil || ce.Code == 0) { // 0 in the reply would say that the client is let in
		ce, err = nil, fmt.Errorf("a CloseError without a code: %w", err)
	}
	if ce == nil {
		l.bridge.log.Warn("a logon failed", zap.String("remote", remoteText(l.conn)), zap.Error(err))
		ce = &protocol.CloseError{Code: protocol.InternalError, Text: "the logon could not be decided"}
	}
	var reply *protocol.Message
	l.mu.Lock()
	if p := l.logon; p != nil && !p.answered && !p.refused {
		p.refused = true
		l.bridge.refused.Add(ce.Code)
	}
	if p := l.logon; p != nil && !p.answered && p.first.Type == protocol.TypeLogon {
		reply = &protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError, ID: p.first.ID,
			Body: system.AppendClose(nil, ce)}
	}
	l.mu.Unlock()
	l.control.Refuse(reply, ce)
}
