package bridge

import (
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// link is a session's connection as the user manager sees it. It is one pointer, which an interface holds without an allocation, so that
// it costs a user who is idle nothing. What a link is asked about is in the connection: whether it has been let in, and whether it is
// unbound. Few sessions need more, and have it elsewhere: see logon and expiry.
type link struct{ engine.Control }

var (
	_ usermgr.Link = link{}
	_ seam.Looker  = link{}
)

// TrustedLink is for package contain: a link calls only the engine.
func (l link) TrustedLink() bool { return true }

func (l link) Address() usermgr.Address {
	c := l.Conn()
	return usermgr.Address{Conn: c.ID(), Remote: c.RemoteAddr(), Via: c.Transport()}
}

// Look implements seam.Looker.
func (l link) Look(done func(busy bool)) { hidden(l.Conn()).Look(done) }

// hidden returns what the engine provides to this module alone.
func hidden(c *engine.Conn) seam.Conn { return seam.ConnOf(c) }

// bridgeOf returns a connection's bridge, which is the Admission of its engine.
func bridgeOf(c *engine.Conn) *Bridge {
	a, _ := seam.AdmissionOf(c).(*admission)
	return (*Bridge)(a)
}

// Close is called by the manager when the session is unbound. Only the first call counts. A connection that has not been let in yet is
// closed by logon.admit, after the reply to the Logon.
func (l link) Close(why *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		l.WhenClosed(done)
	}
	b := bridgeOf(l.Conn())
	was := hidden(l.Conn()).Unbind(why)
	if !was.First {
		return
	}
	b.expiries.of(l.Conn()).stop()
	if why.Code == protocol.PushedOut {
		b.gotInTheWay(l.userOf(b, was))
	}
	if was.LetIn {
		b.close(l.Conn(), why)
	}
	b.release()
}

// userOf returns the user of a connection that was just unbound. It calls no session of the application's, whose manager may hold a lock.
func (l link) userOf(b *Bridge, was seam.Unbound) string {
	switch p := was.Binding.(type) {
	case *logon:
		return p.user()
	case usermgr.Session:
		if b.manager != nil {
			return p.UserID()
		}
	}
	return l.Conn().UserID()
}

// close closes a connection whose session has ended.
func (b *Bridge) close(c *engine.Conn, why *protocol.CloseError) {
	if why.Code == protocol.TokenExpired && why.Text == "" { // Session.End takes no text
		why = &protocol.CloseError{Code: why.Code, Text: expiredText}
	}
	if why.Code == protocol.NodeLost || why.Code == protocol.ServerStopping { // all sessions end at about the same time
		why = b.hidden.Spread(why)
	}
	if b.cfg.ManualClose {
		time.AfterFunc(b.grace, func() { c.Close(why) })
		return
	}
	c.Close(why)
}
