package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

// mark says in a user's record that a node keeps messages for the user. In the record it takes 13 bytes, behind the entries: the byte
// Uncounted, 4 B incarnation, 8 B end, big endian. No incarnation begins with that byte before the year 2105. Only the node itself writes
// its mark; other nodes remove it when the node is dead, or its time is over.
//
// A mark with a code is a bar instead, see appendBar: all nodes write bars, and remove those that are over.
type mark struct {
	node Incarnation // 0 for a bar
	end  int64       // Unix milliseconds, by the node's clock: at that time it keeps none of the messages any more, or the bar is over

	// Of a bar: what it refuses, and with which code.
	what barID
	code protocol.CloseCode
}

const (
	markSize = 1 + 4 + 8
	// markSlack is how long after its end other nodes remove a mark: clocks differ.
	markSlack = time.Minute
	// markers is how many marks are written at a time.
	markers = 16
)

// markFor returns a node's mark that is good for so long.
func markFor(node Incarnation, left time.Duration) mark {
	return mark{node: node, end: time.Now().Add(left).UnixMilli()}
}

func (m mark) appendTo(b []byte) []byte {
	if m.isBar() {
		return m.appendBar(b)
	}
	b = append(b, Uncounted)
	b = binary.BigEndian.AppendUint32(b, uint32(m.node))
	return binary.BigEndian.AppendUint64(b, uint64(m.end))
}

// decodeMarks returns the marks at the end of a record.
func decodeMarks(b []byte) (marks []mark, err error) {
	for ; len(b) > 0; b = b[markSize:] {
		if len(b) < markSize || b[0] != Uncounted {
			return nil, errBadRecord
		}
		if isBar(b) {
			marks = append(marks, decodeBar(b))
			continue
		}
		marks = append(marks, mark{node: Incarnation(binary.BigEndian.Uint32(b[1:])), end: int64(binary.BigEndian.Uint64(b[5:]))})
	}
	return marks, nil
}

// hasOnlyMarks reports whether a record has marks alone: its user is offline.
func hasOnlyMarks(c *Conflict) bool {
	return c != nil && len(c.Body) > 0 && c.Body[0] == Uncounted
}

// liveMarks returns the marks that are not over, of nodes that live.
func (n *Node) liveMarks(marks []mark) (live []mark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range marks {
		if !n.isOver(m) {
			live = append(live, m)
		}
	}
	return live
}

// isOver reports whether a mark has no meaning any more. n.mu is held on entry.
func (n *Node) isOver(m mark) bool {
	return m.isPast() || !m.isBar() && n.isDead(m.node)
}

// isPast reports whether the time of a mark is over, on all nodes.
func (m mark) isPast() bool { return time.Now().UnixMilli() > m.end+markSlack.Milliseconds() }

// keeping has the users for whom this node's push services keep messages, and who may be on other nodes. The node's lock protects it.
type keeping struct {
	users   map[string]*keptUser
	waiting []*keptUser   // whose marks are to be looked at
	wake    chan struct{} // tells markAll that one waits
}

// keptUser is a user who has a mark of this node, or is to get one, or to lose it.
type keptUser struct {
	user     string
	until    time.Duration // when the mark is over, by the node's clock; 0 while none is known to be in the store
	seen     uint32        // the number of the last audit that has found the mark
	queued   bool          // the mark is to be looked at, once more if marking is set
	marking  bool
	sessions map[uuid.UUID]*keptSession // on other nodes
}

// look has a user's mark looked at.
func (k *keeping) look(u *keptUser) {
	if u.queued {
		return
	}
	u.queued = true
	if !u.marking {
		k.wait(u)
	}
}

