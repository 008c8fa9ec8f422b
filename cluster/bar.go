package cluster

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A bar in a user's record refuses logons of the user on all nodes. A claim reads the record in its swap, so a node needs not have heard of
// the kick, or of the ban. A bar stands among the record's marks, and takes as many bytes as a mark, big endian:
//
//	1 B Uncounted, 4 bits barTag and 12 bits code, 4 B end, 6 B digest
//
// The end is in seconds since 1970, rounded down, by the clock of the node that has written the bar. The clocks of nodes differ by seconds;
// by so much a bar holds longer or shorter. The digest is the beginning of the full one, see secretOf and banOf: it is compared within one user's
// record alone. A node of a version that knows no bars takes a bar for the mark of a node that it does not know, and leaves it or removes it.

// barID says what a bar refuses.
type barID [6]byte

const (
	// barTag is in the first bits of a bar, where a mark has those of its incarnation: none begins so before the year 2097.
	barTag = 0xF
	// barCodes is what is taken off a code of 4xxx, so that it fits.
	barCodes = 4000
	// maxBars is how many bars a record has at most: those that end soonest go first.
	maxBars = 16
)

func barIDOf(digest []byte) (id barID) {
	copy(id[:], digest)
	return id
}

// inRecord returns the bar as it is in a record.
func (b *bar) inRecord() mark {
	now, most := time.Now(), time.Unix(math.MaxUint32, 0)
	end := now.Add(min(b.For, most.Sub(now))).Unix()
	return mark{what: barIDOf(b.What), code: b.Code, end: min(end, most.Unix()) * 1000}
}

func (m mark) appendBar(b []byte) []byte {
	code := uint16(m.code)
	if code >= barCodes {
		code -= barCodes
	}
	b = append(b, Uncounted)
	b = binary.BigEndian.AppendUint16(b, barTag<<12|code)
	b = binary.BigEndian.AppendUint32(b, uint32(m.end/1000))
	return append(b, m.what[:]...)
}

// isBar reports whether markSize bytes of a record are a bar.
func isBar(b []byte) bool { return b[1]>>4 == barTag }

func decodeBar(b []byte) mark {
	code := protocol.CloseCode(binary.BigEndian.Uint16(b[1:]) % (1 << 12))
	if code < 1000 {
		code += barCodes
	}
	return mark{what: barIDOf(b[7:]), code: code, end: int64(binary.BigEndian.Uint32(b[3:])) * 1000}
}

// isBar reports whether the mark is a bar.
func (m mark) isBar() bool { return m.code != 0 }

// withBars returns a record's marks with more bars: of two that refuse the same, the one that ends later.
func withBars(marks, bars []mark) []mark {
	if len(bars) == 0 {
		return marks
	}
	marks = slices.Clone(marks)
	for _, b := range bars {
		i := slices.IndexFunc(marks, func(m mark) bool { return m.isBar() && m.what == b.what })
		switch {
		case i < 0:
			marks = append(marks, b)
		case marks[i].end < b.end:
			marks[i] = b
		}
	}
	for {
		count, soonest := 0, -1
		for i, m := range marks {
			if !m.isBar() {
				continue
			}
			if count++; soonest < 0 || m.end < marks[soonest].end {
				soonest = i
			}
		}
		if count <= maxBars {
			return marks
		}
		marks = slices.Delete(marks, soonest, soonest+1)
	}
}

// withoutOldBars returns the marks without bars that are over.
func withoutOldBars(marks []mark) []mark {
	return slices.DeleteFunc(slices.Clone(marks), func(m mark) bool { return m.isBar() && m.isPast() })
}

// barredBy returns why a logon is refused by the bars of its user's record; nil if it is not. The node keeps in mind what it has found, so
// that a client that comes again and again does not ask the store; but not that a user is banned, because an Unban may be under way.
func (n *Node) barredBy(l *usermgr.Logon, marks []mark) error {
	if !slices.ContainsFunc(marks, mark.isBar) {
		return nil
	}
	now := time.Now()
	for i, what := range barsTo(l) {
		for _, m := range marks {
			left := time.UnixMilli(m.end).Sub(now)
			if !m.isBar() || m.what != barIDOf(what) || left <= 0 {
				continue
			}
			if i > 0 {
				n.refuse(bar{What: what, Code: m.code, For: min(left, refuseFor)}) // the node's clock may be wrong
			}
			return &protocol.CloseError{Code: m.code}
		}
	}
	return nil
}

// bars returns what the entries leave in the record.
func (r *removal) bars() []mark { return barsOf(r.all) }

func barsOf(all []*released) (bars []mark) {
	for _, e := range all {
		bars = append(bars, e.bars...)
	}
	return bars
}

// lacksBars reports whether the record, as it was looked at, lacks some of them.
func (r *removal) lacksBars() bool {
	return !r.graced && !slices.Equal(withBars(r.marks, r.bars()), r.marks)
}

// barChange is a change of the bars of a user's record. The node has it until the store does, over its lives.
type barChange struct {
	user  string
	add   []mark // bars; nil for the end of a ban
	done  chan struct{}
	found bool // a ban that has ended so; valid when done is closed

	// The node's lock protects these.
	writing bool // a goroutine of this life has it
	lifted  bool // an Unban has come since: what was added leaves the record
}

