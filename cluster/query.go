package cluster

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/usermgr"
)

// SessionAt is a session and where it is. It has neither the session's ID nor its token, which are secrets.
type SessionAt struct {
	Node string // the node's name, or "node" and its number where it has none
	usermgr.SessionInfo
}

// Counts are how many users and sessions a cluster has.
type Counts struct {
	// Users is the number of users in the store: those who are online, those within usermgr.Config.OfflineGrace, and for some seconds
	// those of a node that has died. It is at most a second old.
	Users int
	// Sessions are the live sessions of the nodes that have answered, and Devices those of each device class: see usermgr.Stats.
	Sessions int
	Devices  map[uint16]int
}

// Sessions returns a user's sessions on all nodes, the oldest first. It looks the user up in the store, and asks the nodes where the user
// is. While the store recovers, or if the user's record is malformed, it asks all nodes. Its error is that of the store, or a protocol.InternalError while the node is not in the
// cluster.
func (n *Node) Sessions(ctx context.Context, userID string) (Answer[[]SessionAt], error) {
	a := Answer[[]SessionAt]{AsOf: time.Now()}
	if !n.inCluster() {
		return a, errLost
	}
	places, err := n.Where(ctx, userID)
	untold := errors.Is(err, ErrRecovering) || err == errMalformed
	if err != nil && !untold {
		return a, err
	}
	meant := func(inc Incarnation) bool {
		return untold || slices.ContainsFunc(places, func(p Place) bool { return p.Incarnation == inc })
	}
	a.Value = n.sessionsOf(userID)
	a.Missing = n.askSome(ctx, querySessions, []byte(userID), meant, func(body []byte) {
		var there []SessionAt
		if fromJSON(n, body, &there) {
			a.Value = append(a.Value, there...)
		}
	})
	slices.SortStableFunc(a.Value, func(x, y SessionAt) int { return cmp.Compare(x.Generation, y.Generation) })
	return a, ctx.Err()
}

func (n *Node) answerSessions(_ context.Context, body []byte) []byte {
	return toJSON(n, n.sessionsOf(string(body)))
}

// sessionsOf returns the user's sessions on this node.
func (n *Node) sessionsOf(userID string) (here []SessionAt) {
	u, _ := n.users.Load().User(userID)
	return n.at(u.Sessions)
}

// at says that sessions are on this node, and leaves out their secrets.
func (n *Node) at(sessions []usermgr.SessionInfo) (here []SessionAt) {
	n.mu.Lock()
	name := nameOf(&MemberState{Incarnation: n.me, Member: Member{Name: n.cfg.Name}})
	n.mu.Unlock()
	for _, s := range sessions {
		s.ID, s.Token = "", ""
		here = append(here, SessionAt{name, s})
	}
	return here
}

// NodeInfo is what a node tells of itself.
type NodeInfo struct {
	Name        string // as in Answer.Missing
	Incarnation Incarnation
	Users       int // with a session on this node, or in a grace there
	Sessions    int
	LeaseLeft   time.Duration // how long the node acts without another renewal: see Stats
	StoreLost   bool          // it goes on without the store: see Stats
}

// Nodes returns what each node tells of itself, by name. The error is that of ctx, or a protocol.InternalError while the node is not in
// the cluster.
func (n *Node) Nodes(ctx context.Context) (Answer[[]NodeInfo], error) {
	a := Answer[[]NodeInfo]{AsOf: time.Now()}
	if !n.inCluster() {
		return a, errLost
	}
	a.Value = append(a.Value, n.info())
	a.Missing = n.askAll(ctx, queryInfo, nil, func(body []byte) {
		var there NodeInfo
		if fromJSON(n, body, &there) {
			a.Value = append(a.Value, there)
		}
	})
	slices.SortFunc(a.Value, func(x, y NodeInfo) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Incarnation, y.Incarnation))
	})
	return a, ctx.Err()
}

// info returns what this node tells of itself.
func (n *Node) info() NodeInfo {
	s, u := n.Stats(), n.users.Load().Stats()
	n.mu.Lock()
	defer n.mu.Unlock()
	me := MemberState{Incarnation: n.me, Member: Member{Name: n.cfg.Name}}
	return NodeInfo{Name: nameOf(&me), Incarnation: n.me, Users: u.Users, Sessions: u.Sessions, LeaseLeft: s.LeaseLeft, StoreLost: s.StoreLost}
}

func (n *Node) answerInfo(context.Context, []byte) []byte { return toJSON(n, n.info()) }

// Count returns how many users and sessions there are on all nodes. Its error is that of the store, with the sessions that are known, or a
// protocol.InternalError while the node is not in the cluster.
func (n *Node) Count(ctx context.Context) (Answer[Counts], error) {
	var a Answer[Counts]
	if !n.inCluster() {
		return a, errLost
	}
	var err error
	if a.Value.Users, a.AsOf, err = n.countUsers(ctx); err != nil {
		a.AsOf = time.Now()
	}
	add := func(s *sessionCounts) {
		a.Value.Sessions += s.Sessions
		for class, number := range s.Devices {
			if a.Value.Devices == nil {
				a.Value.Devices = make(map[uint16]int)
			}
			a.Value.Devices[class] += number
		}
	}
	add(n.countSessions())
	a.Missing = n.askAll(ctx, queryStats, nil, func(body []byte) {
		var s sessionCounts
		if fromJSON(n, body, &s) {
			add(&s)
		}
	})
	return a, cmp.Or(err, ctx.Err())
}

// sessionCounts are the sessions of one node.
type sessionCounts struct {
	Sessions int
	Devices  map[uint16]int
}

func (n *Node) countSessions() *sessionCounts {
	s := n.users.Load().Stats()
	return &sessionCounts{s.Sessions, s.Devices}
}

func (n *Node) answerStats(context.Context, []byte) []byte { return toJSON(n, n.countSessions()) }

// userCount is a count of the store's users, which goes on or has ended.
type userCount struct {
	done  chan struct{}
	at    time.Duration // when it began
	when  time.Time
	users int
	err   error
}

// countFor is how long a count is good for: it asks the store for each of its buckets.
const countFor = time.Second

// countUsers counts the store's users, unless that was done within the last second. All that want to know at a time wait for one count.
func (n *Node) countUsers(ctx context.Context) (users int, when time.Time, err error) {
	n.mu.Lock()
	if !n.maySend() {
		n.mu.Unlock()
		return 0, when, errLost
	}
	c := n.userCount
	if c == nil || n.now()-c.at >= countFor {
		c = &userCount{done: make(chan struct{}), at: n.now(), when: time.Now()}
		n.userCount = c
		life := n.life
		n.work.Go(func() {
			call, cancel := context.WithTimeout(life, n.cfg.QueryTimeout)
			defer cancel()
			c.users, c.err = n.dir.Count(call)
			if c.err != nil {
				n.mu.Lock()
				n.userCount = nil // the next one asks again
				n.mu.Unlock()
			}
			close(c.done)
		})
	}
	n.mu.Unlock()
	select {
	case <-c.done:
		return c.users, c.when, c.err
	case <-ctx.Done():
		return 0, when, ctx.Err()
	}
}
