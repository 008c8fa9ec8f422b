package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
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
// by so much a bar holds longer or shorter. The digest is the beginning of the full one, see digestOf: it is compared within one user's
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
				n.refuse(bar{What: what, Code: m.code, For: left})
			}
			return &protocol.CloseError{Code: m.code}
		}
	}
	return nil
}

// bars returns what the entries leave in the record.
func (r *removal) bars() (bars []mark) {
	for _, e := range r.all {
		bars = append(bars, e.bars...)
	}
	return bars
}

// lacksBars reports whether the record, as it was looked at, lacks some of them.
func (r *removal) lacksBars() bool {
	return !r.graced && !slices.Equal(withBars(r.marks, r.bars()), r.marks)
}

// bar has a user's record refuse logons. It returns when the record does, or when ctx ends, or the store is silent for Config.QueryTimeout;
// then it is written as soon as the store is there again.
func (n *Node) bar(ctx context.Context, user string, bars []bar) {
	var inRecord []mark
	for i := range bars {
		inRecord = append(inRecord, bars[i].inRecord())
	}
	n.changeMarks(ctx, user, func(marks []mark) []mark {
		var rest []mark
		for i := range bars {
			if n.isRefusing(bars[i].What) { // or an Unban has come meanwhile
				rest = append(rest, inRecord[i])
			}
		}
		return withBars(marks, rest)
	})
}

// unbar removes a ban from a user's record, as bar does. It reports whether there was one.
func (n *Node) unbar(ctx context.Context, user string) (banned bool) {
	what := barIDOf(banOf(user))
	found := make(chan struct{}, 1)
	n.changeMarks(ctx, user, func(marks []mark) (rest []mark) {
		for _, m := range marks {
			switch {
			case !m.isBar() || m.what != what:
				rest = append(rest, m)
			case time.Now().UnixMilli() < m.end:
				select {
				case found <- struct{}{}:
				default:
				}
			}
		}
		return rest
	})
	return len(found) > 0
}

// changeMarks changes the marks of a user's record: change returns what they are to be, and may be called several times. It returns as bar
// does.
func (n *Node) changeMarks(ctx context.Context, user string, change func([]mark) []mark) {
	done := make(chan struct{})
	n.mu.Lock()
	if !n.maySend() {
		n.mu.Unlock()
		return
	}
	life, me := n.life, n.me
	n.work.Go(func() {
		defer close(done)
		n.writeMarks(life, me, user, change)
	})
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.QueryTimeout)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// writeMarks is changeMarks until it is done, or the node's life is over.
func (n *Node) writeMarks(ctx context.Context, me Incarnation, user string, change func([]mark) []mark) {
	var prev Version
	var entries []entry
	var had []mark
	marks := change(nil) // most users who are barred are offline, and have no record
	for pause := time.Duration(0); ; {
		epoch, err := n.releaseEpoch(ctx, me)
		if err != nil {
			return
		}
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		err = n.write(call, user, prev, entries, marks, SwapOptions{Epoch: epoch})
		cancel()
		conflict := asConflict(err)
		switch {
		case err == nil:
			return
		case conflict != nil:
			if entries, had, err = decodeAll(conflict.Body, conflict.Version); err != nil {
				if n.mend(ctx, user, conflict.Version, epoch, true) != nil {
					return
				}
				continue
			}
			if marks = change(had); slices.Equal(marks, had) {
				return
			}
			prev = conflict.Version
		case errors.Is(err, ErrRecovering):
			n.wake()
			n.awaitChange(ctx, n.cfg.Renew/4)
		default:
			pause = min(max(2*pause, 10*time.Millisecond), n.cfg.Renew)
			sleep(ctx, pause)
			marks = change(had)
		}
	}
}

// awaitBars waits until the bars that ended sessions of a user leave are in the record, as bar does.
func (n *Node) awaitBars(ctx context.Context, user string) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.QueryTimeout)
	defer cancel()
	n.awaitReleases(ctx, user)
}
