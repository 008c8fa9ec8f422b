package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Kick throws a user out on all nodes, as usermgr.Manager.Kick does on one. It waits until the sessions that o selects have ended, with
// their handlers, or until ctx ends, and returns the outcomes, the oldest session first. Sessions of other nodes are told without their ID
// and token, which are secrets. A ban and revoked tokens are refused on all nodes, and on nodes that join later: it waits until the store says
// so, or has been silent for Config.QueryTimeout.
//
// The error is usermgr.ErrBlankID; usermgr.ErrUnknownID when all nodes have answered, and o selects no session and bans nothing; that of
// ctx, with the outcomes that are known; or a protocol.InternalError while the node is not in the cluster. On the nodes in Missing nothing
// may have happened. Do not call Kick on an event loop, or in an event handler of the user.
func (n *Node) Kick(ctx context.Context, userID string, o *usermgr.KickOptions) (Answer[[]usermgr.Kicked], error) {
	return n.kickAll(ctx, userID, kickOrder{User: userID}, o)
}

// KickSession is Kick for one session, by its ID. All nodes are asked for it.
func (n *Node) KickSession(ctx context.Context, id string, o *usermgr.KickOptions) (Answer[[]usermgr.Kicked], error) {
	return n.KickSessions(ctx, []string{id}, o)
}

// KickSessions is KickSession for many sessions, of any users. It asks each node once for kickPart of them. IDs that no node has are left out;
// the error is usermgr.ErrUnknownID when that are all.
func (n *Node) KickSessions(ctx context.Context, ids []string, o *usermgr.KickOptions) (all Answer[[]usermgr.Kicked], err error) {
	if len(ids) == 0 || slices.Contains(ids, "") {
		return all, usermgr.ErrBlankID
	}
	all.AsOf = time.Now()
	found := false
	for part := range slices.Chunk(ids, kickPart) {
		a, err := n.kickAll(ctx, part[0], kickOrder{Sessions: part}, o)
		all.Value = append(all.Value, a.Value...)
		for _, node := range a.Missing {
			if !slices.Contains(all.Missing, node) {
				all.Missing = append(all.Missing, node)
			}
		}
		if err != nil && !errors.Is(err, usermgr.ErrUnknownID) {
			return all, err
		}
		found = found || err == nil
	}
	if !found {
		return all, usermgr.ErrUnknownID
	}
	sortKicked(all.Value)
	return all, nil
}

// kickPart is how many sessions a node is asked to kick at a time, so that no frame is too large.
const kickPart = 250

// Unban ends a user's ban on all nodes and in the store (usermgr.KickOptions.BanFor). Value says whether the user was banned. On the nodes in
// Missing the user may stay banned. If the store is silent for Config.QueryTimeout, the ban ends there when it is back.
func (n *Node) Unban(ctx context.Context, userID string) (Answer[bool], error) {
	a := Answer[bool]{AsOf: time.Now()}
	if !n.inCluster() {
		return a, errLost
	}
	order := refuseOrder{Unban: userID}
	a.Value = n.refuseHere(&order)
	a.Missing = n.askAll(ctx, queryRefuse, toJSON(n, &order), func(body []byte) {
		var banned bool
		a.Value = fromJSON(n, body, &banned) && banned || a.Value
	})
	// Last: until a node has been told it may write a ban into the store.
	a.Value = n.unbar(ctx, userID) || a.Value
	return a, ctx.Err()
}

// kickOrder is a kick, as JSON. The options' Text goes along.
type kickOrder struct {
	User     string
	Sessions []string // kick these sessions alone; empty for those of User
	Options  usermgr.KickOptions
	Notice   *push.Message `json:",omitempty"` // goes to the sessions on other nodes before they end; nil for none
}

// kickReport is its outcome on one node.
type kickReport struct {
	Kicked []usermgr.Kicked
	Found  bool // the node has the user or session
}

