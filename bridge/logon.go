package bridge

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
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

// logon is a connection's Logon, or its Renew, until that is decided. To the engine a Logon is the Binding until the connection is let in;
// then the session itself is the Binding, so that the message path touches less memory, and nothing refers to the logon any more. To the
// authenticator and the user manager it is the context.
type logon struct {
	lazyContext
	engine.Control
	bridge         *Bridge
	turn, authTurn *turn // the places among the logons, and among the authenticators

	first    protocol.Message // the Logon, or the Renew; then its answer
	expires  time.Time        // when the session is to end; zero for never
	admitted engine.Admitted

	datagrams bool // the client asks for a way for datagrams beside TLS

	// Under lazyContext.mu.
	userID   string             // the ID given to the user manager; empty before
	session  usermgr.Session    // nil until the manager has returned it
	ended    protocol.CloseCode // why the connection ended; 0 while it has not
	answered bool               // or about to be answered
	refused  bool               // and counted as refused
}

var (
	_ engine.Binding  = (*logon)(nil)
	_ seam.Expendable = (*logon)(nil)
	_ seam.Timed      = (*logon)(nil)
)

// replySize is enough for nearly every answer to a Logon.
const replySize = 96

// newLogon returns the logon, or the renewal, that m asks for.
func (b *Bridge) newLogon(k engine.Control, m *protocol.Message) *logon {
	p := &logon{lazyContext: lazyContext{deadline: clock.Nanoseconds() + int64(b.cfg.LogonDeadline)}, Control: k, bridge: b, first: *m}
	p.first.Body = append(make([]byte, 0, max(len(m.Body), replySize)), m.Body...) // with room for the answer, too
	return p
}

// Trusted is for package contain: as a Binding the logon calls the manager.
func (p *logon) Trusted() bool { return p.bridge.manager != nil }

// Beat, Received and Sent do nothing: once the connection is let in the engine calls those of the session.
func (p *logon) Beat()                     {}
func (p *logon) Received(uint16, int, int) {}
func (p *logon) Sent(uint16, int, int)     {}

// Dropped may come from any goroutine.
func (p *logon) Dropped(typ uint16, messages, bytes int) {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	if s != nil {
		s.Dropped(typ, messages, bytes)
	}
}

// End is called by the engine when the connection begins to close.
func (p *logon) End(code protocol.CloseCode) {
	p.mu.Lock()
	p.ended = code
	s := p.session
	p.mu.Unlock()
	if s != nil {
		s.End(code)
		return
	}
	p.end(&protocol.CloseError{Code: code, Text: "the connection ended before the logon was done"})
}

// user returns the user that the client logs on as, or "" before that is known.
func (p *logon) user() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.userID
}

// run logs the connection on, or refuses it. It runs on a goroutine of its own, which ends with the logon.
func (p *logon) run() {
	b := p.bridge
	returned := false
	defer func() {
		if v := contain.Failure(recover(), returned); v != nil {
			p.fail(v)
		}
	}()
	defer b.leaveTurns(p)
	b.underWay.Add(1)
	defer b.underWay.Add(-1)
	defer p.end(nil)
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended != 0 {
		b.refused.Add(ended)
		b.release()
		returned = true
		return
	}
	// The client is told at the deadline even where an authenticator or an event handler is stuck.
	limit, conn := b.cfg.LogonDeadline, hidden(p.Conn())
	n := conn.After(limit, p)
	defer conn.StopAfter(limit, n)

	s, err := p.takeTurn()
	if err != nil {
		p.refuse(err)
		p.release()
		returned = true
		return
	}
	p.admit(s, conn.StopAfter(limit, n)) // if not, the client is told in this moment that it took too long
	returned = true
}

// TimedOut ends a logon at its deadline.
func (p *logon) TimedOut() {
	tooLong := &protocol.CloseError{Code: protocol.InternalError, Text: "the logon took too long"}
	p.bridge.log.Warn("a logon took too long: an authenticator, the user manager or an event handler did not return in time, or its turn did not come",
		zap.String("user", p.first.UserID), zap.Stringer("remote", link{p.Control}.Address()), zap.Duration("after", p.bridge.cfg.LogonDeadline))
	p.end(tooLong)
	p.refuse(tooLong)
}

// fail ends a logon in which the application's code has panicked, or has ended the goroutine: the user manager, or with
// a Goexit the authenticator.
func (p *logon) fail(v any) {
	if v != contain.Exited { // an Exited was reported already
		p.bridge.log.Error("a logon panicked", zap.Any("panic", v), zap.Stack("stack"))
	}
	p.refuse(contain.Error("the logon", v))
	p.mu.Lock()
	none := p.session == nil
	p.mu.Unlock()
	if none {
		p.release()
	}
}

// release releases a logon that has failed. The manager may have closed its link before: then the link has released it.
func (p *logon) release() {
	if hidden(p.Conn()).Unbind(nil).First {
		p.bridge.release()
	}
}