func (k *keeping) wait(u *keptUser) {
	k.waiting = append(k.waiting, u)
	if k.wake != nil {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// next returns a user whose mark is to be looked at; nil for none.
func (k *keeping) next() *keptUser {
	if len(k.waiting) == 0 {
		return nil
	}
	u := k.waiting[0]
	k.waiting[0] = nil
	k.waiting = k.waiting[1:]
	u.queued, u.marking = false, true
	return u
}

// markAll writes and removes marks until ctx ends. What a former life has written is dead, so that all are written again.
func (n *Node) markAll(ctx context.Context, me Incarnation) {
	wake := make(chan struct{}, 1)
	n.mu.Lock()
	k := &n.keeping
	k.wake, k.waiting = wake, nil
	for _, u := range k.users {
		*u = keptUser{user: u.user}
		k.look(u)
	}
	n.mu.Unlock()
	var workers sync.WaitGroup
	defer workers.Wait()
	places := make(chan struct{}, markers)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		n.mu.Lock()
		u := k.next()
		n.mu.Unlock()
		if u != nil {
			workers.Go(func() {
				n.mark(ctx, me, u)
				<-places
			})
			continue
		}
		<-places
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

// mark writes a user's mark, or removes it when nothing is kept, and tries until that is done or the node's life is over.
func (n *Node) mark(ctx context.Context, me Incarnation, u *keptUser) {
	var left, good, began time.Duration
	var entries []entry
	for pause := time.Duration(0); ; {
		epoch, err := n.releaseEpoch(ctx, me)
		if err != nil {
			return
		}
		left, began = n.keptFor(u.user), n.now()
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		entries, good, err = n.writeMark(call, me, u.user, left, epoch)
		cancel()
		if errors.Is(err, errBadRecord) { // an audit tries again
			n.malformed(u.user)
			break
		}
		if err == nil {
			break
		}
		if asConflict(err) == nil {
			pause = n.backOff(ctx, err, pause)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	u.marking, u.until = false, 0
	if good > 0 {
		u.until = began + good
	}
	if u.queued {
		n.keeping.wait(u)
	} else if left <= 0 {
		delete(n.keeping.users, u.user)
	}
	if left <= 0 {
		return
	}
	for i := range entries { // they may have come before the mark, and so have not read it
		if e := &entries[i]; e.node != me && !e.grace && !e.ending && !n.isGhost(e) {
			n.serveKept(u, e.session, e.node)
		}
	}
}

// writeMark writes the mark of a user for whom messages are kept for this time, unless it is there already; or removes it. It returns the
// record's entries, and for how long the mark is good; 0 for no mark.
func (n *Node) writeMark(ctx context.Context, me Incarnation, user string, left time.Duration, epoch string) (
	entries []entry, good time.Duration, err error) {

	records, err := n.dir.Look(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	r := &records[0]
	var marks []mark
	entries, marks, err = decodeAll(r.Body, r.Version)
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(marks, func(m mark) bool { return m.node == me })
	// It is good for twice the time, so that it is not written for each of many messages.
	now := time.Now()
	end := now.Add(2 * left).UnixMilli()
	if i >= 0 {
		good = time.UnixMilli(marks[i].end).Sub(now)
	}
	switch {
	case left <= 0 && i < 0:
		return entries, 0, nil
	case left <= 0:
		marks, good = slices.Delete(marks, i, i+1), 0
	case i < 0:
		marks, good = append(marks, mark{node: me, end: end}), 2*left
	case good >= left:
		return entries, good, nil
	default:
		marks[i].end, good = end, 2*left
	}
	return entries, good, n.write(ctx, user, r.Version, entries, marks, SwapOptions{Epoch: epoch})
}

// auditMarks returns the marks that are to be left in a record with these entries. It notes which marks of this node it has found, and
// tells the other nodes once more of their users who are here: a frame may have been lost.
func (n *Node) auditMarks(user string, entries []entry, marks []mark, number uint32) (rest []mark) {
	if len(marks) == 0 {
		return nil
	}
	var tell []frame
	n.mu.Lock()
	for _, m := range marks {
		u := n.keeping.users[user]
		switch {
		case n.isOver(m), m.node == n.me && u == nil:
			continue
		case m.node == n.me:
			u.seen = number
		case m.isBar():
		default:
			for i := range entries {
				if c := n.claims[entries[i].session]; c != nil && c.open == nil && c.own.node == n.me {
					tell = append(tell, frame{kind: frameMarked, from: n.me, to: m.node, owner: user, session: entries[i].session})
				}
			}
		}
		rest = append(rest, m)
	}
	n.mu.Unlock()
	for i := range tell {
		n.send(&tell[i])
	}
	return rest
}

// markMissing has the marks looked at that an audit has not found.
func (n *Node) markMissing(number uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, u := range n.keeping.users {
		if u.seen != number {
			n.keeping.look(u)
		}
	}
}