func (n *Node) kickAll(ctx context.Context, id string, k kickOrder, o *usermgr.KickOptions) (a Answer[[]usermgr.Kicked], err error) {
	if id == "" {
		return a, usermgr.ErrBlankID
	}
	if !n.inCluster() {
		return a, errLost
	}
	if o != nil {
		k.Options = *o
	}
	a.AsOf = time.Now()
	var here kickReport
	var local sync.WaitGroup
	own := k
	own.Notice = nil // they have it
	local.Go(func() { here = n.kickHere(ctx, &own) })
	if ban := k.ban(); ban != nil {
		n.refuse(*ban)
		local.Go(func() { n.bar(ctx, k.User, []bar{*ban}) })
	}
	var there []kickReport
	a.Missing = n.askAll(ctx, queryKick, toJSON(n, &k), func(body []byte) {
		var r kickReport
		if fromJSON(n, body, &r) {
			there = append(there, r)
		}
	})
	local.Wait()
	found := false
	for _, r := range append(there, here) {
		a.Value = append(a.Value, r.Kicked...)
		found = found || r.Found
	}
	sortKicked(a.Value)
	if ctx.Err() == nil && !found && len(a.Missing) == 0 && k.Options.BanFor <= 0 {
		return a, usermgr.ErrUnknownID
	}
	return a, ctx.Err()
}

func sortKicked(all []usermgr.Kicked) {
	slices.SortStableFunc(all, func(x, y usermgr.Kicked) int { return x.Session.LogonTime.Compare(y.Session.LogonTime) })
}

// answerKick carries out another node's kick.
func (n *Node) answerKick(ctx context.Context, body []byte) []byte {
	var k kickOrder
	if !fromJSON(n, body, &k) {
		return nil
	}
	r := n.kickHere(ctx, &k)
	return toJSON(n, &r)
}

// kickHere kicks the sessions on this node. It returns when they have ended, and other nodes refuse what is revoked.
func (n *Node) kickHere(ctx context.Context, k *kickOrder) (r kickReport) {
	m := n.users.Load()
	if ban := k.ban(); ban != nil {
		n.refuse(*ban)
	}
	early := make(map[string][]bar) // of each user: a logon that waits meanwhile must not come in
	early[k.User] = k.revocations(m, k.User, "")
	for _, id := range k.Sessions {
		if s, ok := m.Session(id); ok {
			early[s.UserID] = append(early[s.UserID], k.revocations(m, s.UserID, id)...)
			if k.Options.BanFor > 0 {
				early[s.UserID] = append(early[s.UserID], bar{What: banOf(s.UserID), Code: protocol.Unauthorized, For: k.Options.BanFor})
			}
		}
	}
	awaitEarly := n.refuseEverywhere(ctx, early, n.bar)
	n.notify(ctx, k)
	var waits []usermgr.Wait
	if k.User != "" {
		if wait, err := m.Kick(k.User, &k.Options); err == nil {
			waits = append(waits, wait)
		}
	}
	for _, id := range k.Sessions {
		if wait, err := m.KickSession(id, &k.Options); err == nil {
			waits = append(waits, wait)
		}
	}
	late := make(map[string][]bar)
	for _, wait := range waits {
		kicked, err := wait(ctx)
		r.Kicked = append(r.Kicked, kicked...)
		r.Found = r.Found || len(kicked) > 0 || err != nil
		for i := range kicked {
			user := kicked[i].Session.UserID
			for _, x := range refusedAfter(&k.Options, &kicked[i].Session) {
				if !slices.ContainsFunc(early[user], func(y bar) bool { return bytes.Equal(x.What, y.What) }) {
					late[user] = append(late[user], x)
				}
			}
		}
	}
	write := n.bar
	if k.Options.RevokeFor <= 0 { // sessionEnded has left it to the removals
		write = func(ctx context.Context, user string, _ []bar) { n.awaitBars(ctx, user) }
	}
	n.refuseEverywhere(ctx, late, write)()
	awaitEarly()
	return r
}

