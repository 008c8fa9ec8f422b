package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// ErrMissing is the error for a node that lives and has not answered. What it was to do may have happened or not.
var ErrMissing = errors.New("rollcall: a node of the cluster has not answered")

// Pusher returns a Pusher that delivers to the sessions on other nodes. Register it with s, the push service of the node's bridge; on the
// other nodes too, because the service there does the delivering:
//
//	pushes := push.New(b)
//	pushes.Register("cluster", node.Pusher(pushes))
//
// A push then has deliveries by the pusher "cluster" for the sessions on other nodes, besides those of this node. A delivery says whether
// the client has confirmed the message; its Conn is 0. A user without a session here has a delivery with UserOffline by the service, and one
// by the pusher with the outcome. A user without a session on any node has UserOffline from both. A delivery to a node that does not answer
// has ErrMissing; for ToEveryone and ToSessions it is the push's error. The pushers of other nodes are not called.
//
// With Options.Confirm or Keep, Push waits for the confirmations of sessions on other nodes until they have come, until ctx ends, or for 10 s
// where ctx has no deadline; Options.Timeout and First do not concern them. Otherwise it waits for the nodes' answers. So on an event loop,
// use Service.Go. A message that is kept waits in this node's memory, and goes out when the user logs on, on any node whose service has
// its node's Pusher too. The delivery of a user who was offline is Confirmed then, with Conn 0 if that was on another node. Where a session
// elsewhere has confirmed the message before Push returned, it is not kept, and the user's delivery here has UserOffline; so has that of a
// session here that was lost, and in whose place the session elsewhere has come. Where a session elsewhere has ended before it has confirmed
// the message, Push waits for the user's next session, on any node, as for one of this node. For ToEveryone and ToSessions a message is kept
// for users who have a session on this node alone.
//
// A user who is logging on when the push comes, and has no session yet, gets it when the session begins. The pusher waits for that, and
// delivers to a session on this node too.
func (n *Node) Pusher(s *push.Service) push.Pusher {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.pushes, s) {
		n.pushes = append(slices.Clone(n.pushes), s)
		n.kept = append(slices.Clone(n.kept), seam.KeptOf(s, keeper{n}))
	}
	return pusher{n, n.kept[slices.Index(n.pushes, s)]}
}

type pusher struct {
	node *Node
	kept seam.Kept // of the service
}

const (
	// confirmFor is how long confirmations are waited for where the caller does not say.
	confirmFor = 10 * time.Second
	// answerIn is how long before the caller's time is over other nodes answer.
	answerIn = 500 * time.Millisecond
	// pushAtOnce is to how many users one question pushes.
	pushAtOnce = 2000
)

// pushOrder is a push for another node, as JSON.
type pushOrder struct {
	Users    []string        `json:",omitempty"`
	Everyone bool            `json:",omitempty"`
	Sessions *usermgr.Filter `json:",omitempty"`
	Message  push.Message
	Wait     time.Duration // for confirmations
	Kept     bool          `json:",omitempty"` // by the node that asks: it is told at once that a session has ended
}

// pushDelivery is a push.Delivery, as JSON.
type pushDelivery struct {
	User      string
	Device    uint16
	Confirmed bool
	Code      protocol.CloseCode // of the error; 0 for none
	Text      string
	Lost      bool `json:",omitempty"` // see seam.ErrLost
}

// Push implements push.Pusher.
func (p pusher) Push(ctx context.Context, to push.Target, m *push.Message) (all []push.Delivery, err error) {
	if ctx.Value(seam.KickKey{}) != nil { // keeper.Kick tells those elsewhere that are kicked
		return nil, nil
	}
	all, err = p.push(ctx, to, m)
	for i := range all {
		switch d := &all[i]; {
		case d.Confirmed:
			p.kept.Confirm(seam.Confirmation{UserID: d.UserID, ID: m.ID, Device: d.Device, How: seam.ConfirmedTold, Replaces: func(device uint16) bool {
				return len(p.node.policy.Excluded(d.Device, []seam.Place{{Device: device}})) > 0
			}})
		case errors.Is(d.Err, seam.ErrLost):
			d.Err = nil
			pushingOf(ctx).Lost(d.UserID)
		}
	}
	return all, err
}

// pushingOf returns what the service tells of the push for which it calls its pusher with ctx.
func pushingOf(ctx context.Context) seam.Pushing {
	if x, ok := ctx.Value(seam.PushingKey{}).(seam.Pushing); ok {
		return x
	}
	return unknownPush{}
}

// unknownPush is for a pusher that is called by something else than a service.
type unknownPush struct{}

