package cluster

import "errors"

// ErrNoRoute is returned by a Mesh that cannot reach the node, or has too much queued for it. The frame is lost.
var ErrNoRoute = errors.New("rollcall: no way to this node of the cluster")

// Mesh carries frames between nodes. A frame may be lost, and the node sends it again; from one node to another frames keep their
// order, and the mesh delivers none twice.
type Mesh interface {
	// Open has frames for the incarnation me come to f, one at a time, until stop is called. The frame is valid during the call of
	// f. A node may have several incarnations open. Open returns when frames can come, or an error. It is called from one goroutine
	// at a time.
	Open(me Incarnation, f func(frame []byte)) (stop func(), err error)
	// Send queues a frame for a node and returns at once. The mesh does not change the frame; the caller does not either. Any
	// goroutine may call it.
	Send(to Incarnation, frame []byte) error
}
