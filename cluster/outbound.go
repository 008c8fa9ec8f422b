package cluster

import (
	"bytes"
)

// maxQueued limits the bytes of the messages that wait for a peer, and of those that wait until their user is found.
const maxQueued = 16 << 20

// outgoingCost is what a message that waits takes besides its bytes.
const outgoingCost = 128

// outgoing is a message on its way to another node, as an encoded frame.
type outgoing struct {
	user  string
	frame []byte
	numbers
	undelivered func(error) // nil for none
}

func (x *outgoing) size() int { return len(x.frame) + outgoingCost }

// fail tells the sender, if it waits, that the message was not delivered.
func (x *outgoing) fail(err error) {
	if x.undelivered != nil {
		x.undelivered(err)
	}
}

// route is a peer to which something was queued.
type route struct {
	to   Incarnation
	peer *peer
}

// enqueue queues a message for some nodes; flush sends it. With an error nothing was queued. n.mu is held on entry.
func (n *Node) enqueue(x *outgoing, nodes []Incarnation) error {
	for _, to := range nodes {
		if p := n.peerOf(to); p.queued > 0 && p.queued+x.size() > maxQueued {
			return ErrPeerSlow
		}
	}
	if x.ticket == 0 && (x.undelivered != nil || len(nodes) > 1) {
		x.ticket = n.waits.add(len(nodes), x.undelivered, n.now())
	}
	f := frame{kind: frameDeliver, from: n.me, numbers: x.numbers}
	for i, to := range nodes {
		copied := x
		if i > 0 {
			c := *x
			c.frame = bytes.Clone(x.frame)
			copied = &c
		}
		n.seq++
		f.to, f.seq = to, n.seq
		f.address(copied.frame)
		p := n.peerOf(to)
		p.queue = append(p.queue, copied)
		p.queued += copied.size()
	}
	return nil
}

// flush gives the mesh what is queued for a peer, in order. Where another goroutine does so it does nothing.
func (n *Node) flush(r route) {
	n.mu.Lock()
	p := r.peer
	if p.sending {
		n.mu.Unlock()
		return
	}
	p.sending = true
	for len(p.queue) > 0 {
		queue := p.queue
		p.queue, p.queued = nil, 0
		n.mu.Unlock()
		for _, x := range queue {
			if err := n.mesh.Send(r.to, x.frame); err != nil {
				n.tallies.unsent.Add(1)
				n.notDelivered(x.ticket, err)
			}
		}
		n.mu.Lock()
	}
	p.sending = false
	n.mu.Unlock()
}

// notDelivered notes that one of the nodes that a message went to did not get it. Where it was the last one the sender is told err.
func (n *Node) notDelivered(ticket uint64, err error) {
	n.mu.Lock()
	undelivered, last := n.waits.answered(ticket)
	n.mu.Unlock()
	if last && undelivered != nil {
		undelivered(err)
	}
}
