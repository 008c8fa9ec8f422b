package usermgr_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// do takes one step.
func (w *world) do(s step) {
	switch s.Do {
	case doLogOn:
		w.logOn(s, "")
	case doTakeOver:
		w.logOn(s, w.latestSession(s.user()))
	case doComeBack:
		w.logOn(s, w.pastSession(s.user(), s.Pick/4))
	case doGather:
		for device := range 4 {
			w.logOn(step{User: s.User, Pick: device + s.Pick/4*4, Wait: s.Wait}, "")
			w.pause(s.Wait / 4)
		}
	case doLeave:
		w.leave(s)
	case doHurry:
		w.logOnHurriedly(s)
	case doPassBy:
		w.passBy(s)
	case doSilence:
		if watch := w.checker.pick(s.Pick); watch != nil {
			w.checker.fallSilent(watch)
		}
	case doFalseAlarm:
		if watch := w.checker.pick(s.Pick); watch != nil {
			w.falseAlarm(s, watch)
		}
	case doListen:
		leave := w.users.Manager.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) {}})
		w.pause(s.Wait)
		leave()
	case doRelease:
		w.release()
	case doWait:
		w.pause(s.Wait)
	case doWaitLong:
		w.pause(10 * s.Wait)
	default:
		link := w.pick(s)
		if link == nil {
			return
		}
		switch s.Do {
		case doMessage:
			link.message()
		case doBeat:
			if s := link.bound(); s != nil {
				s.Beat()
			}
		case doEnd:
			link.end(w.code())
		case doEndAddress:
			w.spawn(func() { w.endAndWait(link) })
		case doKickUser, doKickDevice, doKickSession:
			if k := w.kick(s.Do, s.user(), link); k != nil && s.Pick%2 == 0 {
				w.spawn(func() { w.awaitKick(k) })
			}
		default:
			w.call(s.Do, s.user(), link)
		}
	}
}

// leave ends the latest connections of a user, of one device or of several, throws the user out, and tries their logins
// again.
func (w *world) leave(s step) {
	all := w.latestOf(s.user(), 1+s.Pick%4)
	for _, l := range all {
		l.end(protocol.NetworkError)
		w.pause(s.Wait / 16)
	}
	if len(all) == 0 {
		return
	}
	w.kick(doKickUser, s.user(), all[s.Pick%len(all)])
	for _, l := range all {
		if logon := l.logon.Load(); logon != nil {
			again := w.newLink(s.user(), s)
			w.spawn(func() { _ = again.logOn(*logon) })
		}
	}
}

// call calls a method of the manager, as steps and handlers do.
func (w *world) call(a action, user string, link *modelLink) {
	switch a {
	case doLook:
		w.users.Addresses(user)
		w.users.SessionAt(link.addr.Conn)
		w.users.Session(w.latestSession(user))
		w.users.User(user)
		w.users.Stats()
		for range w.users.Users() {
		}
	case doTouch:
		if link.addr.Conn%2 == 0 {
			w.users.Touch(user)
		} else {
			w.users.TouchSession(w.latestSession(user))
		}
	case doTag:
		tag := fmt.Sprint("tag ", w.code()%3) // now and then the one that is there
		if link.addr.Conn%2 == 0 {
			w.users.SetTag(user, tag)
		} else {
			w.users.SetSessionTag(w.latestSession(user), tag)
		}
	case doEndUser:
		endUser(w.users, user, w.code(), "")
	case doEndSession:
		endSession(w.users, w.latestSession(user), w.code(), "")
	case doEndAddress:
		endAt(w.users, link.addr.Conn, w.code(), "")
	case doUnban:
		w.users.Unban(user)
	case doKickUser, doKickDevice, doKickSession:
		w.kick(a, user, link)
	case doClear:
		startClear(w.users)
	}
}

// kick ends sessions, with a text of its own. It returns nil if there were none.
func (w *world) kick(a action, user string, link *modelLink) usermgr.Wait {
	o := usermgr.KickOptions{Text: fmt.Sprint("kick ", w.code())}
	if link.addr.Conn%3 == 0 {
		o.RevokeFor = 30 * time.Millisecond
	}
	if link.addr.Conn%5 == 1 {
		o.BanFor = 15 * time.Millisecond
	}
	var k usermgr.Wait
	switch a {
	case doKickUser:
		k, _ = w.users.Kick(user, &o)
	case doKickDevice:
		o.Devices = []uint16{link.device()}
		k, _ = w.users.Kick(user, &o)
	case doKickSession:
		k, _ = w.users.KickSession(w.latestSession(user), &o)
	}
	return k
}

