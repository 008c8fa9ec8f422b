package presence_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/usermgr"
)

// nodes are servers of one cluster, with one store of presence and the same friends.
type nodes struct {
	t         *testing.T
	directory *memory.Directory
	mesh      *memory.Mesh
	all       []*node
}

type node struct {
	*world
	cluster *cluster.Node
	cut     atomic.Bool // from the cluster's store
	end     func()      // leaves the cluster
}

func newNodes(t *testing.T, n int) *nodes { return newNodesWith(t, n, 50*time.Millisecond) }

func newNodesWith(t *testing.T, n int, beats time.Duration) *nodes {
	t.Helper()
	t.Cleanup(presence.Beats(beats))
	c := &nodes{t: t, directory: memory.New(), mesh: memory.NewMesh()}
	for range n {
		c.add()
	}
	c.agree()
	return c
}

func (c *nodes) add() *node {
	t := c.t
	t.Helper()
	n := &node{world: &world{t: t, friends: &friends{}, store: &store{Memory: presence.NewMemory()}, dialled: 100 * len(c.all)}}
	if len(c.all) > 0 {
		n.friends, n.store = c.all[0].friends, c.all[0].store
	}
	directory := c.directory.With(memory.Faults{Before: func(context.Context, string) error {
		if n.cut.Load() {
			return errors.New("cut")
		}
		return nil
	}})
	n.cluster = testkit.Must(cluster.New(cluster.Config{Directory: directory, Mesh: c.mesh, Lease: 2 * time.Second, Logger: zap.NewNop()}))
	n.start(presence.Config{Logger: zap.NewNop()}, usermgr.Config{Claims: n.cluster, Logger: zap.NewNop()}, n.cluster)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.cluster.Run(ctx) }()
	n.end = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	t.Cleanup(n.end)
	ready, over := context.WithTimeout(context.Background(), testkit.Patience)
	defer over()
	if err := n.cluster.Joined(ready); err != nil {
		t.Fatal(err)
	}
	c.all = append(c.all, n)
	return n
}

// agree waits until each service has heard all that the others have told, and until it is known of all who have left whether they are offline.
func (c *nodes) agree() {
	c.t.Helper()
	testkit.Eventually(c.t, "the services know the same", func() bool {
		for _, n := range c.all {
			if !n.presence.Quiet() {
				return false
			}
		}
		told := make(map[uint32]uint64)
		for _, n := range c.all {
			told[uint32(n.cluster.Incarnation())] = n.presence.Told()
		}
		for _, n := range c.all {
			heard, settled := n.presence.Heard()
			if !settled || len(heard) != len(c.all)-1 {
				return false
			}
			for id, number := range heard {
				if told[id] != number {
					return false
				}
			}
		}
		return true
	})
}

// tick has all nodes tell what they have to tell.
func (c *nodes) tick() {
	c.t.Helper()
	c.agree()
	for _, n := range c.all {
		n.tick()
	}
	c.agree()
}

// Rules P20 to P24: friends on two nodes see each other come, change and go, and a user in Stealth is offline on all nodes.
func TestFriendsOnTwoNodesSeeEachOther(t *testing.T) {
	c := newNodes(t, 2)
	a, b := c.all[0], c.all[1]
	ann := a.logOn("ann")
	if got := ann.watch(); got != "" {
		t.Errorf("rule P22: ann is told of %q", got)
	}
	bob := b.logOn("bob")
	c.tick()
	ann.wantHeard("P20", "bob online")
	if got := bob.watch(); got != "ann online" {
		t.Errorf("rule P22: bob is told of %q", got)
	}
	bob.set(presence.Busy)
	c.tick()
	ann.wantHeard("P20", "bob busy")
	bob.wantHeard("P20", "bob busy")
	bob.set(presence.Stealth)
	c.agree()
	if a.presence.Visible("bob") != presence.Offline {
		t.Error("rule P23: bob is seen on the other node in Stealth")
	}
	if got := ann.online("ann", "bob"); !slices.Equal(got, []string{"ann"}) {
		t.Errorf("rule P23: of those who are online ann is told %q", got)
	}
	c.tick()
	ann.wantHeard("P20", "bob offline")
	bob.wantHeard("P20", "bob stealth")
	ann.set(presence.Busy)
	bob.set(presence.Online)
	c.tick()
	ann.wantHeard("P20", "ann busy] [bob online")
	bob.wantHeard("P20", "ann busy] [bob online")
	bob.leave()
	b.gone("bob")
	c.tick()
	ann.wantHeard("P20", "bob offline")
	here, there := ann.query("bob"), testkit.Must(b.presence.Get(t.Context(), "ann", "bob"))
	if show(here) != "bob offline true true" || !sameTimes(here, there) {
		t.Errorf("rule P24: the times of bob are %+v here and %+v there", here, there)
	}
	r := a.store.of("bob")
	if !sameTimes(here, []presence.Presence{{LastOnline: r.LastOnline, LastSeen: r.LastSeen}}) {
		t.Errorf("rule P27: stored is %+v, told %+v", r, here)
	}
}

// sameTimes compares times as they are told, in milliseconds.
func sameTimes(a, b []presence.Presence) bool {
	return slices.EqualFunc(a, b, func(a, b presence.Presence) bool {
		return a.LastOnline.UnixMilli() == b.LastOnline.UnixMilli() && a.LastSeen.UnixMilli() == b.LastSeen.UnixMilli()
	})
}

