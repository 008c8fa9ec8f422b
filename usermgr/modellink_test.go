package usermgr_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// manner is how a link takes Quiesce.
type manner int

const (
	quiesceAtOnce manner = iota // done is called by Quiesce, or by the last message handler
	quiesceLater                // done is called from another goroutine, some time after
	quiesceNever                // done is not called at all
)

// modelLink is a connection of the model: it does what a bridge and an engine do, without a socket.
type modelLink struct {
	world  *world
	addr   usermgr.Address
	user   string
	manner manner
	late   time.Duration                 // how much later
	ctx    context.Context               // Register's
	cancel context.CancelCauseFunc       // tells Register that the connection has ended
	closed chan struct{}                 // closed by Close
	logon  atomic.Pointer[usermgr.Logon] // nil until it logs on

	mu       sync.Mutex
	session  usermgr.Session // nil until Register has returned it
	ended    bool            // the peer is gone
	quiesced bool
	waiting  int // messages that wait for the handler
	handled  int
	busy     bool   // a message handler runs, one at a time
	idle     func() // waits for it to return
}

func (l *modelLink) Address() usermgr.Address { return l.addr }

func (l *modelLink) Quiesce(done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quiesced = true
	tell := done
	switch l.manner {
	case quiesceLater:
		tell = func() { l.world.spawnAfter(l.late, done) }
	case quiesceNever:
		return
	}
	if l.busy {
		l.idle = tell
	} else {
		tell()
	}
}

// Look has nothing to look at: what comes on a connection that is not there counts at once.
func (l *modelLink) Look(done func(busy bool)) { l.world.spawn(func() { done(false) }) }

func (l *modelLink) device() uint16 {
	if logon := l.logon.Load(); logon != nil {
		return logon.Device
	}
	return 0
}

// Close tells what becomes of the connection, some time after.
func (l *modelLink) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	select {
	case <-l.closed: // the contract complains
	default:
		close(l.closed)
	}
	if done != nil {
		l.world.spawn(func() {
			l.world.pause(l.late)
			done(protocol.CloseOutcome(1 + l.addr.Conn%3))
		})
	}
}

// logOn registers, and then does with the session what has come up in the meantime.
func (l *modelLink) logOn(logon usermgr.Logon) error {
	l.logon.Store(&logon)
	session, err := l.world.users.Register(l.ctx, logon, l)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.session = session
	if l.ended {
		session.End(protocol.ClientClosed)
	}
	l.serve()
	l.mu.Unlock()
	l.world.admitted(l)
	if l.world.program.Idle > 0 && l.user != bystander && l.addr.Conn%2 == 0 {
		l.world.spawn(func() { l.beats(session) })
	}
	return nil
}

// beats sends a heartbeat now and then, which does not keep the session from expiring.
func (l *modelLink) beats(s usermgr.Session) {
	t := time.NewTicker(40 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-l.closed:
			return
		case <-t.C:
			s.Beat()
		}
	}
}

// end is the end of the connection: the engine has lost it.
func (l *modelLink) end(code protocol.CloseCode) {
	l.mu.Lock()
	session := l.session
	l.ended = true
	l.mu.Unlock()
	l.cancel(&protocol.CloseError{Code: code})
	if session != nil {
		session.End(code)
	}
}

func (l *modelLink) bound() usermgr.Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

// message is a message from the client. It waits until the session is there.
func (l *modelLink) message() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting++
	l.serve()
}

// serve starts the message handler when there is something to do. l.mu is held on entry.
func (l *modelLink) serve() {
	if l.session == nil || l.busy || l.quiesced || l.waiting == 0 {
		return
	}
	l.busy = true
	l.waiting--
	l.handled++
	returns := l.world.users.Message(l.addr.Conn)
	session, n := l.session, l.handled
	l.world.spawn(func() {
		session.Beat()
		session.Received(uint16(n), 1, 16+n)
		l.world.behave(&occasion{what: "message", n: n, user: l.user, link: l})
		session.Sent(uint16(n+100), 2, 40)
		returns()

		l.mu.Lock()
		defer l.mu.Unlock()
		l.busy = false
		l.serve()
		if !l.busy && l.idle != nil {
			l.idle()
			l.idle = nil
		}
	})
}

func (l *modelLink) String() string { return fmt.Sprintf("%s on %d", l.user, l.addr.Conn) }
