package bridge

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// link is one connection's way through the bridge: the engine's Binding on one side, the manager's Link on the other.
type link struct {
	bridge *Bridge
	conn   *engine.Conn
	// session is set before Admit, and read on the connection's loop after it: the message path needs no lock.
	session usermgr.Session

	turn, authTurn *turn // among the logons, and among those that are authenticated

	mu     sync.Mutex
	first  *protocol.Message       // until the logon is done
	cancel context.CancelCauseFunc // ends the logon, while it is under way
	ended  protocol.CloseCode      // why the connection ended; 0 while it has not
	known  bool                    // session may be told of the end
	closed bool                    // the manager is done with the link
	in     bool                    // the connection has been let in: it may be closed
	why    *protocol.CloseError    // Close's, when it came before that
}

var (
	_ engine.Binding = (*link)(nil)
	_ usermgr.Link   = (*link)(nil)

	_ usermgr.CloseReporter = (*link)(nil)
)

func (l *link) Beat()                                    { l.session.Beat() }
func (l *link) Received(typ uint16, messages, bytes int) { l.session.Received(typ, messages, bytes) }
func (l *link) Sent(typ uint16, messages, bytes int)     { l.session.Sent(typ, messages, bytes) }

// Dropped may come from any goroutine, before the session is there too.
func (l *link) Dropped(typ uint16, messages, bytes int) {
	l.mu.Lock()
	known := l.known
	l.mu.Unlock()
	if known {
		l.session.Dropped(typ, messages, bytes)
	}
}

// Ended is called by the engine when the connection begins to close.
func (l *link) Ended(code protocol.CloseCode) {
	l.mu.Lock()
	l.ended = code
	known, cancel := l.known, l.cancel
	l.mu.Unlock()
	if known {
		l.session.End(code)
	} else if cancel != nil {
		cancel(&protocol.CloseError{Code: code, Text: "the connection ended before the logon was done"})
	}
}

func (l *link) Address() usermgr.Address {
	return usermgr.Address{Conn: l.conn.ID(), Remote: l.conn.RemoteAddr()}
}

func (l *link) Quiesce(done func()) { l.conn.Quiesce(done) }

// WhenClosed implements usermgr.CloseReporter.
func (l *link) WhenClosed(f func(usermgr.CloseOutcome)) {
	l.conn.WhenClosed(func(o engine.Outcome) {
		switch o {
		case engine.Told:
			f(usermgr.OutcomeTold)
		case engine.Forced:
			f(usermgr.OutcomeForced)
		default:
			f(usermgr.OutcomeClosedByPeer)
		}
	})
}

// Close is called by the manager when the session is unbound.
func (l *link) Close(code protocol.CloseCode, text string) {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	early := !l.in
	if early {
		l.why = &protocol.CloseError{Code: code, Text: text}
	}
	l.mu.Unlock()
	if again {
		return
	}
	if !early { // or else admit does it, behind the reply to the Logon
		l.close(code, text)
	}
	l.bridge.release()
}

func (l *link) close(code protocol.CloseCode, text string) {
	if l.bridge.cfg.ManualClose {
		time.AfterFunc(l.bridge.grace, func() { l.conn.Close(code, text) })
		return
	}
	l.conn.Close(code, text)
}

// logOn takes the connection from its first message to its session, or to its refusal. It runs on a goroutine of its
// own, which ends with the logon.
func (l *link) logOn() {
	b := l.bridge
	defer l.leaveTurns()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	l.mu.Lock()
	l.cancel = cancel
	ended := l.ended
	l.mu.Unlock()
	if ended != 0 {
		b.release()
		return
	}
	// The client is told at the deadline even where an authenticator or an event handler is stuck.
	deadline := time.AfterFunc(b.cfg.LogonDeadline, func() {
		tooLong := &protocol.CloseError{Code: protocol.InternalError, Text: "the logon took too long"}
		cancel(tooLong)
		l.refuse(tooLong)
	})
	defer deadline.Stop()

	s, err := l.takeTurn(logonContext{ctx, time.Now().Add(b.cfg.LogonDeadline)})
	if err != nil {
		l.refuse(err)
		b.release()
		return
	}
	l.admit(s, deadline.Stop)
}

// takeTurn waits for a place among the logons, and does what can be refused.
func (l *link) takeTurn(ctx logonContext) (usermgr.Session, error) {
	if err := l.turn.wait(ctx); err != nil {
		return nil, err
	}
	logon, err := l.identify(ctx)
	if err != nil {
		return nil, err
	}
	return l.register(ctx.Context, logon)
}

// leaveTurns gives up the places that it has, and those in a queue.
func (l *link) leaveTurns() {
	l.bridge.authenticating.leave(l.authTurn)
	l.bridge.loggingOn.leave(l.turn)
}

// register is the user manager's part. The manager may be the program's own, and panic.
func (l *link) register(ctx context.Context, logon usermgr.Logon) (s usermgr.Session, err error) {
	defer func() {
		if v := recover(); v != nil {
			l.bridge.log.Error("the user manager panicked", zap.Any("panic", v), zap.Stack("stack"))
			err = errors.New("the user manager panicked")
		}
	}()
	return l.bridge.users.Register(ctx, logon, l)
}

