package cluster_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/clustertest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	lease = 20 * time.Second
	renew = 4 * time.Second
)

// world is a cluster in a synctest bubble, in whose time all goes on.
type world struct {
	t     *testing.T
	store *memory.Directory
	mesh  *memory.Mesh
	log   *clustertest.Log
	nodes []*member
	conns atomic.Uint64
	cfg   usermgr.Config
	way   cluster.Mesh // of nodes that are added; nil for mesh

	change func(*cluster.Config) // of nodes that are added; nil for none
	lost   cluster.StoreLost     // of nodes that are added
	rate   float64               // of the clocks of nodes that are added; 0 for that of the bubble
}

// member is one node with its user manager.
type member struct {
	*cluster.Node
	name     string
	users    *usermgr.Manager
	sessions *sessions
	end      context.CancelFunc
	ended    chan error

	losable atomic.Bool // the node's renewals do not count: the store could lose them

	mu     sync.Mutex
	faults memory.Faults
	swept  []cluster.Swept
}

// newWorld returns a cluster of so many nodes, which have joined.
func newWorld(t *testing.T, nodes int, cfg usermgr.Config) *world {
	w := &world{t: t, store: memory.New(), mesh: memory.NewMesh(), cfg: cfg}
	w.log = clustertest.NewLog(exclusion(cfg.Devices))
	for range nodes {
		w.addNode()
	}
	w.awaitNodes()
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.stop(t)
		}
		for _, n := range w.nodes {
			if err := n.users.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
		w.log.Check(t)
	})
	return w
}

func (w *world) addNode() *member { return w.addNodeWith(memory.Faults{}) }

// addNodeWith is addNode for a node whose way to the store has faults from the start.
func (w *world) addNodeWith(f memory.Faults) *member {
	n := &member{name: string(rune('a' + len(w.nodes))), ended: make(chan error, 1), faults: f}
	store := w.store.With(memory.Faults{
		Before: func(ctx context.Context, op string) error { return n.fail(ctx, op, n.fault().Before) },
		After:  func(ctx context.Context, op string) error { return n.fail(ctx, op, n.fault().After) },
	})
	mesh := w.way
	if mesh == nil {
		mesh = w.mesh
	}
	cfg := cluster.Config{Directory: losing{store.(cluster.DetailStore), n}, Mesh: mesh, Name: n.name, Lease: lease, Renew: renew, Logger: zap.NewNop()}
	cfg.StoreLost = w.lost
	if w.change != nil {
		w.change(&cfg)
	}
	cfg.Events.Swept = func(s cluster.Swept) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.swept = append(n.swept, s)
	}
	n.Node = testkit.Must(cluster.New(cfg.InBubbleAt(cmp.Or(w.rate, 1))))
	users := w.cfg
	users.Claims, users.HeartbeatTimeout, users.Logger = n.Node, -1, zap.NewNop()
	n.users = testkit.Must(usermgr.New(users))
	n.sessions = &sessions{users: n.users, node: n.name}
	if err := n.UseBridge(n.users, n.sessions); err != nil {
		w.t.Fatal(err)
	}
	n.users.Subscribe(w.log.Events(n.name, n))
	ctx, end := context.WithCancel(context.Background())
	n.end = end
	go func() { n.ended <- n.Run(ctx) }()
	w.nodes = append(w.nodes, n)
	return n
}

func (n *member) stop(t testing.TB) {
	n.end()
	if err := <-n.ended; err != nil {
		t.Error(err)
	}
	n.ended <- nil
}

// endedByPolicy waits until Run has refused to join a cluster with another policy.
func (n *member) endedByPolicy(t testing.TB) {
	t.Helper()
	if err := <-n.ended; err == nil || !strings.Contains(err.Error(), "Devices") {
		t.Errorf("the node ended with %v", err)
	}
	n.ended <- nil
}

// has reports whether a node has a session.
func (n *member) has(s usermgr.Session) bool {
	_, ok := n.users.Session(s.ID())
	return ok
}

// generation returns the generation of a session that the node has.
func (n *member) generation(s usermgr.Session) cluster.Version {
	i, _ := n.users.Session(s.ID())
	return cluster.Version(i.Generation)
}

func (w *world) awaitNodes() {
	w.t.Helper()
	w.await("all nodes are in the cluster", func() bool {
		return !slices.ContainsFunc(w.nodes, func(n *member) bool { return !n.May() })
	})
}

// awaitRecovery waits until the nodes have found that the store has lost something, or all, and it has recovered for a node.
func (w *world) awaitRecovery(n *member) {
	w.t.Helper()
	w.await("the store has recovered", func() bool { return n.Stats().Recoveries > 0 && n.IsHealed(w.alive()) })
}

// restartAgain empties the store, and waits until a node has found that and that it has recovered.
func (w *world) restartAgain(n *member) {
	w.t.Helper()
	recoveries := n.Stats().Recoveries
	w.store.Restart()
	w.await("the store recovers again", func() bool { return n.Stats().Recoveries > recoveries })
	w.await("the store has recovered again", func() bool { return !n.Stats().Recovering })
}

// alive returns the nodes' present lives.
func (w *world) alive() (all []cluster.Incarnation) {
	for _, n := range w.nodes {
		all = append(all, n.Incarnation())
	}
	return all
}

// awaitAnswers waits until the questions of newcomers are answered: they ask what is refused.
func (w *world) awaitAnswers() {
	w.t.Helper()
	synctest.Wait()
	w.await("all questions are answered", func() bool {
		return !slices.ContainsFunc(w.nodes, func(n *member) bool { return n.Asks() })
	})
}