// bar has a user's record refuse logons. It returns when the record does, or when ctx ends, or the store is silent for Config.QueryTimeout;
// then it is written as soon as the store is there again.
func (n *Node) bar(ctx context.Context, user string, bars []bar) {
	c := &barChange{user: user}
	for i := range bars {
		c.add = append(c.add, bars[i].inRecord())
	}
	n.changeBars(ctx, c)
}

// unbar removes a ban from a user's record, as bar does. It reports whether there was one.
func (n *Node) unbar(ctx context.Context, user string) (banned bool) {
	c := &barChange{user: user}
	return n.changeBars(ctx, c) && c.found
}

// changeBars brings a change into the store. It returns as bar does, and reports whether it is there.
func (n *Node) changeBars(ctx context.Context, c *barChange) (done bool) {
	n.mu.Lock()
	n.addChange(c)
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.QueryTimeout)
	defer cancel()
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// addChange has a change written in this life of the node, or in the next one. n.mu is held on entry.
func (n *Node) addChange(c *barChange) {
	c.done = make(chan struct{})
	n.changes = append(n.changes, c)
	if n.maySend() {
		life, me := n.life, n.me
		c.writing = true
		n.work.Go(func() { n.writeChange(life, me, c) })
	}
}

// leaveBars has bars written of sessions whose entries this life of the node does not remove. n.mu is held on entry.
func (n *Node) leaveBars(user string, bars []mark) {
	if len(bars) > 0 {
		n.addChange(&barChange{user: user, add: bars})
	}
}

// writeLateChanges writes the changes that former lives have left, until ctx ends.
func (n *Node) writeLateChanges(ctx context.Context, me Incarnation) {
	n.mu.Lock()
	var late []*barChange
	for _, c := range n.changes {
		if !c.writing {
			c.writing = true
			late = append(late, c)
		}
	}
	n.mu.Unlock()
	var workers sync.WaitGroup
	defer workers.Wait()
	places := make(chan struct{}, markers)
	for _, c := range late {
		places <- struct{}{}
		workers.Go(func() {
			n.writeChange(ctx, me, c)
			<-places
		})
	}
}

// writeChange writes a change, and forgets it when that is done.
func (n *Node) writeChange(ctx context.Context, me Incarnation, c *barChange) {
	done := n.tryChange(ctx, me, c)
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.writing = false; done {
		n.changes = slices.DeleteFunc(n.changes, func(o *barChange) bool { return o == c })
		close(c.done)
	}
}

// tryChange writes a change. It reports false when the node's life is over.
func (n *Node) tryChange(ctx context.Context, me Incarnation, c *barChange) (done bool) {
	var prev Version // most users who are barred are offline, and have no record
	var entries []entry
	var had []mark
	for pause := time.Duration(0); ; {
		epoch, err := n.releaseEpoch(ctx, me)
		if err != nil {
			return false
		}
		marks, lifted := n.apply(c, had)
		if prev != 0 && slices.Equal(marks, had) {
			if len(entries) == 0 { // the answer was lost
				n.noteBars(c.user, had)
			}
			return true
		}
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		err = n.write(call, c.user, prev, entries, marks, SwapOptions{Epoch: epoch})
		cancel()
		conflict := asConflict(err)
		switch {
		case err == nil:
			if _, now := n.apply(c, nil); now == lifted {
				return true
			}
			prev, entries, had = 0, nil, nil // an Unban came meanwhile, and may have found nothing
		case conflict != nil:
			if entries, had, err = decodeAll(conflict.Body, conflict.Version); err != nil {
				if n.mend(ctx, c.user, conflict.Version, epoch, true) != nil {
					return true
				}
				prev, entries, had = 0, nil, nil
				continue
			}
			prev = conflict.Version
		default:
			pause = n.backOff(ctx, err, pause)
		}
	}
}

// apply returns what a change makes of a record's marks, and whether an Unban has come since the change was called for.
func (n *Node) apply(c *barChange, marks []mark) (rest []mark, lifted bool) {
	n.mu.Lock()
	lifted = c.lifted
	n.mu.Unlock()
	if c.add != nil && !lifted {
		return withBars(marks, c.add), false
	}
	ban := barIDOf(banOf(c.user))
	for _, m := range marks {
		switch {
		case c.add != nil && slices.Contains(c.add, m):
		case c.add == nil && m.isBar() && m.what == ban:
			c.found = c.found || time.Now().UnixMilli() < m.end
		default:
			rest = append(rest, m)
		}
	}
	return rest, lifted
}

// liftBans has the bans of a user that are not in the store yet not come there, or leave it again. n.mu is held on entry.
func (n *Node) liftBans(user string) {
	ban := barIDOf(banOf(user))
	for _, c := range n.changes {
		if c.user == user && slices.ContainsFunc(c.add, func(m mark) bool { return m.what == ban }) {
			c.lifted = true
		}
	}
}

// awaitBars waits until the bars that ended sessions of a user leave are in the record, as bar does.
func (n *Node) awaitBars(ctx context.Context, user string) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.QueryTimeout)
	defer cancel()
	n.awaitReleases(ctx, user)
}
