package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
)

// A message that a push service keeps stays on its node. A mark in the user's record says which nodes keep messages. The node that lets the
// user in has read the record, and tells those nodes when the session begins; they send to that session what they keep, and are told what
// its client confirms. A node removes its mark when it keeps nothing more. So where any of these frames is lost, the mark is still there,
// and the next session, or the next audit, tells the node again.

// keeper is the seam.Keeper of a node's push services.
type keeper struct{ node *Node }

// Keeps implements seam.Keeper.
func (k keeper) Keeps(user string, left time.Duration) {
	n := k.node
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.keeping.users[user]
	if u == nil {
		if n.keeping.users == nil {
			n.keeping.users = make(map[string]*keptUser)
		}
		u = &keptUser{user: user}
		n.keeping.users[user] = u
	}
	if u.marking || u.until < n.now()+left {
		n.keeping.look(u)
		return
	}
	for session, s := range u.sessions {
		n.serveKept(u, session, s.node)
	}
}

// KeepsNothing implements seam.Keeper.
func (k keeper) KeepsNothing(user string) {
	n := k.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if u := n.keeping.users[user]; u != nil {
		n.keeping.look(u)
	}
}

// Arrived implements seam.Keeper. It tells the nodes whose marks the session's claim has read.
func (k keeper) Arrived(user, session string) {
	n := k.node
	id, err := uuid.Parse(session)
	if err != nil {
		return
	}
	n.mu.Lock()
	var marks []mark
	if c := n.claims[id]; c != nil && c.more != nil {
		marks = c.more.marks
	}
	me := n.me
	n.mu.Unlock()
	for _, m := range marks {
		if m.node != me && !m.isBar() {
			n.send(&frame{kind: frameMarked, from: me, to: m.node, owner: user, session: id})
		}
	}
}

// services returns what the node's push services provide.
func (n *Node) services() []seam.Kept {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kept
}

// keptFor returns for how long messages are kept for a user.
func (n *Node) keptFor(user string) (left time.Duration) {
	for _, s := range n.services() {
		left = max(left, s.Left(user))
	}
	return left
}

// keptSession is a session on another node that gets what is kept for its user. The node's lock protects it, but for handed, which belongs
// to sendKept.
type keptSession struct {
	node    Incarnation
	sending bool
	again   bool // look for messages once more
	handed  map[uuid.UUID]bool
}

// marked is called when a user with a mark of this node has a session elsewhere.
func (n *Node) marked(f *frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.to != n.me || n.isDead(f.from) {
		return
	}
	if u := n.keeping.users[f.owner]; u != nil {
		n.serveKept(u, f.session, f.from)
	}
}

// serveKept sends to a session what is kept for its user and was not sent to it yet. n.mu is held on entry.
func (n *Node) serveKept(u *keptUser, session uuid.UUID, node Incarnation) {
	if !n.maySend() {
		return
	}
	s := u.sessions[session]
	if s == nil {
		if u.sessions == nil {
			u.sessions = make(map[uuid.UUID]*keptSession)
		}
		s = &keptSession{node: node, handed: make(map[uuid.UUID]bool)}
		u.sessions[session] = s
	}
	if s.again = true; !s.sending {
		s.sending = true
		life := n.life
		n.work.Go(func() { n.sendKept(life, u, session, s) })
	}
}

// keptOrder has messages for a session on another node, as JSON.
type keptOrder struct {
	From     Incarnation // is told what is confirmed
	User     string
	Session  uuid.UUID
	Messages []seam.KeptMessage
}

// keptAnswer says what has become of a keptOrder.
type keptAnswer uint8

// The numbers are on the wire.
const (
	keptSilent keptAnswer = iota // there was no answer
	keptTaken
	keptLater // the session has not begun, or is about to end
	keptGone  // the session has ended
)

// keptAtOnce is about how many bytes a keptOrder has at most.
const keptAtOnce = 128 << 10

// sendKept sends messages to a session until all are there or the session has ended.
func (n *Node) sendKept(ctx context.Context, u *keptUser, session uuid.UUID, s *keptSession) {
	for pause := min(50*time.Millisecond, n.cfg.Renew/4); ctx.Err() == nil; {
		n.mu.Lock()
		s.again = false
		me := n.me
		n.mu.Unlock()
		o := keptOrder{From: me, User: u.user, Session: session, Messages: n.notHanded(u.user, s)}
		answer := keptTaken
		if len(o.Messages) > 0 {
			answer = n.orderKept(ctx, s.node, &o)
		}
		switch answer {
		case keptTaken:
			for i := range o.Messages {
				s.handed[o.Messages[i].ID] = true
			}
			n.mu.Lock()
			if s.sending = len(o.Messages) > 0 || s.again; !s.sending {
				n.mu.Unlock()
				return
			}
			n.mu.Unlock()
		case keptGone:
			n.mu.Lock()
			delete(u.sessions, session)
			n.mu.Unlock()
			return
		default:
			sleep(ctx, pause)
			pause = min(2*pause, time.Minute)
		}
	}
}

// notHanded returns the next messages for a session.
func (n *Node) notHanded(user string, s *keptSession) (next []seam.KeptMessage) {
	size := 0
	for _, k := range n.services() {
		for _, m := range k.Messages(user) {
			if s.handed[m.ID] {
				continue
			}
			if size += len(m.Body); size > keptAtOnce && len(next) > 0 {
				return next
			}
			next = append(next, m)
		}
	}
	return next
}

// orderKept has another node hand messages to a session.
func (n *Node) orderKept(ctx context.Context, to Incarnation, o *keptOrder) (answer keptAnswer) {
	silent := n.askSome(ctx, queryKept, toJSON(n, o), func(inc Incarnation) bool { return inc == to }, func(body []byte) {
		fromJSON(n, body, &answer)
	})
	if answer == keptSilent && len(silent) == 0 { // it has died
		return keptGone
	}
	return answer
}

// answerKept hands messages that another node keeps to a session here.
func (n *Node) answerKept(_ context.Context, body []byte) []byte {
	var o keptOrder
	if !fromJSON(n, body, &o) {
		return nil
	}
	n.mu.Lock()
	c, me := n.claims[o.Session], n.me
	n.mu.Unlock()
	if c == nil || c.user != o.User {
		return toJSON(n, keptGone)
	}
	u, _ := n.users.Load().User(o.User)
	for i := range u.Sessions {
		s := &u.Sessions[i]
		if s.ID != o.Session.String() || !n.May() {
			continue
		}
		confirmed := func(id uuid.UUID) {
			n.send(&frame{kind: frameConfirmed, from: me, to: o.From, owner: o.User, push: id, session: o.Session, device: uint64(s.Device)})
		}
		if slices.ContainsFunc(n.services(), func(k seam.Kept) bool { return k.Deliver(o.User, s.Address.Conn, o.Messages, confirmed) }) {
			return toJSON(n, keptTaken)
		}
	}
	return toJSON(n, keptLater)
}

// confirmed is called when a session elsewhere has confirmed a message that may be of this node.
func (n *Node) confirmed(f *frame, how seam.Confirmed) {
	for _, k := range n.services() {
		k.Confirm(seam.Confirmation{UserID: f.owner, ID: f.push, Session: f.session, Device: uint16(f.device), How: how})
	}
}