func (unknownPush) Missed(string) bool { return false }
func (unknownPush) IsKept() bool       { return false }
func (unknownPush) Lost(string)        {}

func (p pusher) push(ctx context.Context, to push.Target, m *push.Message) (all []push.Delivery, err error) {
	n := p.node
	if !n.inCluster() {
		return nil, errLost
	}
	wait := confirmFor
	if end, ok := ctx.Deadline(); ok {
		wait = max(time.Until(end), 0)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	order := pushOrder{Everyone: to.Everyone, Sessions: to.Sessions, Message: *m, Wait: wait - min(wait/4, answerIn)}
	order.Kept = to.Users != nil && pushingOf(ctx).IsKept()
	if to.Users == nil {
		missing := n.askAll(ctx, queryPush, toJSON(n, &order), func(body []byte) { all = append(all, n.deliveries(body)...) })
		if len(missing) > 0 {
			err = fmt.Errorf("%w: %v", ErrMissing, missing)
		}
		return all, err
	}
	left := to.Users
	for range 2 { // once more for users who have moved
		var some []push.Delivery
		some, left, err = n.pushToUsers(ctx, &order, left)
		all = append(all, some...)
		if len(left) == 0 || err != nil {
			break
		}
	}
	for _, user := range left {
		all = append(all, push.Delivery{UserID: user, Err: errOffline})
	}
	return all, err
}

// pushToUsers pushes to the nodes where users are. left are the users who are no longer where the store says.
func (n *Node) pushToUsers(ctx context.Context, order *pushOrder, users []string) (all []push.Delivery, left []string, err error) {
	records, err := n.dir.Look(ctx, users...)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.InternalError, "the cluster's store does not answer")
	}
	at := make(map[Incarnation][]string)
	for _, r := range records {
		entries, err := decodeRecord(r.Body, r.Version)
		if err != nil {
			n.malformed(r.User)
			all = append(all, push.Delivery{UserID: r.User, Err: errMalformed})
			continue
		}
		n.mu.Lock()
		nodes, here := n.placesOf(entries)
		me := n.me
		n.mu.Unlock()
		if len(nodes) == 0 && !here {
			all = append(all, push.Delivery{UserID: r.User, Err: errOffline})
		}
		if here && !order.Kept && pushingOf(ctx).Missed(r.User) { // the user was logging on; what is kept goes out by itself
			nodes = append(nodes, me)
		}
		for _, to := range nodes {
			at[to] = append(at[to], r.User)
		}
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	reached, away := make(map[string]bool), make(map[string]bool)
	for to, users := range at {
		for some := range slices.Chunk(users, pushAtOnce) {
			asking.Go(func() {
				got, missing := n.pushTo(ctx, *order, to, some)
				mu.Lock()
				defer mu.Unlock()
				for _, d := range got {
					if errors.Is(d.Err, protocol.UserOffline) {
						away[d.UserID] = true
						continue
					}
					reached[d.UserID] = true
					all = append(all, d)
				}
				for _, user := range some {
					if missing != "" {
						reached[user] = true
						all = append(all, push.Delivery{UserID: user, Err: fmt.Errorf("%w: %s", ErrMissing, missing)})
					}
				}
			})
		}
	}
	asking.Wait()
	for user := range away {
		if !reached[user] {
			left = append(left, user)
		}
	}
	return all, left, nil
}

// pushTo pushes to users on one node. missing is its name where it has not answered.
func (n *Node) pushTo(ctx context.Context, order pushOrder, to Incarnation, users []string) (got []push.Delivery, missing string) {
	order.Users = users
	if to == n.Incarnation() {
		return received(n.pushHere(ctx, &order)), ""
	}
	answered := false
	silent := n.askSome(ctx, queryPush, toJSON(n, &order), func(inc Incarnation) bool { return inc == to }, func(body []byte) {
		answered = true
		got = n.deliveries(body)
	})
	switch {
	case len(silent) > 0:
		return nil, silent[0]
	case !answered: // it has died
		for _, user := range users {
			got = append(got, push.Delivery{UserID: user, Err: errOffline})
		}
	}
	return got, ""
}

// deliveries returns those that another node has told.
func (n *Node) deliveries(body []byte) (all []push.Delivery) {
	var told []pushDelivery
	if !fromJSON(n, body, &told) {
		return nil
	}
	return received(told)
}

