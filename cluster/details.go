package cluster

import (
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// DetailStore is a Directory that keeps details of sessions, for programs that are not nodes: see Config.Details.
type DetailStore interface {
	Directory
	// Describe writes details of sessions, or removes those without a Body. What is kept of a user is forgotten keep after the last
	// write. It needs no epoch, and is neither a claim nor a promise.
	Describe(ctx context.Context, keep time.Duration, details []Detail) error
}

// Detail is what is known of a session.
type Detail struct {
	User       string
	Generation Version // of the session's claim
	Body       []byte  // the JSON of a SessionDetail; nil when the session has ended
}

// SessionDetail is what a store keeps of a session. It has neither the session's ID nor its token.
type SessionDetail struct {
	SessionAt
	AsOf time.Time // when it was written. A detail that is older than Config.Details is of a node that has died
}

// details are the sessions whose details are to be written. The node's lock protects changed.
type details struct {
	changed map[Version]*change // by generation
	wake    chan struct{}       // has room for one; never changed
}

// change is a session that has begun, or ended.
type change struct {
	info  usermgr.SessionInfo
	ended bool
}

const (
	// describeAtOnce is for how many sessions the store is called at a time.
	describeAtOnce = 500
	// mostChanges is how many changes are kept while the store does not answer. Others are written with the next refresh, and what has
	// ended is forgotten by the store.
	mostChanges = 100_000
)

// subscribeDetails has the node note which sessions begin and end.
func (n *Node) subscribeDetails(m *usermgr.Manager) (unsubscribe func()) {
	return m.Subscribe(usermgr.Events{
		Connected:    func(s usermgr.SessionInfo) { n.noteDetail(&change{info: s}) },
		Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) { n.noteDetail(&change{info: s, ended: true}) },
	})
}

func (n *Node) noteDetail(c *change) {
	n.mu.Lock()
	if len(n.details.changed) < mostChanges {
		if n.details.changed == nil {
			n.details.changed = make(map[Version]*change)
		}
		n.details.changed[Version(c.info.Generation)] = c
	}
	n.mu.Unlock()
	select {
	case n.details.wake <- struct{}{}:
	default: // it looks soon
	}
}

// describeAll writes details until ctx ends: of sessions that begin or end at once, and of all sessions each third of Config.Details.
func (n *Node) describeAll(ctx context.Context, store DetailStore) {
	refresh := time.NewTicker(max(n.cfg.Details/3, time.Millisecond))
	defer refresh.Stop()
	for {
		select {
		case <-n.details.wake:
		case <-refresh.C:
			n.describeSessions(ctx, store)
		case <-ctx.Done():
		}
		if ctx.Err() != nil { // also where there was something else to do
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.Renew)
			n.describeChanges(last, store)
			cancel()
			return
		}
		n.describeChanges(ctx, store)
	}
}

// describeChanges writes what has changed. What could not be written is written with the next refresh.
func (n *Node) describeChanges(ctx context.Context, store DetailStore) {
	n.mu.Lock()
	changed := n.details.changed
	n.details.changed = nil
	n.mu.Unlock()
	batch := make([]Detail, 0, min(len(changed), describeAtOnce))
	for generation, c := range changed {
		d := Detail{User: c.info.UserID, Generation: generation}
		if !c.ended {
			d.Body = n.detailOf(c.info)
		}
		batch = n.describe(ctx, store, append(batch, d), describeAtOnce)
	}
	n.describe(ctx, store, batch, 1)
}

// describeSessions writes the details of all sessions again.
func (n *Node) describeSessions(ctx context.Context, store DetailStore) {
	var batch []Detail
	for s := range n.users.Load().Sessions(usermgr.Filter{}) {
		if ctx.Err() != nil {
			return
		}
		batch = n.describe(ctx, store, append(batch, Detail{s.UserID, Version(s.Generation), n.detailOf(s)}), describeAtOnce)
	}
	n.describe(ctx, store, batch, 1)
}

// describe writes a batch that has so many details at least, and returns what is left of it.
func (n *Node) describe(ctx context.Context, store DetailStore, batch []Detail, least int) []Detail {
	if len(batch) < least {
		return batch
	}
	call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
	defer cancel()
	if err := store.Describe(call, n.cfg.Details, batch); err != nil && ctx.Err() == nil {
		n.log.Warn("details of sessions were not written", zap.Int("sessions", len(batch)), zap.Error(err))
	}
	return batch[:0]
}

func (n *Node) detailOf(s usermgr.SessionInfo) []byte {
	b, err := json.Marshal(SessionDetail{n.at([]usermgr.SessionInfo{s})[0], time.Now()})
	if err != nil {
		n.log.Error("details of a session cannot be encoded", zap.Error(err))
		return []byte("{}")
	}
	return b
}
