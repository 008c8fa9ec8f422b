package mesh_test

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/internal/clustertest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// numbers notes the numbers that come in frames.
type numbers struct {
	mu   sync.Mutex
	last uint32
	got  int
	bad  int
}

func (n *numbers) take(frame []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number := binary.BigEndian.Uint32(frame)
	if number <= n.last {
		n.bad++
	}
	n.last = number
	n.got++
}

func (n *numbers) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.got
}

// check requires that each frame came once at most, and after those before it.
func (n *numbers) check(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bad > 0 {
		t.Errorf("%d of %d frames came twice, or after a later one", n.bad, n.got)
	}
}

// sender sends frames with numbers.
type sender struct {
	mesh *mesh.Mesh
	to   cluster.Incarnation
	next uint32
}

func (s *sender) send() error {
	s.next++
	return s.mesh.Send(s.to, binary.BigEndian.AppendUint32(nil, s.next))
}

// sendUntil sends frames until ok returns true.
func (s *sender) sendUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, what, func() bool {
		_ = s.send()
		return ok()
	})
}

// pair is a mesh that sends to another through a cable.
type pair struct {
	cable *testkit.Cable
	from  sender
	got   numbers
}

func newPair(t *testing.T, silence time.Duration) *pair {
	p := &pair{cable: testkit.NewCable(t, "")}
	to := open(t, mesh.Config{Secret: secret, Advertise: p.cable.Addr()}.WithSilence(silence))
	p.cable.Lead(to.Bound())
	stop := testkit.Must(to.Open(1, p.got.take))
	t.Cleanup(stop)
	from := open(t, mesh.Config{Secret: secret}.WithSilence(silence))
	from.Route(map[cluster.Incarnation]string{1: to.Addr()})
	p.from = sender{mesh: from, to: 1}
	p.from.sendUntil(t, "a frame comes", func() bool { return p.got.count() > 0 })
	return p
}

// A connection that breaks again and again loses frames, and mixes up none: those that come are in order, and none comes twice.
func TestFramesKeepTheirOrderWhileConnectionsBreak(t *testing.T) {
	p := newPair(t, 3*time.Second)
	for range 20 {
		before := p.got.count()
		for range 200 {
			_ = p.from.send()
		}
		p.cable.Break()
		p.from.sendUntil(t, "frames come again", func() bool { return p.got.count() > before+20 })
	}
	p.got.check(t)
}

// What stays behind on a connection that its sender has given up does not come after what was sent later on the next one.
func TestWhatComesLateOnAnEarlierConnectionIsDropped(t *testing.T) {
	p := newPair(t, fast)
	p.cable.Hold()
	for range 100 {
		_ = p.from.send()
	}
	before := p.got.count()
	p.from.sendUntil(t, "frames come on another connection", func() bool { return p.got.count() > before })
	p.cable.Release()
	before = p.got.count()
	p.from.sendUntil(t, "frames come on", func() bool { return p.got.count() > before+100 })
	p.got.check(t)
}

// A node that is cut off without a word is noticed: its frames are refused, and come again when it is back.
func TestASilentNodeIsNoLongerReached(t *testing.T) {
	p := newPair(t, fast)
	p.cable.SetCut(true)
	testkit.Eventually(t, "frames are refused", func() bool { return errors.Is(p.from.send(), cluster.ErrNoRoute) })
	if s := p.from.mesh.Stats(); s.Lost != 1 || s.Reached != 0 || s.Refused == 0 || s.Sent == 0 {
		t.Errorf("the figures are %+v", s)
	}
	p.cable.SetCut(false)
	before := p.got.count()
	p.from.sendUntil(t, "frames come again", func() bool { return p.got.count() > before })
	p.got.check(t)
}

// A node that takes nothing has a bound on what waits for it.
func TestWhatWaitsForANodeIsBounded(t *testing.T) {
	var hold sync.Mutex
	to := open(t, mesh.Config{Secret: secret})
	stop := testkit.Must(to.Open(1, func([]byte) { hold.Lock(); defer hold.Unlock() }))
	t.Cleanup(stop)
	from := open(t, mesh.Config{Secret: secret, Queue: 1 << 20})
	from.Route(map[cluster.Incarnation]string{1: to.Addr()})
	hold.Lock()
	defer hold.Unlock()
	frame := make([]byte, 64<<10)
	testkit.Eventually(t, "a frame is refused", func() bool { return errors.Is(from.Send(1, frame), cluster.ErrPeerSlow) })
}

// Rule 20, over the direct mesh: two nodes find each other by the table, and a logon at one replaces the session at the other.
func TestALogonReplacesASessionOverTheDirectMesh(t *testing.T) {
	store := memory.New()
	var nodes []*cluster.Node
	var users []*usermgr.Manager
	var ways []*mesh.Mesh
	var stops []func()
	for _, name := range []string{"a", "b"} {
		ctx, end := context.WithCancel(context.Background())
		way := open(t, mesh.Config{Secret: secret})
		n := testkit.Must(cluster.New(cluster.Config{
			Directory: store, Mesh: way, Name: name, Lease: 2 * time.Second, Logger: zap.NewNop(),
		}))
		m := testkit.Must(usermgr.New(usermgr.Config{Claims: n, HeartbeatTimeout: -1, Logger: zap.NewNop()}))
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		stop := sync.OnceFunc(func() {
			end()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := m.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		nodes, users, ways, stops = append(nodes, n), append(users, m), append(ways, way), append(stops, stop)
	}
	for _, n := range nodes {
		if err := n.Joined(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		at := i % 2
		ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
		if _, err := users[at].Register(ctx, usermgr.Logon{UserID: "ann"}, clustertest.Link(i+1)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if users[1-at].IsOnline("ann") || !users[at].IsOnline("ann") {
			t.Errorf("after logon %d ann is at both nodes, or at none", i)
		}
	}
	connections := func() int {
		s := ways[0].Stats()
		return s.Reached + s.Lost
	}
	testkit.Eventually(t, "the node has one connection: none to itself", func() bool { return connections() == 1 })
	stops[1]()
	testkit.Eventually(t, "the connection to the node that has left ends", func() bool { return connections() == 0 })
}
