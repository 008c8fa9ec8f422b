package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Node is one process in a cluster. It is the Claims of the process's user manager (usermgr.Config.Claims). All nodes of a cluster must
// have user managers with the same RelogonMode and Devices: a node with others does not join. Make one with New.
type Node struct {
	cfg    Config
	dir    Directory
	mesh   Mesh
	routed Addressed // the mesh, if it needs to know where the nodes are
	detour *detour   // the mesh, if it has two ways
	log    *zap.Logger
	now    func() time.Duration
	users  atomic.Pointer[usermgr.Manager]
	policy seam.Policy // set by UseManager
	local  seam.Users  // set by UseManager
	ran    atomic.Bool

	tallies tallies

	// lease says until when the node acts, by its clock; it is over while the node does not act. The engine looks at it too.
	lease    *seam.Lease
	floor    atomic.Uint64 // the highest version that the node knows
	renewNow chan struct{} // tells keepLease to renew at once

	// mu is the node's only lock. No other lock is taken, and no method of Directory, Mesh or Manager is called, while it is held.
	mu    sync.Mutex
	stage stage
	me    Incarnation
	epoch string // of the store, as the last durable renewal saw it; "" while the store recovers or the node is outside
	// readyIn is the last epoch in which the node has written its sessions again and has told the store that it is ready.
	readyIn string
	view    View // of the last durable renewal of an armed store
	// returning says that the node has come back from cutOff, and that no renewal has counted since.
	returning bool
	floorThen Version // the store's floor, by the last renewal that counted
	floorAt   time.Duration
	// The store may have lost what has happened to entries that are not above recovered: its floor when the node first saw it in the present epoch.
	recovered   Version
	recoveredIn string // that epoch
	seen        map[Incarnation]sighting
	claims      map[uuid.UUID]*claim // from before the first swap until Disconnected's handlers have returned
	asks        map[uuid.UUID][]chan answer
	rivals      map[uuid.UUID]frame // which ask for the ends of sessions elsewhere: see askRivals
	peers       map[Incarnation]*peer
	// changed is closed, and replaced, when stage, epoch or view change and when the last claim is over.
	changed    chan struct{}
	release    releases
	doubts     []doubt      // of former lives
	changes    []*barChange // that are not in the store yet
	lonelyBars lonelyBars
	graces     graces
	audits     audits
	engines    []seam.Lessee // those whose connections' users are the user manager's

	// For messages to users elsewhere.
	bridges   []seam.LocalSessions // never changed once stored
	life      context.Context      // begins when the node acts, and ends before Run waits for work; nil while no message may leave
	endLife   context.CancelFunc
	work      sync.WaitGroup // the looks
	locations locations
	news      news
	looks     map[string]*look // users who are being looked up
	toLook    []string         // those among them whose look has not begun
	looking   int              // looks that run
	unsent    int              // bytes of the messages that wait for a look
	seq       uint64           // the number of the last frame with a message
	waits     waits
	arrivals  arrivals

	details   details
	userCount *userCount // the last count of the store's users; nil for none

	// For questions to other nodes.
	lastQuestion uint64
	questions    map[uint64]chan<- reply
	answering    answering
	refusals     refusals
	pushes       []*push.Service // never changed once stored
	kept         []seam.Kept     // of pushes; never changed once stored
	hearers      []*hearer       // never changed once stored
	others       []uint32        // the nodes that live but for this one, as the hearers were told last; never changed once stored
	keeping      keeping
}

// stage is what a node may do.
type stage uint8

const (
	outside  stage = iota // it has not joined
	acting                // it has joined, and its lease is renewed
	stopping              // Run's context has ended: sessions end, no logon comes in
	fenced                // its lease is over, or it was buried
	cutOff                // it acts without the store: see StoreLost
)

var (
	_ usermgr.Claims   = (*Node)(nil)
	_ seam.ManagerUser = (*Node)(nil)
)

// New returns a node that has not joined yet, or an error that names the invalid setting.
func New(cfg Config) (*Node, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	routed, _ := cfg.Mesh.(Addressed)
	twoWays, _ := cfg.Mesh.(*detour)
	return &Node{
		cfg: cfg, dir: cfg.Directory, mesh: cfg.Mesh, routed: routed, detour: twoWays, log: logging.OrDefault(cfg.Logger), now: cfg.now,
		lease: seam.NewLease(cfg.now), renewNow: make(chan struct{}, 1), changed: make(chan struct{}),
		claims: make(map[uuid.UUID]*claim), asks: make(map[uuid.UUID][]chan answer),
		peers: make(map[Incarnation]*peer), seen: make(map[Incarnation]sighting), looks: make(map[string]*look),
		questions: make(map[uint64]chan<- reply), details: details{wake: make(chan struct{}, 1)},
		locations: locations{most: cfg.Locations, ttl: cfg.LocationTTL}, news: newNews(&cfg),
	}, nil
}

