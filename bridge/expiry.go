package bridge

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

const expiredText = "the token has expired"

// expiry ends a session when its token has expired, unless the client renews it (renew.go). Its lock is a leaf.
type expiry struct {
	link   *link
	device uint16

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
	mu     sync.Mutex
	byConn map[uint64]*expiry
}

func (e *expiries) of(c *engine.Conn) *expiry {
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
	e.byConn[x.link.conn.ID()] = x
}

func (e *expiries) remove(x *expiry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byConn, x.link.conn.ID())
}

// startExpiry starts the timer that ends the session. It is called before the connection is let in, and so before a
// Renew can come.
func (l *link) startExpiry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.logon
	if p.expires.IsZero() || l.closed {
		return
	}
	x := &expiry{link: l, device: p.first.Device, at: p.expires}
	x.timer = time.AfterFunc(time.Until(x.at), x.passed)
	l.expiry = x
	l.bridge.expiries.add(x)
}

// addExpiry tells a client how long its session may last.
func addExpiry(fields map[string]string, at time.Time) {
	if !at.IsZero() {
		fields[protocol.FieldExpiresMS] = strconv.FormatInt(max(time.Until(at).Milliseconds(), 1), 10)
	}
}

// passed is called by the timer. A Renew that has arrived is read first.
func (x *expiry) passed() { x.link.hidden().Look(func(bool) { x.end() }) }

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
	x.link.session.End(protocol.TokenExpired)
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
	var cancel context.CancelCauseFunc
	if p != nil {
		cancel = p.cancel
	}
	x.mu.Unlock()
	x.link.bridge.expiries.remove(x)
	if cancel != nil {
		cancel(&protocol.CloseError{Code: protocol.ClientClosed, Text: "the session ended before it was renewed"})
	}
}
