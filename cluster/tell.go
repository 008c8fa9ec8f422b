package cluster

import (
	"slices"

	"github.com/rollcall-go/rollcall/internal/seam"
)

var _ seam.Teller = (*Node)(nil)

// hearer is a service of this process that hears what services of its name on other nodes tell.
type hearer struct {
	service string
	heard   func(from uint32, body []byte)
	changed func(others []uint32)
}

// Hear implements seam.Teller. Programs do not call it.
func (n *Node) Hear(service string, heard func(from uint32, body []byte), changed func(others []uint32)) (stop func()) {
	h := &hearer{service, heard, changed}
	n.mu.Lock()
	n.hearers = append(slices.Clone(n.hearers), h)
	others := n.others
	n.mu.Unlock()
	changed(others)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.hearers = slices.DeleteFunc(slices.Clone(n.hearers), func(o *hearer) bool { return o == h })
	}
}

// Tell implements seam.Teller: it queues a frame for each node that lives, or for one. They go the way of messages to users, and so in order.
// Programs do not call it.
func (n *Node) Tell(service string, to uint32, body []byte) {
	f := frame{kind: frameTell, user: service}
	f.message.Body = body
	n.mu.Lock()
	if !n.maySend() {
		n.mu.Unlock()
		return
	}
	nodes := make([]Incarnation, 0, 4)
	for _, m := range n.view.Members {
		if !m.Dead && m.Incarnation != n.me && (to == 0 || m.Incarnation == Incarnation(to)) {
			nodes = append(nodes, m.Incarnation)
		}
	}
	var routes []route
	for _, node := range nodes {
		x := &outgoing{user: service, frame: f.encode()}
		if n.enqueue(x, []Incarnation{node}) != nil {
			n.tallies.unsent.Add(1)
			continue
		}
		routes = append(routes, route{node, n.peerOf(node)})
	}
	n.mu.Unlock()
	for _, r := range routes {
		n.flush(r)
	}
}

// heard hands what a service has told to the service of the same name here.
func (n *Node) heard(f *frame) {
	n.mu.Lock()
	p := n.peerOf(f.from)
	if n.isDead(f.from) || f.to != n.me || f.seq <= p.got[f.to] { // it came twice, or to a former life
		n.mu.Unlock()
		return
	}
	p.got[f.to] = f.seq
	hearers := n.hearers
	n.mu.Unlock()
	for _, h := range hearers {
		if h.service == f.user {
			h.heard(uint32(f.from), f.message.Body)
		}
	}
}

// tellOthers tells the hearers which other nodes live, when that has changed.
func (n *Node) tellOthers() {
	n.mu.Lock()
	var others []uint32
	for _, m := range n.view.Members {
		if !m.Dead && m.Incarnation != n.me {
			others = append(others, uint32(m.Incarnation))
		}
	}
	if slices.Equal(others, n.others) {
		n.mu.Unlock()
		return
	}
	n.others = others
	hearers := n.hearers
	n.mu.Unlock()
	for _, h := range hearers {
		h.changed(others)
	}
}