// await waits, in the bubble's time, at most two minutes.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	if !testkit.ComesTrue(2*time.Minute, ok) {
		w.t.Fatalf("not in time: %s\n%s", what, w.log)
	}
}

// logOn logs a user on at a node, within the deadline of a logon.
func (w *world) logOn(n *member, l usermgr.Logon) (usermgr.Session, error) {
	return w.logOnWithin(n, l, 10*time.Second)
}

// logOnWithin is logOn for a client that waits no longer than this.
func (w *world) logOnWithin(n *member, l usermgr.Logon, d time.Duration) (usermgr.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return n.users.Register(ctx, l, link(w.conns.Add(1)))
}

// mustLogOn is logOn for a logon that must come in.
func (w *world) mustLogOn(n *member, user string, device uint16) usermgr.Session {
	w.t.Helper()
	s, err := w.logOn(n, usermgr.Logon{UserID: user, Device: device})
	if err != nil {
		w.t.Fatalf("%s was refused at %s: %v\n%s", user, n.name, err, w.log)
	}
	return s
}

// awaitLogOn has a user come again until the node lets the user in.
func (w *world) awaitLogOn(n *member, user string) {
	w.t.Helper()
	w.await(user+" comes in at "+n.name, func() bool {
		_, err := w.logOn(n, usermgr.Logon{UserID: user})
		return err == nil
	})
}

// at returns at which nodes a user has sessions, as a node finds it in the store.
func (w *world) at(n *member, user string) string {
	w.t.Helper()
	places, err := n.Where(context.Background(), user)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, p := range places {
		for _, o := range w.nodes {
			if o.Incarnation() == p.Incarnation {
				names = append(names, o.name)
			}
		}
	}
	return strings.Join(names, " ")
}

// happened fails the test unless this has happened since the last call, in this order.
func (w *world) happened(want ...string) {
	w.t.Helper()
	if got := w.log.Take(); !slices.Equal(got, want) {
		w.t.Errorf("it happened:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// settled waits until nothing is left to be removed, and holds the store, and what was told, against the nodes.
func (w *world) settled() {
	w.t.Helper()
	synctest.Wait()
	defer func() {
		if w.t.Failed() && len(w.differing()) > 0 {
			w.t.Log(w.differs())
		}
	}()
	w.await("the store has the sessions of the nodes, and no others, and each user is told to be online or offline", func() bool {
		return len(w.differing()) == 0
	})
}

// haves returns how many sessions the nodes have, by user.
func (w *world) haves() map[string]int {
	have := make(map[string]int)
	for _, n := range w.nodes {
		for s := range n.users.Sessions(usermgr.Filter{}) {
			have[s.UserID]++
		}
	}
	return have
}

// differing returns the users of whom the store, or what was told, differs from the nodes; each with what differs.
func (w *world) differing() map[string]string {
	have := w.haves()
	stored := make(map[string]int)
	w.entries(func(user string, node *member) {
		if node != nil {
			stored[user]++
		}
	})
	all := make(map[string]string)
	for _, user := range w.usersOf(have, stored) {
		if online, data := w.log.IsOnline(user); stored[user] != have[user] || online != (have[user] > 0) {
			all[user] = fmt.Sprintf("of %s the store has %d sessions, the nodes have %d, and it is told to be online: %v, version %d",
				user, stored[user], have[user], online, data.Version)
		}
	}
	return all
}

// differs says in what the store, and what was told, differ from the nodes; "" for nothing.
func (w *world) differs() string {
	var all []string
	for user, what := range w.differing() {
		all = append(all, what, cluster.DecodeText(testkit.Must(w.store.Look(context.Background(), user))[0]))
		for _, n := range w.nodes {
			all = append(all, fmt.Sprintf("%s is %d, and removes entries of %v", n.name, n.Incarnation(), n.Releasing()))
		}
		all = append(all, w.log.Of(user))
	}
	return strings.Join(all, "\n")
}

// usersOf returns the users in these, and those of whom something was told.
func (w *world) usersOf(in ...map[string]int) []string {
	all := w.log.Users()
	for _, m := range in {
		all = slices.AppendSeq(all, maps.Keys(m))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// entries calls f for each entry in the store, with the node in whose present life it was written; nil for none.
func (w *world) entries(f func(user string, node *member)) {
	for from, first := "", true; first || from != ""; first = false {
		l := testkit.Must(w.store.Walk(context.Background(), from, 100))
		for _, r := range l.Records {
			nodes, _ := cluster.Decode(r)
			for _, inc := range nodes {
				var node *member
				if i := slices.IndexFunc(w.nodes, func(n *member) bool { return n.Incarnation() == inc }); i >= 0 {
					node = w.nodes[i]
				}
				f(r.User, node)
			}
		}
		from = l.Next
	}
}

// noMarks waits until the store has one session of a user, which no logon excludes.
func (w *world) noMarks(user string) {
	w.t.Helper()
	w.settled()
	records := testkit.Must(w.store.Look(context.Background(), user))
	if nodes, ending := cluster.Decode(records[0]); len(nodes) != 1 || ending[0] {
		w.t.Errorf("the store has sessions at %v, ending: %v", nodes, ending)
	}
}

// codeOf returns the code of a refused logon.
func codeOf(err error) protocol.CloseCode {
	var ce *protocol.CloseError
	if errors.As(err, &ce) {
		return ce.Code
	}
	return 0
}

// exclusion says which devices the policy does not let live side by side, whatever the number.
func exclusion(d usermgr.Devices) func(a, b uint16) bool {
	switch {
	case d.OnePerClass:
		return func(a, b uint16) bool { return a == b }
	case d.MaxSessions > 1:
		return func(a, b uint16) bool { return a == b && a != 0 }
	}
	return func(a, b uint16) bool { return true }
}