// takeTurn waits for a place among the logons, authenticates the client and registers it.
func (p *logon) takeTurn() (usermgr.Session, error) {
	if err := p.turn.wait(p); err != nil {
		return nil, err
	}
	l, err := p.identify()
	if err != nil {
		return nil, err
	}
	if err := p.slowDown(l.UserID); err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.userID = l.UserID
	p.mu.Unlock()
	s, err := p.register(l)
	if errors.Is(err, protocol.AlreadyLoggedOn) {
		p.bridge.gotInTheWay(l.UserID)
	}
	return s, err
}

// Expendable implements seam.Expendable: fail refuses a logon whose goroutine has ended.
func (p *logon) Expendable() {}

// Value implements context.Context, for seam.LeavePlace too.
func (p *logon) Value(key any) any {
	if key == (seam.LogonKey{}) {
		return p
	}
	return p.lazyContext.Value(key)
}

// LeavePlace gives up the logon's place among the logons: see seam.LeavePlace.
func (p *logon) LeavePlace() { p.bridge.loggingOn.leave(p.turn) }

// leaveTurns gives up the logon's places, also those in a queue.
func (b *Bridge) leaveTurns(p *logon) {
	b.authenticating.leave(p.authTurn)
	b.loggingOn.leave(p.turn)
}

// register calls the user manager. A manager of the application may panic.
func (p *logon) register(l usermgr.Logon) (s usermgr.Session, err error) {
	contain.Call(func() { s, err = p.bridge.users.Register(p, l, link{p.Control}) }, func(v any) {
		p.bridge.log.Error("the user manager panicked", zap.Any("panic", v), zap.Stack("stack"))
		s, err = nil, contain.Error("the user manager", v)
	})
	return s, err
}

// admit lets the connection in as the session's.
func (p *logon) admit(s usermgr.Session, inTime bool) {
	b := p.bridge
	p.mu.Lock()
	p.session = s
	p.answered = inTime
	ended := p.ended
	p.mu.Unlock()
	if ended == 0 && !inTime {
		ended = protocol.InternalError
	}
	if ended != 0 {
		s.End(ended)
		return
	}
	a := &p.admitted
	a.UserID, a.StrictUserID, a.Binding = s.UserID(), b.cfg.StrictUserID, s
	p.startExpiry(s)
	if p.first.Type == protocol.TypeLogon {
		p.first = p.reply(s) // in the place of the Logon, which is answered
		a.Reply = &p.first
	} else {
		a.Deliver = &p.first
	}
	p.Admit(a)
	if why := hidden(p.Conn()).UnboundEarly(); why != nil { // its session has ended before
		b.close(p.Conn(), why)
	}
}

// udpHeartbeat is the longest heartbeat interval over UDP: a router on the way forgets a client that is silent for half a minute.
const udpHeartbeat = 10 * time.Second

// reply returns the answer to the Logon of a client that is let in.
func (p *logon) reply(s usermgr.Session) protocol.Message {
	fields := map[string]string{protocol.FieldSession: s.ID()}
	c := hidden(p.Conn())
	if beat := p.bridge.heartbeat; beat > 0 {
		if p.Conn().Transport() == "udp" {
			beat = min(beat, udpHeartbeat)
		}
		fields[protocol.FieldHeartbeatMS] = strconv.FormatInt(max(beat.Milliseconds(), 1), 10)
	}
	if n := c.MaxBody(); n != protocol.DefaultMaxBody {
		fields[system.FieldMaxBody] = strconv.FormatInt(min(int64(n), math.MaxUint32), 10)
	}
	addExpiry(fields, p.expires)
	p.addDatagrams(fields)
	body, err := system.AppendLogonReply(p.first.Body[:0], fields)
	if err != nil {
		p.bridge.log.Error("a logon reply cannot be encoded", zap.String("user", s.UserID()), zap.Error(err))
	}
	return protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: p.first.ID, DestUserID: s.UserID(), Body: body}
}

// addDatagrams gives a client the way for datagrams that it has asked for.
func (p *logon) addDatagrams(fields map[string]string) {
	if !p.datagrams {
		return
	}
	if id, secret, ok := hidden(p.Conn()).Datagrams(); ok {
		fields[system.FieldUDPID], fields[system.FieldUDPKey] = fmt.Sprintf("%016x", id), hex.EncodeToString(secret[:])
	}
}

// refuse refuses the connection. Only the first answer to a logon counts.
func (p *logon) refuse(err error) {
	var ce *protocol.CloseError
	if codes.As(err, &ce) && (ce == nil || ce.Code == 0) { // 0 in the reply would say that the client is let in
		ce, err = nil, fmt.Errorf("a CloseError without a code: %w", err)
	}
	if ce == nil {
		p.bridge.log.Warn("a logon failed", zap.Stringer("remote", link{p.Control}.Address()), zap.Error(err))
		ce = &protocol.CloseError{Code: protocol.InternalError, Text: "the logon could not be decided"}
	}
	var reply *protocol.Message
	p.mu.Lock()
	if !p.answered && !p.refused {
		p.refused = true
		p.bridge.refused.Add(ce.Code)
	}
	if !p.answered && p.first.Type == protocol.TypeLogon {
		reply = &protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError, ID: p.first.ID,
			Body: system.AppendClose(nil, ce)}
	}
	p.mu.Unlock()
	p.Refuse(reply, ce)
}
