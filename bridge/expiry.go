package bridge

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const expiredText = "the token has expired"

// expiry ends a session when its token has expired, unless the client renews it (renew.go). Its lock is a leaf.
type expiry struct {
	link    link
	bridge  *Bridge
	session usermgr.Session
	device  uint16

	mu       sync.Mutex
	at       time.Time // zero for never
	timer    *time.Timer
	renewing bool   // a renewal's goroutine runs
	open     *logon // the renewal without an answer yet; nil for none
	due      bool   // the token expired meanwhile: the renewal's answer decides
	over     bool   // the session has ended, or is being ended
}

// expiries finds the expiry of a connection's session.
type expiries struct {
	any    atomic.Bool // an expiry was ever added: otherwise of takes no lock
	mu     sync.Mutex
	byConn map[uint64]*expiry
}

// of returns nil for a session that does not expire.
func (e *expiries) of(c *engine.Conn) *expiry {
	if !e.any.Load() {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byConn[c.ID()]
}

func (e *expiries) add(x *expiry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byConn == nil {
		e.byConn = make(map[uint64]*expiry)
	}
	e.byConn[x.link.Conn().ID()] = x
	e.any.Store(true)
}

func (e *expiries) remove(x *expiry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byConn, x.link.Conn().ID())
}

// startExpiry starts the timer that ends the session. It is called before the connection is let in, and so before a
// Renew can come.
func (p *logon) startExpiry(s usermgr.Session) {
	if p.expires.IsZero() {
		return
	}
	x := &expiry{link: link{p.Control}, bridge: p.bridge, session: s, device: p.first.Device, at: p.expires}
	x.timer = time.AfterFunc(time.Until(x.at), x.passed)
	p.bridge.expiries.add(x)
	if hidden(p.Conn()).UnboundEarly() != nil { // Close may have looked for it before
		x.stop()
	}
}

// addExpiry tells a client how long its session may last.
func addExpiry(fields map[string]string, at time.Time) {
	if !at.IsZero() {
		fields[protocol.FieldExpiresMS] = strconv.FormatInt(max(time.Until(at).Milliseconds(), 1), 10)
	}
}

// passed is called by the timer. A Renew that has arrived is read first.
func (x *expiry) passed() { hidden(x.link.Conn()).Look(func(bool) { x.end() }) }

// end ends the session, unless it was renewed or a renewal is running.
func (x *expiry) end() {
	x.mu.Lock()
	if x.over || x.at.IsZero() || time.Now().Before(x.at) {
		x.mu.Unlock()
		return
	}
	if x.open != nil {
		x.due = true
		x.mu.Unlock()
		return
	}
	x.over = true
	x.mu.Unlock()
	x.session.End(protocol.TokenExpired)
}

// stop is called when the session has ended. x may be nil.
func (x *expiry) stop() {
	if x == nil {
		return
	}
	x.mu.Lock()
	x.over = true
	x.timer.Stop()
	p := x.open
	x.open = nil
	x.mu.Unlock()
	x.bridge.expiries.remove(x)
	if p != nil {
		p.end(&protocol.CloseError{Code: protocol.ClientClosed, Text: "the session ended before it was renewed"})
	}
}
