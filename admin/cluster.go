package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Cluster tells of all nodes, and throws out on all. A *cluster.Node is one, which documents the methods; the interface lets a program that is
// no node do without the package.
type Cluster interface {
	// Stats returns the node's figures, and asks no other.
	Stats() cluster.Stats
	// Nodes asks each node for its counts and lease.
	Nodes(ctx context.Context) (cluster.Answer[[]cluster.NodeInfo], error)
	// Count asks the store for the users, and the nodes for the sessions.
	Count(ctx context.Context) (cluster.Answer[cluster.Counts], error)
	// Sessions returns a user's sessions on all nodes.
	Sessions(ctx context.Context, userID string) (cluster.Answer[[]cluster.SessionAt], error)
	// SessionPage returns a page of the sessions of all nodes, node by node.
	SessionPage(ctx context.Context, q usermgr.PageQuery) (cluster.Answer[usermgr.Page[cluster.SessionAt]], error)
	// Kick throws a user out of all nodes, and waits for the outcomes.
	Kick(ctx context.Context, userID string, o *usermgr.KickOptions) (cluster.Answer[[]usermgr.Kicked], error)
	// Unban ends a user's ban on all nodes.
	Unban(ctx context.Context, userID string) (cluster.Answer[bool], error)
}

// clusterPatience is how long a question to all nodes may take. A node that does not answer is given up earlier: see
// cluster.Config.QueryTimeout.
const clusterPatience = 10 * time.Second

// clusterView is what this node knows of its cluster without asking.
type clusterView struct {
	Nodes      int     `json:"nodes"` // that live
	Acts       bool    `json:"acts"`  // this node is in the cluster
	Recovering bool    `json:"recovering"`
	StoreLost  bool    `json:"storeLost"`
	LeaseLeft  float64 `json:"leaseLeft"` // seconds; 0 or less where the node does not act, or acts without the store
}

// clusterNow returns what this node knows; nil without a cluster.
func (a *Admin) clusterNow() *clusterView {
	if a.cfg.Cluster == nil {
		return nil
	}
	s := a.cfg.Cluster.Stats()
	return &clusterView{s.Nodes, s.Acts, s.Recovering, s.StoreLost, s.LeaseLeft.Seconds()}
}

// ofAll is in each answer that other nodes were asked for.
type ofAll struct {
	Missing []string  `json:"missing"` // the names of nodes that live and have not answered: what they know is not there
	AsOf    time.Time `json:"asOf"`
}

func newOfAll(missing []string, asOf time.Time) ofAll {
	return ofAll{append([]string{}, missing...), asOf}
}

// nodesView are the nodes, with their counts.
type nodesView struct {
	Nodes    []nodeView `json:"nodes"`
	Users    int        `json:"users"`           // by the store, each once
	Sessions int        `json:"sessions"`        // of the nodes that have answered
	Error    string     `json:"error,omitempty"` // why the store has not told the users
	ofAll
}

type nodeView struct {
	Name      string  `json:"name"`
	Number    uint32  `json:"number"` // its incarnation
	Users     int     `json:"users"`
	Sessions  int     `json:"sessions"`
	LeaseLeft float64 `json:"leaseLeft"` // seconds
	StoreLost bool    `json:"storeLost"`
}

// sessionAt is a session and its node.
type sessionAt struct {
	session
	Node string `json:"node"`
}

// nodesSessionsView are sessions of all nodes.
type nodesSessionsView struct {
	Sessions []sessionAt `json:"sessions"`
	Next     string      `json:"next"`
	ofAll
}

// asks answers where there is no cluster, and otherwise returns a context for questions to it.
func (a *Admin) asks(c *call) (ctx context.Context, done context.CancelFunc) {
	if a.cfg.Cluster == nil {
		c.fail(http.StatusNotFound, "admin.Config.Cluster is not set, so that no other node is known")
		return nil, nil
	}
	return context.WithTimeout(c.Context(), clusterPatience)
}

// nodes answers with all nodes.
func (a *Admin) nodes(c *call) {
	ctx, done := a.asks(c)
	if ctx == nil {
		return
	}
	defer done()
	counted := make(chan struct{})
	var users cluster.Answer[cluster.Counts]
	var usersErr error
	go func() {
		defer close(counted)
		users, usersErr = a.cfg.Cluster.Count(ctx)
	}()
	all, err := a.cfg.Cluster.Nodes(ctx)
	<-counted
	if err != nil {
		c.fail(http.StatusBadGateway, "the cluster: "+err.Error())
		return
	}
	v := nodesView{Nodes: []nodeView{}, Users: users.Value.Users, ofAll: newOfAll(all.Missing, all.AsOf)}
	if usersErr != nil {
		v.Error = usersErr.Error()
	}
	for _, n := range all.Value {
		v.Sessions += n.Sessions
		v.Nodes = append(v.Nodes, nodeView{n.Name, uint32(n.Incarnation), n.Users, n.Sessions, n.LeaseLeft.Seconds(), n.StoreLost})
	}
	c.answer(v)
}

// nodesSessions answers with a user's sessions on all nodes, or with a page of all sessions, node by node.
func (a *Admin) nodesSessions(c *call) {
	limit, ok := c.number("limit", 100, 1, 1000)
	if !ok {
		return
	}
	ctx, done := a.asks(c)
	if ctx == nil {
		return
	}
	defer done()
	var found []cluster.SessionAt
	var v nodesSessionsView
	var err error
	if user := c.param("user"); user != "" {
		var one cluster.Answer[[]cluster.SessionAt]
		one, err = a.cfg.Cluster.Sessions(ctx, user)
		found, v.ofAll = one.Value, newOfAll(one.Missing, one.AsOf)
	} else {
		var page cluster.Answer[usermgr.Page[cluster.SessionAt]]
		page, err = a.cfg.Cluster.SessionPage(ctx, usermgr.PageQuery{Cursor: c.param("cursor"), Limit: limit})
		found, v.Next, v.ofAll = page.Value.Items, page.Value.Next, newOfAll(page.Missing, page.AsOf)
	}
	switch {
	case errors.Is(err, usermgr.ErrBadQuery):
		c.fail(http.StatusBadRequest, err.Error())
		return
	case err != nil:
		c.fail(http.StatusBadGateway, "the cluster: "+err.Error())
		return
	}
	v.Sessions = make([]sessionAt, len(found))
	for i := range found {
		v.Sessions[i] = sessionAt{a.plainView(&found[i].SessionInfo), found[i].Node}
	}
	c.answer(v)
}
