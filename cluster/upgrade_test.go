package cluster_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// nextVersion is the mesh of a node of a later version: it says that version, each frame has fields that this version does not know, and
// before it goes one of a kind that this version does not know.
type nextVersion struct{ *memory.Mesh }

func (m nextVersion) Send(to cluster.Incarnation, frame []byte) error {
	const header = 9
	if frame[0] == cluster.FrameHello || frame[0] == cluster.FrameWelcome { // their only field is the version
		frame = slices.Clone(frame)
		frame[len(frame)-1]++
	}
	field := append([]byte{200, 0x90, 0x01}, bytes.Repeat([]byte{7}, 0x90)...)
	later := slices.Concat(frame[:header], field, frame[header:], field)
	unknown := slices.Clone(later)
	unknown[0] = 200
	if err := m.Mesh.Send(to, unknown); err != nil {
		return err
	}
	return m.Mesh.Send(to, later)
}

// A cluster is upgraded node by node: this version and the next replace each other's sessions, pass messages on, and answer each other's questions. Each
// tells its version.
func TestNodesOfTwoVersionsWorkTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, told := observer.New(zap.InfoLevel)
		w := newWorld(t, 0, usermgr.Config{})
		w.change = func(c *cluster.Config) { c.Logger = zap.New(core).Named(c.Name) }
		a := w.addNode()
		w.awaitNodes()
		w.way = nextVersion{w.mesh}
		b := w.addNode()
		w.awaitNodes()
		versions := make(map[string]uint64)
		for _, e := range told.FilterMessageSnippet("has another version").All() {
			versions[e.LoggerName] = e.ContextMap()["theirs"].(uint64)
		}
		if len(versions) != 1 || versions["a"] != 2 {
			t.Errorf("the nodes have told that another has version %v", versions)
		}
		w.mustLogOn(a, "ann", 0)
		w.mustLogOn(b, "ann", 0)
		w.mustLogOn(a, "ann", 0)
		w.happened(
			"Connected ann@a", "PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@b",
			"PushedOut ann@b", "Disconnected ann@b PushedOut", "Connected ann@a",
		)
		w.mustLogOn(b, "bob", 0)
		for _, m := range []struct {
			from *member
			to   string
		}{{a, "bob"}, {b, "ann"}} {
			if err := m.from.send(m.to, "hello", nil); err != nil {
				t.Error(err)
			}
		}
		want(t, b.sessions.take(), "bob@b: hello")
		want(t, a.sessions.take(), "ann@a: hello")
		for _, n := range w.nodes {
			if c := testkit.Must(n.Count(context.Background())); c.Value.Sessions != 2 || len(c.Missing) > 0 {
				t.Errorf("%s counts %+v", n.name, c)
			}
		}
		for user, n := range map[string]*member{"ann": b, "bob": a} {
			if k, err := n.Kick(context.Background(), user, nil); err != nil || len(k.Value) != 1 || len(k.Missing) > 0 {
				t.Errorf("the kick of %s: %+v, %v", user, k, err)
			}
		}
		w.settled()
	})
}
