package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// peer is what this node has heard of another.
type peer struct {
	// By the node's clock: when the first question was sent since the last answer, 0 for none; and when the last question was sent.
	asked, last time.Duration
	version     uint64 // of its frames; 0 while it has not told

	queue   []*outgoing // frames with messages that wait for the mesh
	queued  int         // their bytes
	sending bool        // a goroutine gives the mesh what waits
	// got is the highest number of its frames with messages, for each life of this node: frames to two lives may overtake each other.
	got map[Incarnation]uint64
}

// peerOf returns what is known of another node, for writing. n.mu is held on entry.
func (n *Node) peerOf(inc Incarnation) *peer {
	p := n.peers[inc]
	if p == nil {
		p = &peer{got: make(map[Incarnation]uint64, 1)}
		n.peers[inc] = p
	}
	return p
}

// evictRetry is how long an eviction is waited for before it is sent again; then twice as long, up to a second.
const evictRetry = 100 * time.Millisecond

// bothWaysFrom is the wait from which on a question goes by both ways of the mesh: 300 ms after the first one.
const bothWaysFrom = 4 * evictRetry

// evict ends a session that the claim excludes, and returns when its Disconnected handlers have returned, or its node is dead.
func (n *Node) evict(ctx context.Context, c *claim, e *entry) error {
	if e.node == c.own.node {
		return n.evictHere(ctx, c, e.session)
	}
	n.tallies.evictions.Add(1)
	f := frame{kind: frameEvict, from: c.own.node, to: e.node, session: e.session, by: c.open.logon.Address}
	if c.same(e) {
		f.heir = c.own.session
	}
	answer, forget := n.ask(e.session)
	defer forget()
	for retry := evictRetry; ; retry = min(2*retry, time.Second) {
		gone, err := n.question(ctx, c, &f, retry >= bothWaysFrom)
		if gone || err != nil {
			return err
		}
		if gone, err := n.awaitGone(ctx, c, answer, e.node, retry); gone || err != nil {
			return err
		}
		seam.LeavePlace(ctx)
	}
}

// evictHere is evict for a session of this node that the user manager does not end by itself.
func (n *Node) evictHere(ctx context.Context, c *claim, session uuid.UUID) error {
	n.mu.Lock()
	old := n.claims[session]
	if old == nil {
		n.mu.Unlock()
		return nil
	}
	more := old.needMore()
	if more.over == nil {
		more.over = make(chan struct{})
	}
	over := more.over
	n.mu.Unlock()
	n.users.Load().Evict(session, c.open.logon.Address, protocol.PushedOut)
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitGone waits for a time for the answer that the session has ended, or for its node's death.
func (n *Node) awaitGone(ctx context.Context, c *claim, answer <-chan answer, node Incarnation, d time.Duration) (gone bool, err error) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		n.mu.Lock()
		dead, changed := n.isDead(node), n.changed
		n.mu.Unlock()
		if dead {
			return true, nil
		}
		select {
		case a := <-answer:
			c.open.carries = append(c.open.carries, a.carries...)
			if a.kind == frameGone {
				return true, nil
			}
		case <-changed:
		case <-t.C:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// question sends a question to another node. gone says that the node is dead. The error refuses the logon at once: the node has been
// silent for long, and will be buried if it stays so. With both the question goes by both ways of the mesh, if it has two.
func (n *Node) question(ctx context.Context, c *claim, f *frame, both bool) (gone bool, err error) {
	n.mu.Lock()
	if n.isDead(f.to) {
		n.mu.Unlock()
		return true, nil
	}
	if n.me != c.own.node || n.stage != acting {
		n.mu.Unlock()
		return false, refusal("the server has lost its cluster", n.cfg.Renew)
	}
	now := n.now()
	p := n.peerOf(f.to)
	if p.asked == 0 || now-p.last > 2*n.cfg.silence() { // what was not answered long ago says little about now
		p.asked = now
	}
	p.last = now
	silent := now-p.asked >= n.cfg.silence()
	doubtful := silent && n.floorAt <= p.asked // the store has not answered since
	left := n.leaseLeft(f.to)
	n.mu.Unlock()
	if both {
		n.sendBoth(f)
	} else {
		n.send(f)
	}
	if doubtful && !n.reachesStore(ctx) {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		n.mu.Lock()
		n.peerOf(f.to).asked = n.now()
		n.mu.Unlock()
		return false, nil
	}
	if silent {
		n.tallies.silent.Add(1)
		return false, refusal("the server of the other session does not answer", left)
	}
	return false, nil
}

// reachesStore reports whether the store answers, and does not recover. While it does not, the silence of another node says nothing about it: the mesh
// may go over the store, and be as cut off.
func (n *Node) reachesStore(ctx context.Context) bool {
	call, cancel := context.WithTimeout(ctx, n.cfg.silence())
	defer cancel()
	v, err := n.dir.Table(call)
	return err == nil && v.Armed
}

// answer is what a node says of a session.
type answer struct {
	kind    frameKind
	carries []seam.Carry // what moves with the user, with frameGone
}

// ask returns where answers about a session come, and a function that ends that.
func (n *Node) ask(session uuid.UUID) (answers <-chan answer, forget func()) {
	ch := make(chan answer, 4) // one answer is enough; an answer for which there is no room comes again
	n.mu.Lock()
	n.asks[session] = append(n.asks[session], ch)
	n.mu.Unlock()
	return ch, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		left := slices.DeleteFunc(n.asks[session], func(o chan answer) bool { return o == ch })
		if len(left) == 0 {
			delete(n.asks, session)
			return
		}
		n.asks[session] = left
	}
}

// refuseBeside refuses the logon where a session excludes it that lives, or may live (IgnoreNew). It asks the nodes of such sessions, and
// notes those that have ended: their nodes remove their entries.
func (n *Node) refuseBeside(ctx context.Context, c *claim, entries []entry) error {
	for {
		n.mu.Lock()
		entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return n.isGhost(&e) })
		all, _ := n.excludedBy(c, entries)
		n.mu.Unlock()
		other := slices.IndexFunc(all, func(i int) bool { return !c.takesOver(&entries[i]) })
		if other < 0 {
			return nil
		}
		e := entries[all[other]]
		if e.node != c.own.node {
			gone, err := n.alive(ctx, c, &e)
			if err != nil {
				return err
			}
			if gone {
				c.open.ended = append(c.open.ended, e.session)
				continue
			}
		}
		return &protocol.CloseError{Code: protocol.AlreadyLoggedOn, Text: c.user + " is logged on already"}
	}
}

// alive asks a session's node whether the session has ended. The error is for a node that does not answer: the logon may come again.
func (n *Node) alive(ctx context.Context, c *claim, e *entry) (gone bool, err error) {
	f := frame{kind: frameAlive, from: c.own.node, to: e.node, session: e.session}
	answer, forget := n.ask(e.session)
	defer forget()
	for retry := evictRetry; ; retry = min(2*retry, time.Second) {
		gone, err := n.question(ctx, c, &f, retry >= bothWaysFrom)
		if gone || err != nil {
			return gone, err
		}
		t := time.NewTimer(retry)
		select {
		case a := <-answer:
			t.Stop()
			return a.kind == frameGone, nil
		case <-t.C:
			seam.LeavePlace(ctx)
		case <-ctx.Done():
			t.Stop()
			return false, ctx.Err()
		}
	}
}
