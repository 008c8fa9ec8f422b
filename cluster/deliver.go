package cluster

import (
	"errors"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/protocol"
)

// deliver hands a message that another node has sent to the user's sessions here. Where there are none the message goes back: its sender
// looks where the user is now.
func (n *Node) deliver(f *frame) {
	n.mu.Lock()
	p := n.peerOf(f.from)
	if n.isDead(f.from) || f.seq <= p.got[f.to] { // it came twice, or two ways
		n.mu.Unlock()
		return
	}
	p.got[f.to] = f.seq
	mine := f.to == n.me
	n.mu.Unlock()
	held, err := false, error(errOffline)
	if mine && n.May() {
		held, err = n.deliverTo(f, nil)
	}
	if !held {
		n.handedOver(f, err)
	}
}

// handedOver notes the outcome of a message of another node.
func (n *Node) handedOver(f *frame, err error) {
	switch {
	case err != nil:
		n.sendBack(f, err)
	case n.policy.Several:
		n.noteSender(f)
	}
}

// sendBack sends a message back that no session here has got.
func (n *Node) sendBack(f *frame, why error) {
	back := *f
	back.kind, back.from, back.to = frameNotHere, f.to, f.from
	if !errors.Is(why, protocol.UserOffline) {
		back.message.Body = nil // it is not sent again
		back.code, back.text = protocol.Refused, why.Error()
		var ce *protocol.CloseError
		if codes.As(why, &ce) && ce != nil {
			back.code, back.text = ce.Code, ce.Text
		}
	}
	x := &outgoing{user: f.user, frame: back.encode(), numbers: f.numbers}
	n.mu.Lock()
	n.seq++
	back.seq = n.seq
	back.address(x.frame)
	p := n.peerOf(f.from)
	if p.queued > 0 && p.queued+x.size() > maxQueued {
		n.mu.Unlock()
		return
	}
	x.ticket = 0 // the ticket in the frame is the other node's
	p.queue = append(p.queue, x)
	p.queued += x.size()
	n.mu.Unlock()
	n.flush(route{f.from, p})
}

// notHere is called for a message that has come back. Once, it goes where the user is now.
func (n *Node) notHere(f *frame) {
	n.mu.Lock()
	p := n.peerOf(f.from)
	if f.to != n.me || f.seq <= p.got[f.to] {
		n.mu.Unlock()
		return
	}
	p.got[f.to] = f.seq
	n.locations.forget(f.user, f.from)
	undelivered, last := n.waits.answered(f.ticket)
	if !last {
		n.mu.Unlock()
		return
	}
	n.mu.Unlock()
	x := &outgoing{user: f.user, undelivered: undelivered}
	if f.code != 0 {
		x.fail(&protocol.CloseError{Code: f.code, Text: f.text})
		return
	}
	again := *f
	again.kind, again.numbers = frameDeliver, numbers{}
	x.frame, x.flags = again.encode(), f.flags
	n.resend(x)
}

// resend sends a message that no session has got to where the user is now, once.
func (n *Node) resend(x *outgoing) {
	n.mu.Lock()
	var err error
	switch {
	case x.flags&flagResent != 0:
		err = errOffline
	case !n.maySend():
		err = errLost
	default:
		x.flags |= flagResent
		err = n.awaitLook(x)
	}
	n.mu.Unlock()
	if err != nil {
		x.fail(err)
	}
}

// deliverHere hands a message that was looked up to the user's sessions on this node. more says that it goes to other nodes besides.
func (n *Node) deliverHere(x *outgoing, more bool) {
	if x.flags&flagBeside != 0 {
		return
	}
	held := false
	f, err := decodeFrame(x.frame)
	switch {
	case !n.May(): // the store has answered too late
		err = errLost
	case err == nil && more:
		err = handOver(n.localSessions(), &f)
	case err == nil:
		held, err = n.deliverTo(&f, x)
	}
	switch {
	case held:
	case err == nil:
		x.undelivered = nil
		x.flags |= flagBeside
	case !more:
		x.fail(err)
	}
}
