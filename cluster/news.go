package cluster

import "slices"

// news is by which senders hear that a user has one more session: else it would get no messages from nodes that keep in mind where the
// user's other sessions are. The node of the new session tells the nodes of the others, which tell the nodes that have sent messages to the
// user. Where a frame is lost, the senders find the session after Config.LocationTTL. The node's lock protects it.
type news struct {
	senders locations // to a user who has a session here
	joined  locations // who have got one more session elsewhere
}

// newNews returns news without users. A sender keeps a location in mind for LocationTTL, and sends for the first time at its start. It is
// noted again when LocationTTL has passed, and so for twice as long it may have one.
func newNews(c *Config) news {
	return news{
		senders: locations{most: c.Locations, ttl: 2 * c.LocationTTL},
		joined:  locations{most: c.Locations, ttl: c.LocationTTL},
	}
}

// tellJoined tells the nodes on which the user has other sessions of one more.
func (n *Node) tellJoined(c *claim) {
	if !n.policy.Several {
		return
	}
	n.mu.Lock()
	var nodes []Incarnation
	if c.more != nil {
		nodes, _ = n.placesOf(c.more.rest)
	}
	me := c.own.node
	n.mu.Unlock()
	for _, to := range nodes {
		n.send(&frame{kind: frameJoined, from: me, to: to, user: c.user})
	}
}

// joined is called when a user who has a session here has got one more elsewhere. That session gets what is kept for the user here.
func (n *Node) joined(f *frame) {
	n.forget(f.user)
	n.mu.Lock()
	now := n.now()
	senders, _ := n.news.senders.get(f.user, now)
	n.news.senders.forget(f.user, 0)
	n.news.joined.put(f.user, nil, now)
	n.mu.Unlock()
	for _, to := range senders {
		n.send(&frame{kind: frameForget, from: f.to, to: to, user: f.user})
	}
	for _, k := range n.services() {
		k.Tell(f.user)
	}
}

// forget has the node look again where a user is, for the next message.
func (n *Node) forget(user string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.locations.forget(user, 0)
	if l := n.looks[user]; l != nil {
		l.again = true
	}
}

// noteSender notes that a node sends messages to a user who has a session here. A node that had looked before the user got one more
// session is told so.
func (n *Node) noteSender(f *frame) {
	n.mu.Lock()
	now := n.now()
	at, _ := n.news.senders.find(f.user, now)
	known := slices.Contains(at.nodes, f.from)
	if !known || now-at.at >= n.cfg.LocationTTL {
		nodes := slices.DeleteFunc(slices.Clone(at.nodes), func(inc Incarnation) bool { return inc == f.from || n.isDead(inc) })
		n.news.senders.put(f.user, append(nodes, f.from), now)
	}
	_, late := n.news.joined.get(f.user, now)
	n.mu.Unlock()
	if late && !known {
		n.send(&frame{kind: frameForget, from: f.to, to: f.from, user: f.user})
	}
}
