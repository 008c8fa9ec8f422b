package cluster_test

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/usermgr"
)

// nextVersion is the mesh of a node of a later version: each frame has fields that this version does not know, and before it goes one of
// a kind that this version does not know.
type nextVersion struct{ *memory.Mesh }

func (m nextVersion) Send(to cluster.Incarnation, frame []byte) error {
	const header = 9
	field := append([]byte{200, 0x90, 0x01}, bytes.Repeat([]byte{7}, 0x90)...)
	later := slices.Concat(frame[:header], field, frame[header:], field)
	unknown := slices.Clone(later)
	unknown[0] = 200
	if err := m.Mesh.Send(to, unknown); err != nil {
		return err
	}
	return m.Mesh.Send(to, later)
}

// A cluster is upgraded node by node: this version and the next replace each other's sessions.
func TestNodesOfTwoVersionsWorkTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		w.way = nextVersion{w.mesh}
		a, b := w.nodes[0], w.addNode()
		w.awaitNodes()
		w.mustLogOn(a, "ann", 0)
		w.mustLogOn(b, "ann", 0)
		w.mustLogOn(a, "ann", 0)
		w.happened(
			"Connected ann@a", "PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@b",
			"PushedOut ann@b", "Disconnected ann@b PushedOut", "Connected ann@a",
		)
		w.settled()
	})
}
