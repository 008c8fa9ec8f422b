package bridge

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// identify returns the logon with the user that the client logs on as.
func (p *logon) identify() (usermgr.Logon, error) {
	first := &p.first
	logon := usermgr.Logon{UserID: first.UserID, Device: first.Device, Address: link{p.Control}.Address()}
	if first.Type == protocol.TypeLogon {
		fields, err := system.ParseStringMap(first.Body)
		if err != nil {
			return logon, err
		}
		_, p.datagrams = fields[system.FieldUDP]
		logon.Fields, logon.Session, logon.Token = fields, fields[protocol.FieldSession], fields[protocol.FieldToken]
	}
	if p.bridge.authenticator == nil {
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
	return p.authenticated(logon)
}

// authenticated completes a Logon or a Renew with the authenticator's answer.
func (p *logon) authenticated(logon usermgr.Logon) (usermgr.Logon, error) {
	id, err := p.authenticate(logon)
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
func (p *logon) authenticate(logon usermgr.Logon) (id Identity, err error) {
	b := p.bridge
	if p.authTurn == nil {
		p.authTurn = b.authenticating.join()
	}
	if err := p.authTurn.wait(p); err != nil {
		return Identity{}, err
	}
	defer func() { b.authenticating.leave(p.authTurn) }()
	contain.Call(func() { id, err = b.authenticator(p, p.Conn(), logon) }, func(v any) {
		b.authenticatorPanics.Add(1)
		b.log.Error("the authenticator panicked", zap.Any("panic", v), zap.Stack("stack"))
		err = contain.Error("the authenticator", v)
	})
	return id, err
}
