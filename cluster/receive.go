package cluster

import (
	"slices"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// send sends a frame. One that is lost is sent again by the node that waits.
func (n *Node) send(f *frame) {
	if err := n.mesh.Send(f.to, f.encode()); err != nil {
		n.tallies.unsent.Add(1)
		n.log.Debug("a frame was not sent", zap.Uint32("to", uint32(f.to)), zap.Error(err))
	}
}

// sendBoth is send by both ways of the mesh, if it has two.
func (n *Node) sendBoth(f *frame) {
	if n.detour == nil {
		n.send(f)
		return
	}
	if err := n.detour.send(f.to, f.encode(), true); err != nil {
		n.tallies.unsent.Add(1)
		n.log.Debug("a frame was not sent", zap.Uint32("to", uint32(f.to)), zap.Error(err))
	}
}

// handle is called by the mesh for each frame that comes. It does not block.
func (n *Node) handle(b []byte) {
	f, err := decodeFrame(b)
	if err != nil {
		n.log.Warn("the mesh brought something else than a frame", zap.Error(err))
		return
	}
	n.tallies.received.Add(1)
	n.mu.Lock()
	if p := n.peers[f.from]; p != nil {
		p.asked = 0
	}
	n.mu.Unlock()
	switch f.kind {
	case frameHello:
		n.meet(&f)
		n.send(&frame{kind: frameWelcome, from: f.to, to: f.from, version: frameVersion})
		n.wake()
	case frameWelcome:
		n.meet(&f)
	case frameLives, frameGone:
		n.answered(&f)
	case frameEvict, frameAlive:
		n.asked(&f)
	case frameDeliver:
		n.deliver(&f)
	case frameNotHere:
		n.notHere(&f)
	case frameJoined:
		n.joined(&f)
	case frameForget:
		n.forget(f.user)
	case frameAsk:
		n.answer(&f)
	case frameAnswer:
		n.gotAnswer(&f)
	case frameCarry:
		n.local.Arrive(f.owner, f.carry)
	case frameMarked:
		n.marked(&f)
	case frameConfirmed:
		n.confirmed(&f, seam.ConfirmedKept)
	case frameUnasked:
		n.confirmed(&f, seam.ConfirmedUnasked)
	case frameTell:
		n.heard(&f)
	}
}

// meet notes another node's version.
func (n *Node) meet(f *frame) {
	n.mu.Lock()
	n.peerOf(f.from).version = f.version
	n.mu.Unlock()
	if f.version != frameVersion {
		n.log.Info("a node of the cluster has another version: what only one of the two knows is not used between them",
			zap.Uint32("incarnation", uint32(f.from)), zap.Uint64("theirs", f.version), zap.Uint64("ours", frameVersion))
	}
}

// answered passes an answer about a session on to those that wait for it.
func (n *Node) answered(f *frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var carries []seam.Carry
	if f.carry != nil {
		carries = []seam.Carry{f.carry}
	}
	if f.kind == frameGone {
		delete(n.rivals, f.session)
	}
	for _, ch := range n.asks[f.session] {
		select {
		case ch <- answer{f.kind, carries}:
			carries = nil // they go to one of those that wait
		default:
		}
	}
}

// asked answers another node's question about a session, and ends the session if the node asks for it.
func (n *Node) asked(f *frame) {
	n.mu.Lock()
	if n.isDead(f.from) {
		n.mu.Unlock()
		return
	}
	c := n.claims[f.session]
	if c != nil && f.kind == frameEvict {
		if more := c.needMore(); !slices.Contains(more.waiters, f.from) {
			more.waiters = append(more.waiters, f.from)
			n.tallies.evicted.Add(1)
			more.heir = f.heir
		}
	}
	g := n.graces.sessions[f.session]
	if g != nil && g.back { // the user has come back since: the session has ended like any other
		g = nil
	}
	if g != nil && !slices.Contains(g.waiters, f.from) {
		g.waiters = append(g.waiters, f.from)
	}
	n.mu.Unlock()
	if c == nil && g != nil {
		n.local.EndGrace(g.user) // GraceOver answers
		return
	}
	if c == nil {
		n.send(&frame{kind: frameGone, from: f.to, to: f.from, session: f.session})
		return
	}
	n.send(&frame{kind: frameLives, from: f.to, to: f.from, session: f.session})
	if f.kind == frameEvict {
		code := protocol.PushedOut
		if !n.May() { // the new session may be connected by now, and PushedOut comes before that
			code = protocol.NodeLost
		}
		n.users.Load().Evict(f.session, f.by, code)
	}
}
