package cluster

import (
	"bytes"
	"errors"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// arrivals are the users who are logging on at this node. Other nodes send their messages here as soon as the claim is in the store, and the
// user's old session may end long before the new one begins: so messages wait here for the outcome. The node's lock protects it.
type arrivals struct {
	users map[string]*arrival
	bytes int // of the messages that wait
}

// arrival is a user who is logging on, or for whom messages still wait afterwards.
type arrival struct {
	claim   *claim // of the logon; nil when its outcome is known
	waiting []*arriving
	passing bool          // a goroutine hands over what waits
	over    chan struct{} // closed when the outcome is known; nil while no push waits for it
}

// arriving is a message that waits for a logon.
type arriving struct {
	frame frame
	own   *outgoing // the message, if this node has sent it; nil for one of another node
}

// arrivingCost is what a message that waits for a logon takes besides its body.
const arrivingCost = 512

func (x *arriving) size() int { return len(x.frame.message.Body) + arrivingCost }

// of returns a user's arrival, for writing.
func (a *arrivals) of(user string) *arrival {
	u := a.users[user]
	if u == nil {
		if a.users == nil {
			a.users = make(map[string]*arrival)
		}
		u = new(arrival)
		a.users[user] = u
	}
	return u
}

// over notes that a logon's session is Connected, or that it has failed. It reports whether messages wait for that.
func (a *arrivals) over(c *claim) (waiting bool) {
	u := a.users[c.user]
	if u == nil || u.claim != c {
		return false
	}
	u.claim = nil
	if u.over != nil {
		close(u.over)
		u.over = nil
	}
	a.forget(c.user)
	return len(u.waiting) > 0
}

// ofLogon returns what is closed when the outcome of the user's logon is known; nil where none is under way.
func (a *arrivals) ofLogon(user string) <-chan struct{} {
	u := a.users[user]
	if u == nil || u.claim == nil {
		return nil
	}
	if u.over == nil {
		u.over = make(chan struct{})
	}
	return u.over
}

// forget forgets a user for whom nothing waits.
func (a *arrivals) forget(user string) {
	if u := a.users[user]; u.claim == nil && !u.passing && len(u.waiting) == 0 {
		delete(a.users, user)
	}
}

// userConnected is called for each session of the user manager that begins, before programs hear of it.
func (n *Node) userConnected(s usermgr.SessionInfo) {
	n.mu.Lock()
	u := n.arrivals.users[s.UserID]
	waiting := false
	var marked []uuid.UUID
	if u != nil && u.claim != nil {
		if u.claim.more != nil {
			marked, u.claim.more.marked = u.claim.more.marked, nil
		}
		waiting = n.arrivals.over(u.claim)
	}
	n.mu.Unlock()
	// The user manager leaves a marked session of its own if another has ended meanwhile; but other nodes go by the mark. The sessions
	// elsewhere, and those that the claim has ended, are over.
	for _, session := range marked {
		n.users.Load().Evict(session, s.Address, protocol.PushedOut)
	}
	if waiting {
		n.passOn(s.UserID)
	}
}

// logonFailed hands over the messages that wait for a logon that has failed, when its claim has left the store: so the look that follows
// shows where the user is then.
func (n *Node) logonFailed(c *claim) {
	n.mu.Lock()
	u := n.arrivals.users[c.user]
	if u != nil && u.claim == c && (len(u.waiting) > 0 || u.over != nil) && n.maySend() {
		life := n.life
		n.work.Go(func() {
			n.awaitReleases(life, c.user)
			n.logonOver(c)
		})
		n.mu.Unlock()
		return
	}
	n.mu.Unlock()
	n.logonOver(c)
}

func (n *Node) logonOver(c *claim) {
	n.mu.Lock()
	waiting := n.arrivals.over(c)
	n.mu.Unlock()
	if waiting {
		n.passOn(c.user)
	}
}

// deliverTo hands a message to the user's sessions on this node. Where the user has none and is logging on the message waits: then it
// reports that it is held. own is the message if this node has sent it.
func (n *Node) deliverTo(f *frame, own *outgoing) (held bool, err error) {
	n.mu.Lock()
	bridges, u := n.bridges, n.arrivals.users[f.user]
	behind := u != nil && (u.passing || len(u.waiting) > 0)
	n.mu.Unlock()
	if !behind {
		err = handOver(bridges, f)
		if u == nil || !errors.Is(err, protocol.UserOffline) {
			return false, err
		}
	}
	return n.hold(f, own)
}

// hold has a message wait for the user's logon, behind others. The error says that too much waits.
func (n *Node) hold(f *frame, own *outgoing) (held bool, err error) {
	x := &arriving{*f, own}
	n.mu.Lock()
	if n.arrivals.bytes > 0 && n.arrivals.bytes+x.size() > maxQueued {
		n.mu.Unlock()
		return false, ErrPeerSlow
	}
	x.frame.message.Body, x.frame.way = bytes.Clone(f.message.Body), nil // the mesh uses their bytes again
	u := n.arrivals.of(f.user)
	u.waiting = append(u.waiting, x)
	n.arrivals.bytes += x.size()
	over := u.claim == nil // by now
	n.mu.Unlock()
	if over {
		n.passOn(f.user)
	}
	return true, nil
}

// passOn hands over the messages that wait for a user whose logon is over, in order. Where another goroutine does so it does nothing.
func (n *Node) passOn(user string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.arrivals.users[user]
	if u == nil || u.passing {
		return
	}
	u.passing = true
	for len(u.waiting) > 0 {
		x, bridges, next := u.waiting[0], n.bridges, u.claim
		mine := x.own != nil || x.frame.to == n.me
		n.mu.Unlock()
		err := error(errOffline)
		if mine && n.May() {
			err = handOver(bridges, &x.frame)
		}
		n.mu.Lock()
		if next != nil && errors.Is(err, protocol.UserOffline) { // the user was logging on once more
			if u.claim == next {
				break
			}
			continue
		}
		u.waiting = u.waiting[1:]
		n.arrivals.bytes -= x.size()
		n.mu.Unlock()
		n.passed(x, err)
		n.mu.Lock()
	}
	u.passing = false
	n.arrivals.forget(user)
}

// passed notes the outcome of a message that has waited for a logon. Where no session here has got it, it goes to where the user is now.
func (n *Node) passed(x *arriving, err error) {
	switch {
	case x.own == nil:
		n.handedOver(&x.frame, err)
	case errors.Is(err, protocol.UserOffline):
		n.resend(x.own)
	case err != nil:
		x.own.fail(err)
	}
}

// localSessions returns those of all bridges.
func (n *Node) localSessions() []seam.LocalSessions {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bridges
}

// handOver gives a message to the bridges that have sessions of the user.
func handOver(bridges []seam.LocalSessions, f *frame) error {
	err := error(errOffline)
	for _, b := range bridges {
		sent := b.Deliver(f.user, &f.message, uint8(f.policy), f.key)
		switch {
		case sent == nil:
			err = nil
		case err != nil && !errors.Is(sent, protocol.UserOffline):
			err = sent
		}
	}
	return err
}