// UseManager is called by usermgr.New, for the user manager that has the node as its Claims. Programs do not call it.
func (n *Node) UseManager(users any, p seam.Policy) {
	n.policy, n.local = p, seam.UsersOf(users)
	if !n.users.CompareAndSwap(nil, users.(*usermgr.Manager)) {
		panic("rollcall: a cluster.Node is the Claims of two user managers")
	}
	n.users.Load().Subscribe(usermgr.Events{Connected: n.userConnected, Disconnected: n.sessionEnded})
}

// Run joins the cluster and keeps the node in it until ctx ends. Then the node's sessions end with ServerStopping, evenly over
// engine.Timeouts.StopWindow, and the node leaves when their Disconnected handlers have returned, or after Config.Renew.
//
// A node that was cut off for too long ends its sessions at once, with NodeLost; their clients are told to come back over StopWindow. It
// joins anew when no message handler of theirs runs. While it is not in the cluster all logons are refused. With Config.StoreLost Open the
// node goes on instead.
//
// Run returns an error when the node cannot join because of its settings. Close the user manager after Run has returned, or before ctx
// ends.
func (n *Node) Run(ctx context.Context) error {
	if n.users.Load() == nil {
		return errors.New("rollcall: no user manager has the node as its Claims: set usermgr.Config.Claims")
	}
	if n.ran.Swap(true) {
		return errors.New("rollcall: Run was called twice")
	}
	defer logging.End(n.log)
	if n.cfg.Details > 0 {
		defer n.subscribeDetails(n.users.Load())()
	}
	if n.cfg.Events.NodeJoined != nil || n.cfg.Events.NodeGone != nil {
		telling, stop := context.WithCancel(context.Background())
		var teller sync.WaitGroup
		teller.Go(func() { n.tellNodes(telling) })
		defer teller.Wait()
		defer stop()
	}
	var former []*membership
	defer func() {
		for _, m := range former {
			m.close()
		}
	}()
	var last *membership
	for {
		m, err := n.join(ctx, last)
		if err != nil || m == nil { // nil: ctx has ended
			n.endCutOff(ctx)
			return err
		}
		if m != last {
			former, last = append(former, m), m
		}
		n.serve(ctx, m)
		if ctx.Err() != nil {
			n.endCutOff(ctx)
			return nil
		}
		goesOn := n.isCutOff()
		for len(former) > 0 && n.allReleased(former[0].me) && !(goesOn && former[0] == last) { // others may still ask a former incarnation
			former[0].close()
			former = former[1:]
		}
	}
}

// membership is one incarnation of the node.
type membership struct {
	me    Incarnation
	close func() // has the mesh deliver its frames no longer
}

// May reports whether the node acts: whether it has joined and its lease is not over. A program asks it before an effect that must not
// come from two nodes at once; see also SessionInfo.Generation.
func (n *Node) May() bool { return !n.lease.Over() }

// Joined returns when the node is in the cluster and may act, or with ctx's error.
func (n *Node) Joined(ctx context.Context) error {
	n.await(ctx, func() bool { return n.stage == acting && n.May() })
	if n.May() {
		return nil
	}
	return ctx.Err()
}

// Incarnation returns the number of the node's present life in the cluster, or of its last one; 0 before the first. Whether the node acts
// is what May says.
func (n *Node) Incarnation() Incarnation {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.me
}

// lifeIsOver reports whether the node's present life is over, although its sessions may go on.
func (n *Node) lifeIsOver() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stage == fenced || n.stage == cutOff
}

// hasSessions reports whether the sessions of the present life are the node's to end and to release. n.mu is held on entry.
func (n *Node) hasSessions() bool {
	return n.stage == acting || n.stage == stopping || n.stage == cutOff
}

// broadcast wakes those that wait for a change. n.mu is held on entry.
func (n *Node) broadcast() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// wake has the lease renewed at once.
func (n *Node) wake() {
	select {
	case n.renewNow <- struct{}{}:
	default:
	}
}

// raiseFloor notes a version.
func (n *Node) raiseFloor(v Version) {
	for old := n.floor.Load(); old < uint64(v) && !n.floor.CompareAndSwap(old, uint64(v)); old = n.floor.Load() {
	}
}

// isDead reports whether an incarnation was buried, or has left, as a durable renewal at an armed store has seen. Dead is for good.
// n.mu is held on entry.
func (n *Node) isDead(inc Incarnation) bool {
	for _, m := range n.view.Members {
		if m.Incarnation == inc {
			return m.Dead
		}
	}
	return inc < n.view.highest() // one that is above has joined since
}

// sleep returns when d has passed or ctx has ended.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// refusal is the answer to a logon that may come again.
func refusal(text string, retry time.Duration) error {
	e := &protocol.CloseError{Code: protocol.InternalError, Text: text}
	if retry > 0 {
		e.Info = map[string]string{"retry-ms": retryText(retry)}
	}
	return e
}
