package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"
)

// join joins the cluster: the node gets a row in the table, has a renewal that counts, and waits until all other nodes know it. It tries
// until ctx ends, and returns nil then. The error is for settings with which the node cannot join.
//
// A node that acts without the store needs no more than a renewal that is durable. It keeps its last membership, unless it was buried.
func (n *Node) join(ctx context.Context, last *membership) (*membership, error) {
	n.mu.Lock()
	former, opens := n.me, n.stage == cutOff
	n.mu.Unlock()
	var stamp string
	var since time.Duration
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		v, err := n.dir.Table(call)
		cancel()
		if err != nil {
			n.log.Warn("the cluster's store does not answer", zap.Error(err))
			sleep(ctx, n.cfg.Renew/4)
			continue
		}
		other, lives := n.otherPolicy(&v, math.MaxUint32)
		if lives {
			return nil, fmt.Errorf("rollcall: the node %q of this cluster has another RelogonMode or other Devices: they must be the same on all nodes", other)
		}
		o := JoinOptions{Former: former}
		if opens {
			known := n.known(former)
			o.Open = &known
		}
		if !v.Armed && !opens {
			if v.Stamp != stamp {
				stamp, since = v.Stamp, n.now()
			}
			if n.now()-since >= n.cfg.Lease {
				o.Bootstrap = stamp
			}
		}
		if other == "" && (v.Armed || opens || o.Bootstrap != "") {
			if m := n.joinNow(ctx, o, last); m != nil {
				return m, nil
			}
		}
		sleep(ctx, n.cfg.Renew/4)
	}
	return nil, nil
}

// otherPolicy returns the name of a node that has another policy, "" for none, and whether it has been seen to renew. Only nodes with a
// number below this one count, so that of two that join together one comes in. A node that has not renewed for a lease is dead, and does
// not count.
func (n *Node) otherPolicy(v *View, below Incarnation) (name string, lives bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.look(v)
	for _, m := range v.Members {
		s := n.seen[m.Incarnation]
		if m.Dead || m.Incarnation >= below || m.Member.Policy == n.policy.Digest || n.now()-s.since >= n.cfg.Lease {
			continue
		}
		name = fmt.Sprint(m.Member.Name, " ", m.Incarnation)
		if s.renews {
			return name, true
		}
	}
	return name, false
}

// joinNow joins; nil means that it must be tried again.
func (n *Node) joinNow(ctx context.Context, o JoinOptions, last *membership) *membership {
	call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
	defer cancel()
	me, err := n.dir.Join(call, n.member(), o)
	if err != nil {
		if !errors.Is(err, ErrRecovering) {
			n.log.Warn("the node could not join the cluster", zap.Error(err))
		}
		return nil
	}
	m := last
	if last == nil || me != last.me {
		stop, err := n.mesh.Open(me, n.handle)
		if err != nil {
			n.log.Warn("the mesh did not open", zap.Error(err))
			n.leave(me)
			return nil
		}
		m = &membership{me, stop}
	}
	for ctx.Err() == nil {
		if joined, again := n.renewJoining(ctx, me, o.Open != nil); joined {
			n.log.Info("the node is in the cluster", zap.Uint32("incarnation", uint32(me)))
			return m
		} else if !again {
			break
		}
		sleep(ctx, max(n.cfg.Renew/40, time.Millisecond))
	}
	if m != last {
		m.close()
		n.leave(me)
	}
	return nil
}

// renewJoining renews the lease of a node that has joined, and makes it act when the renewal counts and all other nodes know it. A node
// that opens acts already, and comes back when the renewal is durable. again says that another renewal may do that.
func (n *Node) renewJoining(ctx context.Context, me Incarnation, opens bool) (joined, again bool) {
	call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
	defer cancel()
	t0 := n.now()
	v, err := n.dir.Renew(call, me, n.member(), Version(n.floor.Load()))
	if errors.Is(err, ErrFenced) || errors.Is(err, ErrUnknown) || err == nil && !v.Armed && !opens {
		return false, false
	}
	if err != nil {
		n.log.Warn("the node's first renewal does not count", zap.Error(err))
		return false, true
	}
	n.raiseFloor(v.Floor)
	n.route(&v)
	other, lives := n.otherPolicy(&v, me)
	if lives {
		return false, false // join says so
	}
	if opens {
		n.mu.Lock()
		n.comeBack(me, t0)
		n.life, n.endLife = context.WithCancel(context.Background())
		n.mu.Unlock()
		n.tallies.joins.Add(1)
		n.wake() // to see that the store recovers
		return true, true
	}
	known := other == ""
	for _, m := range v.Members {
		if !m.Dead && m.Incarnation != me && m.Member.Knows < me {
			known = false
			n.sendBoth(&frame{kind: frameHello, from: me, to: m.Incarnation, version: frameVersion})
		}
	}
	n.mu.Lock()
	n.view = v
	if known {
		n.stage, n.me = acting, me
		n.life, n.endLife = context.WithCancel(context.Background()) // renewals go on while the node stops
	}
	n.mu.Unlock()
	if !known {
		n.bury(ctx, me, t0, &v) // a node that has died does not get to know it
		return false, true
	}
	n.tallies.joins.Add(1)
	n.counted(t0, &v)
	return true, true
}

// leave ends a life that cannot be used. Where that fails it is buried in time.
func (n *Node) leave(me Incarnation) {
	call, cancel := context.WithTimeout(context.Background(), n.cfg.Renew)
	defer cancel()
	if err := n.dir.Leave(call, me); err != nil {
		n.log.Warn("the node could not leave the cluster: it will be buried", zap.Error(err))
	}
}

// member returns what the node says of itself.
func (n *Node) member() Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := Member{Name: n.cfg.Name, Policy: n.policy.Digest, Knows: n.view.highest()}
	if n.routed != nil {
		m.Addr = n.routed.Addr()
	}
	return m
}

// bury says that a node is dead.
func (v *View) bury(inc Incarnation) {
	v.Members = slices.Clone(v.Members) // others read it without the node's lock
	for i := range v.Members {
		if m := &v.Members[i]; m.Incarnation == inc {
			m.Dead = true
		}
	}
}

// revive says that a node lives that was taken for dead.
func (v *View) revive(m MemberState) {
	v.Members = slices.DeleteFunc(slices.Clone(v.Members), func(o MemberState) bool { return o.Incarnation == m.Incarnation })
	v.Members = append(v.Members, m)
}

// highest returns the highest incarnation in the table.
func (v *View) highest() (inc Incarnation) {
	for _, m := range v.Members {
		inc = max(inc, m.Incarnation)
	}
	return inc
}
