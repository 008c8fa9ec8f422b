package cluster

import (
	"context"
	"errors"
	"slices"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

var (
	_ bridge.Elsewhere = (*Node)(nil)
	_ seam.BridgeUser  = (*Node)(nil)
)

var (
	errOffline = protocol.Errorf(protocol.UserOffline, "the user is offline")
	errLost    = protocol.Errorf(protocol.InternalError, "the server has lost its cluster")
)

// UseBridge is called by bridge.Attach, for each bridge that has the node as its Elsewhere. Programs do not call it.
func (n *Node) UseBridge(users any, b seam.LocalSessions) error {
	if m := n.users.Load(); m == nil || users != nil && users != any(m) {
		return errors.New("rollcall: the bridge's Elsewhere is a cluster.Node that is not the Claims of the bridge's user manager")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bridges = append(slices.Clone(n.bridges), b)
	n.waits.keep = max(n.waits.keep, b.LogonDeadline()+waitAfter)
	return nil
}

// Several implements bridge.Elsewhere.
func (n *Node) Several() bool { return n.policy.Several }

// Send implements bridge.Elsewhere: it sends a message to the user's sessions on other nodes. It returns at once. Nil means that the
// message is on its way, and not that it has arrived: a message may be lost, but does not come twice. Where the user's sessions are is
// kept in mind for Config.LocationTTL. The error is ErrPeerSlow when too much waits already.
func (n *Node) Send(userID string, m *protocol.Message, o *engine.SendOptions, beside bool, undelivered func(error)) error {
	if beside && n.isAlone(userID) {
		return nil
	}
	f := frame{kind: frameDeliver, user: userID, message: *m}
	if o != nil {
		f.policy, f.key = uint64(o.Policy), o.Key
		if o.Unreliable {
			f.policy |= seam.Unreliable
		}
	}
	x := &outgoing{user: userID, frame: f.encode(), undelivered: undelivered}
	if beside {
		x.flags = flagBeside
	}
	n.mu.Lock()
	if !n.maySend() {
		n.mu.Unlock()
		return errLost
	}
	nodes, ok := n.locations.get(userID, n.now())
	if !ok || len(nodes) == 0 && !beside || n.looks[userID] != nil { // behind those that wait already
		err := n.awaitLook(x)
		n.mu.Unlock()
		return err
	}
	err := n.enqueue(x, nodes)
	routes := n.routes(nodes)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	for _, r := range routes {
		n.flush(r)
	}
	return nil
}

// isAlone reports whether a user is known to have sessions on this node alone. It allocates nothing.
func (n *Node) isAlone(userID string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	nodes, ok := n.locations.get(userID, n.now())
	return ok && len(nodes) == 0 && n.looks[userID] == nil && n.maySend()
}

// maySend reports whether messages may leave. n.mu is held on entry.
func (n *Node) maySend() bool { return n.life != nil && (n.stage == acting || n.stage == stopping) }

// routes returns the routes to some nodes. n.mu is held on entry.
func (n *Node) routes(nodes []Incarnation) []route {
	routes := make([]route, 0, 4)
	for _, to := range nodes {
		routes = append(routes, route{to, n.peerOf(to)})
	}
	return routes
}

// look is a user who is being looked up, with the messages that wait for it in order.
type look struct {
	waiting []*outgoing
	again   bool // since the look into the store began it was learned that the user is elsewhere: what it finds says nothing
}

const (
	// lookers is how many looks run at a time, and looksAtOnce for how many users each is.
	lookers     = 16
	looksAtOnce = 64
)

// awaitLook has a message wait until its user is found. n.mu is held on entry.
func (n *Node) awaitLook(x *outgoing) error {
	if n.unsent > 0 && n.unsent+x.size() > maxQueued {
		return ErrPeerSlow
	}
	n.unsent += x.size()
	if l := n.looks[x.user]; l != nil {
		l.waiting = append(l.waiting, x)
		l.again = l.again || x.flags&flagResent != 0
		return nil
	}
	n.looks[x.user] = &look{waiting: []*outgoing{x}}
	n.toLook = append(n.toLook, x.user)
	if n.looking < lookers {
		n.looking++
		life := n.life
		n.work.Go(func() { n.lookUp(life) })
	}
	return nil
}

// lookUp finds users until none waits.
func (n *Node) lookUp(ctx context.Context) {
	for {
		n.mu.Lock()
		users := n.toLook
		users = users[:min(len(users), looksAtOnce)]
		n.toLook = n.toLook[len(users):]
		if len(users) == 0 {
			n.looking--
			n.mu.Unlock()
			return
		}
		looks := make([]*look, len(users))
		for i, user := range users {
			looks[i] = n.looks[user]
			looks[i].again = false
		}
		n.mu.Unlock()
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		records, err := n.dir.Look(call, users...)
		cancel()
		for i, user := range users {
			if err != nil {
				n.notFound(user, looks[i], protocol.Errorf(protocol.InternalError, "the cluster's store does not answer"))
				continue
			}
			entries, err := decodeRecord(records[i].Body, records[i].Version)
			if err != nil {
				n.malformed(user)
				n.notFound(user, looks[i], errMalformed)
				continue
			}
			n.found(user, looks[i], entries)
		}
	}
}

// found sends the messages that wait for a user.
func (n *Node) found(user string, l *look, entries []entry) {
	n.mu.Lock()
	nodes, here := n.placesOf(entries)
	recovering := n.epoch == ""
	n.mu.Unlock()
	switch {
	case len(nodes) == 0 && !here && recovering:
		n.notFound(user, l, protocol.Errorf(protocol.InternalError, "the cluster's store recovers"))
		return
	case len(nodes) == 0 && !here:
		n.notFound(user, l, errOffline)
		return
	}
	for {
		waiting := n.takeWaiting(user, l, false)
		if len(waiting) == 0 {
			return
		}
		if here {
			for _, x := range waiting {
				n.deliverHere(x, len(nodes) > 0)
			}
		}
		n.mu.Lock()
		var failed []*outgoing
		if !l.again {
			n.locations.put(user, nodes, n.now())
		}
		if len(nodes) > 0 {
			for _, x := range waiting {
				if n.enqueue(x, nodes) != nil {
					failed = append(failed, x)
				}
			}
		}
		if n.looks[user] == l && len(l.waiting) == 0 { // later messages go straight, behind these
			delete(n.looks, user)
		}
		routes := n.routes(nodes)
		n.mu.Unlock()
		for _, r := range routes {
			n.flush(r)
		}
		for _, x := range failed {
			x.fail(ErrPeerSlow)
		}
	}
}

// placesOf returns the nodes of a user's sessions, each once, and whether this node is among them. A session that gives way to another has
// no place: a message to both could come twice. n.mu is held on entry.
func (n *Node) placesOf(entries []entry) (nodes []Incarnation, here bool) {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.grace || n.isGhost(&e) })
	if !n.policy.Several && len(entries) > 1 {
		entries = entries[len(entries)-1:]
	}
	stays := slices.ContainsFunc(entries, func(e entry) bool { return !e.ending })
	for i := range entries {
		switch e := &entries[i]; {
		case stays && e.ending:
		case e.node == n.me:
			here = true
		case !slices.Contains(nodes, e.node):
			nodes = append(nodes, e.node)
		}
	}
	return nodes, here
}

// takeWaiting returns the messages that wait for a look. Later ones wait again, unless over says that the look is over, or none waited.
// Where the user must be looked up again it returns none.
func (n *Node) takeWaiting(user string, l *look, over bool) []*outgoing {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.looks[user] != l: // it is over
		return nil
	case l.again:
		n.toLook = append(n.toLook, user)
		return nil
	}
	waiting := l.waiting
	l.waiting = nil
	for _, x := range waiting {
		n.unsent -= x.size()
	}
	if over || len(waiting) == 0 {
		delete(n.looks, user)
	}
	return waiting
}

// notFound tells those who wait for a user why there is no way to the user.
func (n *Node) notFound(user string, l *look, err error) {
	for _, x := range n.takeWaiting(user, l, true) {
		x.fail(err)
	}
}