// logonContext is a context with a deadline of which others keep watch.
type logonContext struct {
	context.Context
	deadline time.Time
}

func (c logonContext) Deadline() (time.Time, bool) { return c.deadline, true }

// identify says as whom the client logs on.
func (l *link) identify(ctx context.Context) (usermgr.Logon, error) {
	cfg := &l.bridge.cfg
	logon := usermgr.Logon{UserID: l.first.UserID, Device: l.first.Device, Address: l.Address()}
	if l.first.Type == protocol.Logon {
		fields, err := protocol.ParseStringMap(l.first.Body)
		if err != nil {
			return logon, err
		}
		logon.Fields, logon.Session, logon.Token = fields, fields[protocol.FieldSession], fields[protocol.FieldToken]
	}
	if cfg.Authenticate == nil {
		return logon, protocol.CheckUserID(logon.UserID)
	}
	if l.first.Type != protocol.Logon {
		return logon, &protocol.CloseError{Code: protocol.Unauthorized, Text: "the first message must be a Logon"}
	}
	if logon.UserID != "" {
		if err := protocol.CheckUserID(logon.UserID); err != nil {
			return logon, err
		}
	}
	id, err := l.authenticate(ctx, logon)
	if err != nil {
		return logon, err
	}
	if logon.UserID != "" && logon.UserID != id.UserID {
		return logon, &protocol.CloseError{Code: protocol.Unauthorized, Text: "the token is not this user's"}
	}
	if err := protocol.CheckUserID(id.UserID); err != nil { // the authenticator's mistake, not the client's
		return logon, errors.New("the authenticator returned an unusable user ID: " + err.Error())
	}
	logon.UserID = id.UserID
	if id.Token != "" {
		logon.Token = id.Token
	}
	return logon, nil
}

// authenticate waits for a place among the authenticators, and runs one.
func (l *link) authenticate(ctx context.Context, logon usermgr.Logon) (id Identity, err error) {
	b := l.bridge
	if l.authTurn == nil {
		l.authTurn = b.authenticating.join()
	}
	if err := l.authTurn.wait(ctx); err != nil {
		return Identity{}, err
	}
	defer func() {
		b.authenticating.leave(l.authTurn)
		if v := recover(); v != nil {
			b.log.Error("the authenticator panicked", zap.Any("panic", v), zap.Stack("stack"))
			err = errors.New("the authenticator panicked")
		}
	}()
	return b.cfg.Authenticate(ctx, logon)
}

// admit lets the connection in as the session's.
func (l *link) admit(s usermgr.Session, stop func() bool) {
	inTime := stop() // if not, the client is told in this moment that it took too long
	l.mu.Lock()
	l.session = s
	l.known = true
	first := l.first
	if inTime {
		l.first = nil
	}
	l.cancel = nil
	ended := l.ended
	l.mu.Unlock()
	if ended == 0 && !inTime {
		ended = protocol.InternalError
	}
	if ended != 0 {
		s.End(ended)
		return
	}
	a := engine.Admitted{UserID: s.UserID(), StrictUserID: l.bridge.cfg.StrictUserID}
	if first.Type == protocol.Logon {
		a.Reply = l.logonReply(first, s)
	} else {
		a.Deliver = first
	}
	l.conn.Admit(a)
	l.mu.Lock()
	l.in = true
	why := l.why
	l.mu.Unlock()
	if why != nil {
		l.close(why.Code, why.Text)
	}
}

func (l *link) logonReply(first *protocol.Message, s usermgr.Session) *protocol.Message {
	fields := map[string]string{protocol.FieldSession: s.ID()}
	if l.bridge.heartbeat > 0 {
		fields[protocol.FieldHeartbeatMS] = strconv.FormatInt(max(l.bridge.heartbeat.Milliseconds(), 1), 10)
	}
	body, err := protocol.AppendLogonReply(make([]byte, 0, 96), fields)
	if err != nil {
		l.bridge.log.Error("a logon reply cannot be encoded", zap.String("user", s.UserID()), zap.Error(err))
	}
	return &protocol.Message{Type: protocol.Logon, Flags: protocol.FlagReply, ID: first.ID, DestUserID: s.UserID(), Body: body}
}

// refuse turns the connection away. Only the first word counts.
func (l *link) refuse(err error) {
	var ce *protocol.CloseError
	if !errors.As(err, &ce) {
		l.bridge.log.Warn("a logon failed", zap.String("remote", l.conn.RemoteAddr()), zap.Error(err))
		ce = &protocol.CloseError{Code: protocol.InternalError, Text: "the logon could not be decided"}
	}
	var reply *protocol.Message
	l.mu.Lock()
	if l.first != nil && l.first.Type == protocol.Logon {
		reply = &protocol.Message{Type: protocol.Logon, Flags: protocol.FlagReply | protocol.FlagError, ID: l.first.ID,
			Body: protocol.AppendClose(nil, ce)}
	}
	l.mu.Unlock()
	l.conn.Refuse(reply, ce)
}
