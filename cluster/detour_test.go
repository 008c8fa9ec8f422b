package cluster_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/cluster/meshtest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// gate is a Mesh that a test can close, as a mesh does that knows that a node is cut off, and whose frames a test can hold.
type gate struct {
	cluster.Mesh
	mu     sync.Mutex
	closed bool
	hold   bool
	held   []func()
}

func (g *gate) Send(to cluster.Incarnation, frame []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return cluster.ErrNoRoute
	case g.hold:
		g.held = append(g.held, func() { _ = g.Mesh.Send(to, frame) })
		return nil
	}
	return g.Mesh.Send(to, frame)
}

func (g *gate) set(closed, hold bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.hold = closed, hold
	if !hold {
		for _, send := range g.held {
			send()
		}
		g.held = nil
	}
}

// twoWays returns a world of two nodes whose mesh has two ways: the first is the world's own.
func twoWays(t *testing.T, cfg usermgr.Config) *world {
	w, around := newWorld(t, 0, cfg), memory.NewMesh()
	for range 2 {
		w.way = cluster.WithDetour(w.mesh, around)
		w.addNode()
	}
	w.awaitNodes()
	return w
}

// Rule 20, where two nodes are cut off from each other and do not know it yet: their frames are lost on the direct way. What ends a session
// goes around.
func TestAnEvictionGoesRoundWhereTheDirectMeshIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoWays(t, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
		for _, n := range []*member{b, a} {
			began := time.Now()
			w.mustLogOn(n, "ann", 0)
			if took := time.Since(began); took > time.Second {
				t.Errorf("the logon took %v", took)
			}
		}
		w.happened(
			"Connected ann@a", "PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@b",
			"PushedOut ann@b", "Disconnected ann@b PushedOut", "Connected ann@a",
		)
		w.settled()
	})
}

// Rule 7, likewise: before IgnoreNew refuses a logon, the session's node is asked.
func TestAQuestionGoesRoundWhereTheDirectMeshIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoWays(t, usermgr.Config{RelogonMode: usermgr.IgnoreNew})
		w.mustLogOn(w.nodes[0], "ann", 0)
		w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
		began := time.Now()
		_, err := w.logOn(w.nodes[1], usermgr.Logon{UserID: "ann"})
		if code, took := codeOf(err), time.Since(began); code != protocol.AlreadyLoggedOn || took > time.Second {
			t.Errorf("the logon was answered %v after %v", err, took)
		}
	})
}

// evict is a frame of a kind that may go around, as nodes write it; message is one of a kind that may not.
func evict(n byte) []byte   { return []byte{1, 0, 0, 0, 7, 0, 0, 0, 1, 250, 1, n} }
func message(n byte) []byte { return []byte{250, 0, 0, 0, 7, 0, 0, 0, 1, 250, 1, n} }

// A mesh of two ways delivers no frame twice, and none after a later one, whatever way it takes.
func TestFramesKeepTheirOrderOverTwoWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		direct, around := &gate{Mesh: memory.NewMesh()}, &gate{Mesh: memory.NewMesh()}
		to, from := cluster.WithDetour(direct, around), cluster.WithDetour(direct, around)
		var mu sync.Mutex
		var got []byte
		stop, err := to.Open(1, func(frame []byte) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, frame[0]/250*100+frame[11])
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		send := func(frames ...[]byte) {
			for _, f := range frames {
				_ = from.Send(1, f)
			}
			synctest.Wait()
		}
		want := func(what string, frames ...byte) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, frames) {
				t.Errorf("%s: the frames %v came, want %v", what, got, frames)
			}
			got = nil
		}
		send(evict(1), message(2), evict(3))
		want("the direct way is open", 1, 102, 3)

		direct.set(true, false)
		send(evict(4), message(5), evict(6))
		want("the direct way is closed", 4, 6)

		direct.set(false, true)
		send(evict(7), evict(8)) // they stay behind on the direct way
		direct.set(true, true)
		send(evict(9))
		direct.set(false, false)
		synctest.Wait()
		want("frames came late on the direct way", 9)

		direct.set(true, false)
		around.set(false, true)
		send(evict(10))
		direct.set(false, false)
		send(evict(11))
		around.set(false, false)
		synctest.Wait()
		want("a frame came late on the way around", 11)
	})
}

// Frames that come by both ways at once are handled one at a time, and a frame that waits is not lost.
func TestFramesOfBothWaysComeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		direct, around := memory.NewMesh(), memory.NewMesh()
		to := cluster.WithDetour(direct, around)
		var mu sync.Mutex
		running, most, got := 0, 0, 0
		stop, err := to.Open(1, func([]byte) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			running--
			got++
			mu.Unlock()
		})
		if err != nil {
			t.Fatal(err)
		}
		const frames = 100
		for range frames {
			_ = direct.Send(1, message(1))
			_ = around.Send(1, message(1))
		}
		testkit.Eventually(t, "all frames are handled", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return got >= 2*frames
		})
		stop()
		mu.Lock()
		defer mu.Unlock()
		if most != 1 || got != 2*frames {
			t.Errorf("%d frames were handled, at most %d at a time, want %d", got, most, 2*frames)
		}
	})
}

// Rule 23: frames that come faster than the node handles them wait, however many: none is lost while one of the other way is handled.
func TestNoFrameIsLostWhileOneOfTheOtherWayIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		direct, around := memory.NewMesh(), memory.NewMesh()
		to := cluster.WithDetour(direct, around)
		var got atomic.Int64
		stop, err := to.Open(1, func([]byte) {
			if got.Add(1) == 1 {
				time.Sleep(time.Second)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		_ = around.Send(1, message(1))
		synctest.Wait()
		const frames = 10_000
		for range frames {
			_ = direct.Send(1, message(1))
		}
		testkit.Eventually(t, "all frames are handled", func() bool { return got.Load() == frames+1 })
	})
}

// A node whose handling of a frame panics handles the next ones, in their order.
func TestFramesComeOnAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		direct, around := new(hand), new(hand)
		to := cluster.WithDetour(direct, around)
		var got []byte
		if _, err := to.Open(1, func(frame []byte) {
			if frame[11] == 1 {
				direct.f(message(2)) // as another goroutine does meanwhile
				panic("test")
			}
			got = append(got, frame[11])
		}); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() { _ = recover() }()
			around.f(message(1))
		}()
		direct.f(message(3))
		if !slices.Equal(got, []byte{2, 3}) {
			t.Errorf("after a panic the frames %v came", got)
		}
	})
}

// hand is a Mesh by which a test delivers frames itself.
type hand struct{ f func([]byte) }

func (h *hand) Open(_ cluster.Incarnation, f func([]byte)) (stop func(), err error) {
	h.f = f
	return func() {}, nil
}

func (*hand) Send(cluster.Incarnation, []byte) error { return cluster.ErrNoRoute }

// The suite of all meshes passes on a mesh of two ways.
func TestMeshOfTwoWays(t *testing.T) {
	meshtest.Run(t, func(*testing.T) meshtest.Network {
		direct, around := memory.NewMesh(), memory.NewMesh()
		return meshtest.Network{New: func(*testing.T) cluster.Mesh { return cluster.WithDetour(direct, around) }}
	})
}
