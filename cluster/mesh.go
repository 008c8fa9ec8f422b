package cluster

import "errors"

var (
	// ErrNoRoute is returned by a Mesh that cannot reach the node. The frame is lost.
	ErrNoRoute = errors.New("rollcall: no way to this node of the cluster")
	// ErrPeerSlow is returned by a Mesh that has too much queued for the node, or for all nodes together. The frame is lost.
	ErrPeerSlow = errors.New("rollcall: too much waits for this node of the cluster")
)

// Mesh carries frames between nodes. A frame may be lost, and the node sends it again where it must arrive; from one node to another frames
// keep their order, and the mesh delivers none twice. Package meshtest has its conformance suite.
type Mesh interface {
	// Open has frames for the incarnation me come to f, one at a time, until stop is called. The frame is valid during the call of
	// f, which must not block. stop returns when f does not run any more; f must not call it. A node may have several
	// incarnations open. Open returns when frames can come, or an error. It is called from one goroutine at a time.
	Open(me Incarnation, f func(frame []byte)) (stop func(), err error)
	// Send queues a frame for a node and returns at once. The mesh does not change the frame; the caller does not either. A mesh
	// takes frames of 1 MiB, or larger ones too. Any goroutine may call it.
	Send(to Incarnation, frame []byte) error
}

// Addressed is a Mesh whose nodes reach each other by addresses, such as that of package cluster/mesh. A node puts Addr into its row of the
// table of nodes, and tells the mesh the addresses that it finds there.
type Addressed interface {
	Mesh
	// Addr returns the address under which other nodes reach this one.
	Addr() string
	// Route tells where the nodes are that live; "" where that is not known. Others are dead. The node calls it after each renewal.
	// The mesh keeps the map, and does not change it.
	Route(nodes map[Incarnation]string)
}