// awaitKick waits for a kick. When Wait says that it is done, so are the connections.
func (w *world) awaitKick(k usermgr.Wait) {
	ctx, cancel := context.WithTimeout(context.Background(), modelPatience)
	defer cancel()
	told, err := k(ctx)
	if err != nil {
		w.trouble(10, "a kick has not come to its end: %v", err)
	}
	for _, s := range told {
		if l := w.link(s.Session.Address.Conn); l.manner != quiesceNever && s.Outcome == protocol.OutcomePending {
			w.trouble(10, "a kick was done before %v had ended", l)
		}
	}
}

// logon is what the client of a step says of itself. Logins share a few tokens.
func (s step) logon(session string) usermgr.Logon {
	l := usermgr.Logon{UserID: s.user(), Session: session, Device: uint16(s.Pick % 4)}
	if s.Pick%3 != 0 {
		l.Token = fmt.Sprint("token ", s.Pick%5)
	}
	return l
}

func (w *world) logOn(s step, session string) {
	l := w.newLink(s.user(), s)
	w.spawn(func() { _ = l.logOn(s.logon(session)) })
}

// logOnHurriedly logs on with a context that has ended, or will soon have, by its deadline or because of the peer.
func (w *world) logOnHurriedly(s step) {
	l := w.newLink(s.user(), s)
	switch s.Pick % 4 {
	case 0:
		l.cancel(&protocol.CloseError{Code: protocol.ClientClosed})
	case 1:
		ctx, cancel := context.WithTimeout(l.ctx, s.Wait)
		l.ctx = ctx
		w.spawn(func() { <-ctx.Done(); cancel() })
	default:
		w.spawnAfter(s.Wait, func() { l.end(protocol.ClientClosed) })
	}
	w.spawn(func() { _ = l.logOn(s.logon("")) })
}

// passBy brings the bystander online, and has it go, in no time, whatever holds the other users up. The time is the bubble's: it
// passes when everybody waits, and not because the machine is busy.
func (w *world) passBy(s step) {
	began := time.Now()
	l := w.newLink(bystander, step{})
	if l.logOn(usermgr.Logon{UserID: bystander}) == nil {
		if s.Pick%2 == 0 {
			l.end(w.code())
		} else {
			endUser(w.users, bystander, w.code(), "")
		}
		<-l.closed
	}
	if d := time.Since(began); d > 0 {
		w.trouble(10, "while others were held up, %v needed %v to come and go", l, d)
	}
}

// falseAlarm has a client fall silent, and speak before the turn comes, or not long after. Later it may fall silent for
// good.
func (w *world) falseAlarm(s step, watch *modelWatch) {
	w.checker.fallSilent(watch)
	watch.Beat()
	if s.Pick%2 == 0 {
		w.spawn(func() {
			w.pause(s.Wait)
			w.checker.fallSilent(watch)
		})
	}
}

// endAndWait ends the session on a connection. When Wait says that it did, all is over for the connection.
func (w *world) endAndWait(l *modelLink) {
	ctx, cancel := context.WithTimeout(context.Background(), modelPatience)
	defer cancel()
	ended, err := endAt(w.users, l.addr.Conn, w.code(), "")(ctx)
	if len(ended) == 0 || err != nil {
		return
	}
	select {
	case <-l.closed:
	default:
		w.trouble(10, "a kick was done before its session had ended")
	}
}

// occasion is when a handler does something.
type occasion struct {
	what string
	n    int
	user string
	link *modelLink // nil in UserCountChanged
}

// behave is what a handler does: what the program has dealt it.
func (w *world) behave(o *occasion) {
	if o.user == bystander {
		return
	}
	h := fnv.New32a()
	h.Write([]byte(o.what))
	h.Write([]byte{byte(o.n)})
	if o.link != nil {
		h.Write([]byte{byte(o.link.addr.Conn)})
	}
	dealt := h.Sum32()
	a := w.program.Behaviours[dealt%uint32(len(w.program.Behaviours))]
	switch a {
	case doNothing:
		return
	case doWait:
		w.pause(time.Duration(dealt>>16%40) * 500 * time.Microsecond)
		return
	case doHold:
		w.hold()
		return
	case doPanic:
		if o.what != "message" {
			panic("a handler of the model")
		}
		return
	}
	if o.link == nil {
		w.users.Count()
		return
	}
	switch a {
	case doEndOther:
		w.call(doEndUser, step{User: int(dealt>>16) % modelUsers}.user(), o.link)
	case doEndOwn:
		if s := o.link.bound(); s != nil {
			s.End(w.code())
		}
	case doSend:
		if s := o.link.bound(); s != nil {
			s.Sent(7, 1, 30)
			s.Dropped(8, 1, 31)
		}
	default:
		w.call(a, o.user, o.link)
	}
}
