package bridge

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// renew is the handler of a client's Renew. It runs on the event loop and starts run on a goroutine of its own, at most
// one for each session.
func (b *Bridge) renew(c *engine.Conn, m *protocol.Message) error {
	x := b.expiries.of(c)
	if x == nil {
		return protocol.Errorf(protocol.Refused, "this session does not expire")
	}
	p := b.newLogon(x.link.Control, m)
	if !x.begin(p) {
		return protocol.Errorf(protocol.Refused, "another renewal of this session is being looked at")
	}
	p.authTurn = b.authenticating.join() // here, because here the order of the logons is known
	b.bound.Add(1)
	go x.run(p)
	return nil
}

// begin makes p the session's renewal. It reports false while another one runs.
func (x *expiry) begin(p *logon) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.renewing || x.over {
		return false
	}
	x.renewing, x.open = true, p
	return true
}

// run is a renewal's goroutine.
func (x *expiry) run(p *logon) {
	b := x.bridge
	// The client is told at the deadline even where the authenticator is stuck.
	limit, conn := b.cfg.LogonDeadline, hidden(p.Conn())
	n := conn.After(limit, renewal{x, p})
	err := errors.New("the authenticator did not return")
	defer func() { // also when the application's code has ended this goroutine
		conn.StopAfter(limit, n)
		b.authenticating.leave(p.authTurn)
		x.answer(p, err, true)
		p.end(nil)
		b.release()
	}()
	err = x.decide(p)
}

// renewal is a renewal with a deadline.
type renewal struct {
	expiry *expiry
	logon  *logon
}

// TimedOut ends a renewal at its deadline.
func (r renewal) TimedOut() {
	tooLong := &protocol.CloseError{Code: protocol.InternalError, Text: "the renewal took too long"}
	r.logon.end(tooLong)
	r.expiry.answer(r.logon, tooLong, false)
}

// decide asks the authenticator, and then the session, whether to accept the client's new token.
func (x *expiry) decide(p *logon) (err error) {
	fields, err := system.ParseStringMap(p.first.Body)
	if err != nil {
		return err
	}
	logon := usermgr.Logon{UserID: x.session.UserID(), Device: x.device, Session: x.session.ID(),
		Token: fields[protocol.FieldToken], Fields: fields, Address: x.link.Address(), Renewal: true}
	if logon, err = p.authenticated(logon); err != nil {
		return err
	}
	r, ok := x.session.(seam.Renewer)
	if !ok {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			x.bridge.log.Error("the user manager panicked", zap.Any("panic", v), zap.Stack("stack"))
			err = errors.New("the user manager panicked")
		}
	}()
	return r.Renew(p, logon.Token)
}

// answer tells the client the outcome of its renewal; err is nil when the session is renewed. Only the first answer
// counts. finished says that the goroutine is done, so that the client may renew again when it has the answer.
func (x *expiry) answer(p *logon, err error, finished bool) {
	x.mu.Lock()
	if finished {
		x.renewing = false
	}
	if x.open != p {
		x.mu.Unlock()
		return
	}
	x.open = nil
	due := x.due
	x.due = false
	if err == nil {
		x.at = p.expires
		x.timer.Stop()
		if !x.at.IsZero() {
			x.timer.Reset(time.Until(x.at))
		}
	}
	x.mu.Unlock()
	if err != nil {
		x.refuse(p, err)
		if due {
			x.end()
		}
		return
	}
	fields := make(map[string]string, 1)
	addExpiry(fields, p.expires)
	body, _ := system.AppendLogonReply(nil, fields) // one short pair: it cannot fail
	if p.first.ID != 0 {
		_ = p.Conn().Reply(&p.first, body)
	}
}

// refuse answers a renewal with an error.
func (x *expiry) refuse(p *logon, err error) {
	b := x.bridge
	var ce *protocol.CloseError
	if codes.As(err, &ce) && (ce == nil || ce.Code == 0) {
		ce, err = nil, fmt.Errorf("a CloseError without a code: %w", err)
	}
	if ce == nil {
		b.log.Warn("a renewal failed", zap.Stringer("remote", link{p.Control}.Address()), zap.Error(err))
		ce = &protocol.CloseError{Code: protocol.InternalError, Text: "the renewal could not be decided"}
	}
	if ce.Code == protocol.Unauthorized {
		hidden(p.Conn()).CountFailedLogon() // so that a client cannot guess tokens this way
	}
	if p.first.ID != 0 {
		_ = p.Conn().SendMessage(&protocol.Message{Type: protocol.TypeRenew, Flags: protocol.FlagReply | protocol.FlagError,
			ID: p.first.ID, Body: system.AppendClose(nil, ce)}, nil)
	}
}