// Rules P19 and P20: two devices of a user on two nodes have one state, and only the last one's end is told.
func TestDevicesOnTwoNodesAreOneUser(t *testing.T) {
	c := newNodes(t, 3)
	a, b, other := c.all[0], c.all[1], c.all[2]
	ann := other.logOn("ann")
	ann.watch()
	phone := a.logOn("bob")
	phone.watch()
	c.tick()
	ann.wantHeard("P20", "bob online")
	tablet := b.logOn("bob")
	tablet.watch()
	c.tick()
	ann.wantHeard("P20", "")
	tablet.set(presence.Busy)
	c.tick()
	ann.wantHeard("P20", "bob busy")
	phone.wantHeard("P19", "ann online] [bob busy")
	tablet.wantHeard("P19", "bob busy")
	phone.set(presence.Stealth)
	c.tick()
	ann.wantHeard("P20", "bob offline")
	tablet.wantHeard("P19", "bob stealth")
	if r := a.store.of("bob"); r.Wanted != presence.Stealth {
		t.Errorf("rule P19: %v is stored", r.Wanted)
	}
	tablet.set(presence.Online)
	c.tick()
	ann.wantHeard("P20", "bob online")
	phone.leave()
	a.gone("bob")
	c.tick()
	ann.wantHeard("P20", "")
	tablet.leave()
	b.gone("bob")
	c.tick()
	ann.wantHeard("P20", "bob offline")
	for _, n := range c.all {
		if users := n.presence.Stats().Users; users > 2 { // ann, and bob while a choice is told
			t.Errorf("%d users are in memory", users)
		}
	}
}

// Rule P23: a device that logs on in Stealth hides the user on the other nodes too.
func TestALogonInStealthHidesTheOtherNodesDevice(t *testing.T) {
	c := newNodes(t, 2)
	ann := c.all[0].logOn("ann")
	ann.watch()
	c.all[0].logOn("bob")
	c.tick()
	ann.wantHeard("P20", "bob online")
	c.all[1].logOn("bob", "presence", "stealth")
	c.tick()
	ann.wantHeard("P23", "bob offline")
	if got := c.all[1].presence.Visible("bob"); got != presence.Offline {
		t.Errorf("rule P23: bob is %v", got)
	}
}

// Rule P20: a user who moves to another node has not gone, also while that node could not say yet that the user is there.
func TestAUserWhoMovesIsNotToldToGo(t *testing.T) {
	c := newNodesWith(t, 2, time.Hour)
	a, b := c.all[0], c.all[1]
	ann := a.logOn("ann")
	ann.watch()
	a.logOn("bob")
	device := a.dialled
	c.tick()
	ann.wantHeard("P20", "bob online")
	c.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool { return frame[0] == frameTell })
	b.dialled = device - 1
	b.logOn("bob")
	a.gone("bob")
	a.tick()
	b.settle()
	c.mesh.Lose(nil)
	a.logOn("ann") // each node tells something that the other can hear
	b.logOn("carol")
	c.tick()
	ann.wantHeard("P20", "carol online")
}

// frameTell is the first byte of frames of services.
const frameTell = 17

// Rule P20: users of a node that has died are told to have gone, on the other nodes.
func TestUsersOfANodeThatHasDiedAreGone(t *testing.T) {
	c := newNodes(t, 2)
	ann := c.all[0].logOn("ann")
	ann.watch()
	c.all[1].logOn("bob")
	c.tick()
	ann.wantHeard("P20", "bob online")
	dead := c.all[1]
	dead.cut.Store(true)
	c.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
	testkit.Eventually(t, "bob is seen to go", func() bool { return c.all[0].presence.Visible("bob") == presence.Offline })
	c.all[0].tick()
	ann.wantHeard("P20", "bob offline")
	if r := c.all[0].store.of("bob"); r.LastSeen.IsZero() {
		t.Error("rule P24: it is not stored when bob was last seen")
	}
}

// Rule P21: a node that comes later knows who is online, and one that leaves takes its users along.
func TestANodeThatComesLaterKnowsTheUsers(t *testing.T) {
	c := newNodes(t, 1)
	c.all[0].logOn("bob", "presence", "busy")
	c.all[0].logOn("carol", "presence", "stealth")
	c.all[0].tick()
	late := c.add()
	c.agree()
	ann := late.logOn("ann")
	late.tick()
	if got := ann.watch(); got != "bob busy" {
		t.Errorf("rule P22: ann is told of %q", got)
	}
	c.all[0].end()
	testkit.Eventually(t, "bob is seen to go", func() bool { return late.presence.Visible("bob") == presence.Offline })
	late.tick()
	ann.wantHeard("P20", "bob offline")
}

// Rule P21: what is lost between two nodes is told later.
func TestWhatIsLostBetweenNodesIsToldLater(t *testing.T) {
	c := newNodes(t, 2)
	ann := c.all[0].logOn("ann")
	ann.watch()
	bob, carol := c.all[1].logOn("bob"), c.all[1].logOn("carol")
	c.tick()
	ann.wantHeard("P20", "bob online, carol online")
	c.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
	bob.set(presence.Stealth)
	carol.leave()
	c.all[1].gone("carol")
	c.all[1].logOn("dave")
	c.all[1].friends.unfriend("ann", "eve", true)
	c.all[1].tick()
	c.mesh.Lose(nil)
	c.tick()
	ann.wantHeard("P21", "bob offline, carol offline] [dave online")
}

// Rule P20: users on other nodes too are told what follows when their contacts have changed.
func TestContactsThatChangeAreToldOnAllNodes(t *testing.T) {
	c := newNodes(t, 2)
	ann := c.all[0].logOn("ann")
	ann.watch()
	c.all[1].logOn("bob")
	c.tick()
	ann.wantHeard("P20", "bob online")
	for i, want := range []string{"bob offline", "bob online"} {
		c.all[1].friends.unfriend("ann", "bob", i == 0)
		c.all[1].presence.ContactsChanged("ann", "bob", strings.Repeat("x", 1000))
		c.tick()
		ann.wantHeard("P20", want)
	}
}
