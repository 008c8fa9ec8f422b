package usermgr

import "github.com/rollcall-go/rollcall/protocol"

// departure is how a session leaves its user, as steps of the user's turn:
//
//	quiet → PushedOut, TimedOut or Expired → quiet again → unbound, Disconnected, the connection closed
//
// Only quiet is waited for. A turn that runs on the manager's runners has no goroutine meanwhile: see proceed. One that runs on the
// goroutine of a logon, or of a renewal, keeps that: see await.
type departure struct {
	user      *user
	session   *session
	successor *session // takes the session's place; nil for none
	event     string   // comes before Disconnected: PushedOut, TimedOut, Expired, or "" for none
	by        Address  // the address that pushed it out
	// over is called at the end, by proceed. nil passes the turn on.
	over func()

	next    stage
	quiet   [2]quiescing // before the event, and after it
	awaited bool         // a goroutine waits in await
	resumed chan struct{}
}

// stage is what a departure does next.
type stage uint8

const (
	untilQuiet stage = iota
	tellEvent
	untilQuietAgain
	leave
	gone
)

// proceed takes the next steps of the departure, on a runner, until one must wait. The departure goes on by itself when
// the wait is over.
func (d *departure) proceed() {
	if d.advance() {
		d.user.goOn(d.over)
	}
}

// await goes through the whole departure. Only a goroutine that the turn was handed over to may wait.
func (d *departure) await() {
	d.awaited = true
	for !d.advance() {
		<-d.resumed
	}
}

// advance takes the steps that need no waiting, and reports whether the session has left. Otherwise resume is called once, maybe
// before advance returns.
func (d *departure) advance() bool {
	u, s := d.user, d.session
	for {
		switch d.next {
		case untilQuiet:
			d.next = tellEvent
			if d.event == "" {
				d.next = leave
			}
			if !d.quiesce(&d.quiet[0]) {
				return false
			}
		case tellEvent:
			d.tell()
			d.next = untilQuietAgain // what the handlers have sent is counted
		case untilQuietAgain:
			d.next = leave
			if !d.quiesce(&d.quiet[1]) {
				return false
			}
		case leave:
			u.noteStuck(d)
			u.disconnect(s, d.successor)
			d.next = gone
		case gone:
			return true
		}
	}
}

// tellEviction tells PushedOut of a session that a claim on another manager has pushed out.
func (d *departure) tellEviction() {
	if why := d.session.why(); why.by != nil && why.code == protocol.PushedOut {
		d.event, d.by = "PushedOut", *why.by
	}
}

// tell tells the event that comes before Disconnected.
func (d *departure) tell() {
	u := d.user
	u.noteStuck(d)
	if !u.manager.tells(d.event) {
		return
	}
	u.manager.eachOf(d.event, d.session, func(h *Events, i *SessionInfo) {
		switch d.event {
		case "PushedOut":
			h.PushedOut(*i, d.by)
		case "TimedOut":
			h.TimedOut(*i)
		case "Expired":
			h.Expired(*i)
		}
	})
}

// resume lets the departure go on after its wait.
func (d *departure) resume() {
	if d.awaited {
		d.resumed <- struct{}{}
		return
	}
	d.user.manager.runners.add(step{run: d.proceed})
}

// goOn calls over, which follows a part of the turn; nil passes the turn on.
func (u *user) goOn(over func()) {
	if over == nil {
		u.passOn()
		return
	}
	over()
}