// notify sends the notice of a kick to the sessions on this node.
func (n *Node) notify(ctx context.Context, k *kickOrder) {
	if k.Notice == nil {
		return
	}
	n.mu.Lock()
	services := n.pushes
	n.mu.Unlock()
	here := seam.NoticeHere.(func(context.Context, *push.Service, string, *usermgr.KickOptions, *push.Message) error)
	for _, s := range services {
		if err := here(ctx, s, k.User, &k.Options, k.Notice); err != nil {
			n.log.Warn("the notice of a kick was not sent", zap.String("user", k.User), zap.Error(err))
		}
	}
}

// Kick is called by push.Service.Kick, which has sent the notice to the sessions on this node. A node that is not in the cluster kicks its own
// sessions.
func (k keeper) Kick(ctx context.Context, userID string, o *usermgr.KickOptions, notice *push.Message) ([]usermgr.Kicked, error) {
	n := k.node
	if !n.inCluster() {
		wait, err := n.users.Load().Kick(userID, o)
		if err != nil {
			return nil, err
		}
		return wait(ctx)
	}
	a, err := n.kickAll(ctx, userID, kickOrder{User: userID, Notice: notice}, o)
	if err == nil && len(a.Missing) > 0 {
		err = fmt.Errorf("%w: %v", ErrMissing, a.Missing)
	}
	return a.Value, err
}

// refuseEverywhere makes this node refuse logons of some users at once. Then it tells the other nodes, and write puts bars into the users' records. wait
// returns when both are done.
func (n *Node) refuseEverywhere(ctx context.Context, of map[string][]bar, write func(ctx context.Context, user string, bars []bar)) (wait func()) {
	var all refuseOrder
	for _, bars := range of {
		all.Refused = append(all.Refused, bars...)
	}
	if len(all.Refused) == 0 {
		return func() {}
	}
	n.refuseHere(&all)
	var told sync.WaitGroup
	for user, bars := range of {
		if len(bars) > 0 {
			told.Go(func() { write(ctx, user, bars) })
		}
	}
	told.Go(func() { n.askAll(ctx, queryRefuse, toJSON(n, &all), nil) })
	return told.Wait
}

// ban returns what bans the user of the kick; nil for no ban.
func (k *kickOrder) ban() *bar {
	if k.Options.BanFor <= 0 || k.User == "" {
		return nil
	}
	return &bar{What: banOf(k.User), Code: protocol.Unauthorized, For: k.Options.BanFor}
}

// revocations returns what refuses the logins that the kick revokes although their sessions have ended, or are ending, for another cause. A
// session that is not empty is the only one that the kick selects.
func (k *kickOrder) revocations(m *usermgr.Manager, user, session string) (bars []bar) {
	if k.Options.RevokeFor <= 0 || user == "" {
		return nil
	}
	for _, login := range seam.LoginsOf(m, user, session, &k.Options) {
		bars = append(bars, bar{What: login[:], Code: protocol.Unauthorized, For: k.Options.RevokeFor})
	}
	return bars
}

// refusedAfter returns what must be refused after a kick of a session.
func refusedAfter(o *usermgr.KickOptions, s *usermgr.SessionInfo) (bars []bar) {
	code := o.Code
	if code == 0 {
		code = protocol.KickedOut
	}
	switch {
	case o.RevokeFor > 0:
		for _, secret := range []string{s.ID, s.Token} {
			if secret != "" {
				bars = append(bars, bar{What: secretOf(s.UserID, secret), Code: protocol.Unauthorized, For: o.RevokeFor})
			}
		}
	case isRefused(code):
		bars = append(bars, bar{What: secretOf(s.UserID, s.ID), Code: code, Text: o.Text, For: refuseFor})
	}
	return bars
}

func (n *Node) inCluster() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.maySend()
}

func toJSON(n *Node, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		n.log.Error("what nodes tell each other cannot be encoded", zap.Error(err))
	}
	return b
}

func fromJSON(n *Node, b []byte, v any) (ok bool) {
	if err := json.Unmarshal(b, v); err != nil {
		n.log.Error("what another node has told is malformed", zap.Error(err))
		return false
	}
	return true
}