// received returns deliveries as the service's caller gets them.
func received(told []pushDelivery) (all []push.Delivery) {
	for _, d := range told {
		o := push.Delivery{UserID: d.User, Device: d.Device, Confirmed: d.Confirmed}
		switch {
		case d.Lost:
			o.Err = seam.ErrLost
		case d.Code != 0:
			o.Err = &protocol.CloseError{Code: d.Code, Text: d.Text}
		}
		all = append(all, o)
	}
	return all
}

// answerPush carries out another node's push.
func (n *Node) answerPush(ctx context.Context, body []byte) []byte {
	var order pushOrder
	if !fromJSON(n, body, &order) {
		return nil
	}
	return toJSON(n, n.pushHere(ctx, &order))
}

// pushHere pushes to the sessions on this node. For a user who has none and is logging on it waits for the outcome, and pushes then.
func (n *Node) pushHere(ctx context.Context, order *pushOrder) []pushDelivery {
	ctx, cancel := context.WithTimeout(ctx, max(order.Wait, time.Millisecond))
	defer cancel()
	target := push.Target{Users: order.Users, Everyone: order.Everyone, Sessions: order.Sessions}
	logons := n.logonsOf(order.Users)
	told := n.pushOnce(ctx, order, target)
	if len(logons) == 0 {
		return told
	}
	var mu sync.Mutex
	var waiting sync.WaitGroup
	var late []pushDelivery
	rest := slices.DeleteFunc(told, func(d pushDelivery) bool {
		over := logons[d.User]
		if d.Code != protocol.UserOffline || over == nil {
			return false
		}
		delete(logons, d.User) // once
		waiting.Go(func() {
			got := n.pushAfter(ctx, order, d, over)
			mu.Lock()
			defer mu.Unlock()
			late = append(late, got...)
		})
		return true
	})
	waiting.Wait()
	return append(rest, late...)
}

// pushAfter pushes to a user when the user's logon is over, and after further ones while there is no session. offline is the delivery for
// none.
func (n *Node) pushAfter(ctx context.Context, order *pushOrder, offline pushDelivery, over <-chan struct{}) []pushDelivery {
	users, told := []string{offline.User}, []pushDelivery{offline}
	for over != nil && slices.ContainsFunc(told, func(d pushDelivery) bool { return d.Code == protocol.UserOffline }) {
		select {
		case <-over:
		case <-ctx.Done():
			return told
		}
		over = n.logonsOf(users)[offline.User]
		told = n.pushOnce(ctx, order, push.Target{Users: users})
	}
	return told
}

// logonsOf returns those of the users who are logging on here, and for each what is closed when the outcome is known.
func (n *Node) logonsOf(users []string) map[string]<-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	var logons map[string]<-chan struct{}
	for _, user := range users {
		if over := n.arrivals.ofLogon(user); over != nil {
			if logons == nil {
				logons = make(map[string]<-chan struct{})
			}
			logons[user] = over
		}
	}
	return logons
}

// pushOnce pushes to the sessions that are on this node now.
func (n *Node) pushOnce(ctx context.Context, order *pushOrder, target push.Target) []pushDelivery {
	n.mu.Lock()
	services := n.pushes
	n.mu.Unlock()
	var o *push.Options
	if order.Message.Confirm {
		o = &push.Options{Confirm: true, Timeout: max(order.Wait, time.Millisecond)}
	}
	here := seam.PushHere.(func(context.Context, *push.Service, push.Target, *push.Message, *push.Options, bool) (push.Result, error))
	told := []pushDelivery{}
	reached := make(map[string]bool)
	for _, s := range services {
		r, err := here(ctx, s, target, &order.Message, o, order.Kept)
		if err != nil {
			for _, user := range target.Users {
				told = append(told, tell(push.Delivery{UserID: user, Err: err}))
			}
		}
		for _, d := range r.Deliveries {
			reached[d.UserID] = reached[d.UserID] || !errors.Is(d.Err, protocol.UserOffline)
			told = append(told, tell(d))
		}
	}
	return slices.DeleteFunc(told, func(d pushDelivery) bool { return d.Code == protocol.UserOffline && reached[d.User] })
}

// tell returns what another node is told of a delivery.
func tell(d push.Delivery) pushDelivery {
	o := pushDelivery{User: d.UserID, Device: d.Device, Confirmed: d.Confirmed}
	switch {
	case d.Err == nil:
		return o
	case errors.Is(d.Err, seam.ErrLost):
		o.Lost = true
		return o
	}
	o.Code, o.Text = protocol.Refused, d.Err.Error()
	var ce *protocol.CloseError
	if codes.As(d.Err, &ce) && ce != nil {
		o.Code, o.Text = ce.Code, ce.Text
	}
	return o
}
