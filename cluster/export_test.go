package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// KeepReleases is how long a node keeps in mind what it has removed.
const KeepReleases = keepReleases

// The first byte of some frames.
const (
	FrameEvict  = byte(frameEvict)
	FrameAsk    = byte(frameAsk)
	FrameAnswer = byte(frameAnswer)

	FrameHello   = byte(frameHello)
	FrameWelcome = byte(frameWelcome)
	FrameDeliver = byte(frameDeliver)

	FrameUnasked = byte(frameUnasked)
)

// InBubble has the node go by the clock of a synctest bubble.
func (c Config) InBubble() Config { return c.InBubbleAt(1) }

// InBubbleAt is InBubble for a clock of another rate: with 0.5 it is half as fast.
func (c Config) InBubbleAt(rate float64) Config {
	began := time.Now()
	c.now = func() time.Duration { return time.Hour + time.Duration(rate*float64(time.Since(began))) }
	return c
}

// IsHealed reports whether the node knows that the store has recovered and that of all nodes only these live, and waits for no answer of
// theirs.
func (n *Node) IsHealed(alive []Incarnation) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.view.Members {
		if !m.Dead && !slices.Contains(alive, m.Incarnation) {
			return false
		}
	}
	for _, p := range n.peers {
		if p.asked != 0 && n.now()-p.last <= 2*n.cfg.silence() {
			return false
		}
	}
	return n.epoch != "" && n.May() && len(n.rivals) == 0
}

// TakesForDead reports whether the node takes an incarnation for dead.
func (n *Node) TakesForDead(inc Incarnation) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.isDead(inc)
}

// Now returns the time of the node's clock.
func (n *Node) Now() time.Duration { return n.now() }

// IsOverAt sets the end of the node's lease, and reports whether an engine would find it over.
func (n *Node) IsOverAt(end time.Duration) bool {
	n.lease.SetEnd(end)
	return n.lease.Over()
}

// DescribeLate has the node note a session that has begun before it writes details, and then write them until ctx ends.
func (n *Node) DescribeLate(ctx context.Context, s usermgr.SessionInfo, store DetailStore) {
	n.noteDetail(&change{info: s})
	n.describeAll(ctx, store)
}

// EndLease ends the node's lease, as its clock does, and nothing more.
func (n *Node) EndLease() { n.lease.SetEnd(0) }

// Awaited reports whether a push waits for the user's logon.
func (n *Node) Awaited(user string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.arrivals.users[user]
	return u != nil && u.over != nil
}

// Held returns how many claims the node has.
func (n *Node) Held() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.claims)
}

// Decode returns what a record says of its sessions: their nodes, and which are ending. One that is malformed says nothing.
func Decode(r Record) (nodes []Incarnation, ending []bool) {
	entries, _ := decodeRecord(r.Body, r.Version)
	for _, e := range entries {
		nodes, ending = append(nodes, e.node), append(ending, e.ending)
	}
	return nodes, ending
}

// IsMessage reports whether a frame has a message for a user.
func IsMessage(frame []byte) bool { return frameKind(frame[0]) == frameDeliver }

// Asks reports whether the node waits for answers to a question.
func (n *Node) Asks() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.questions) > 0
}

// Answers returns how many answers to other nodes' questions the node keeps.
func (n *Node) Answers() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.answering.by)
}

// IsBusy reports whether a frame says that an answer comes later.
func IsBusy(frame []byte) bool {
	f, err := decodeFrame(frame)
	return err == nil && f.flags&flagBusy != 0
}

// DecodeText returns a record in words.
func DecodeText(r Record) string {
	entries, marks, err := decodeAll(r.Body, r.Version)
	return fmt.Sprintf("version %d: %+v %+v %v", r.Version, entries, marks, err)
}

// Releasing returns the users whose entries are being removed.
func (n *Node) Releasing() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.release.users))
}

// MaxRefusals limits what a node refuses.
const MaxRefusals = maxRefusals

// Refuse has a node refuse so many secrets, and returns how many it refuses then.
func (n *Node) Refuse(secrets int) int {
	for i := range secrets {
		n.refuse(bar{What: binary.BigEndian.AppendUint64(nil, uint64(i)), Code: protocol.Unauthorized, For: time.Hour})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.refusals.by)
}

// DelayEndGrace has the user manager end graces later, as where a user's turn is busy.
func (n *Node) DelayEndGrace(by time.Duration) {
	end := n.local.EndGrace
	n.local.EndGrace = func(user string) { time.AfterFunc(by, func() { end(user) }) }
}

// UseKept gives the node what a push service provides, and returns the service's Keeper.
func (n *Node) UseKept(k seam.Kept) seam.Keeper {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kept = append(slices.Clone(n.kept), k)
	return keeper{n}
}

// Marks returns the nodes that have marks in a record.
func Marks(r Record) (nodes []Incarnation) {
	_, marks, err := decodeAll(r.Body, r.Version)
	if err != nil {
		panic(err)
	}
	for _, m := range marks {
		if !m.isBar() {
			nodes = append(nodes, m.node)
		}
	}
	return nodes
}

// Bars returns how many bars a record has.
func Bars(r Record) (bars int) {
	_, marks, err := decodeAll(r.Body, r.Version)
	if err != nil {
		panic(err)
	}
	for _, m := range marks {
		if m.isBar() {
			bars++
		}
	}
	return bars
}

// MaxBars limits the bars of a record, and ToldRefusals what a newcomer is told.
const (
	MaxBars      = maxBars
	ToldRefusals = toldRefusals
)

// FrameFrom returns who has sent a frame.
func FrameFrom(frame []byte) Incarnation {
	f, err := decodeFrame(frame)
	if err != nil {
		panic(err)
	}
	return f.from
}

// IsMarked reports whether a frame says that a user with a mark has a session.
func IsMarked(frame []byte) bool { return frameKind(frame[0]) == frameMarked }

// Audits returns how many audits of the store the node has begun.
func (n *Node) Audits() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.audits.count
}

// AuditMends returns how many entries the node's audits have removed that it does not have, and how many they have written that were missing.
func (n *Node) AuditMends() (strangers, missing int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.audits.mends.strangers, n.audits.mends.missing
}

// MarkOf returns a record that has nothing but a node's mark.
func MarkOf(inc Incarnation) []byte { return markFor(inc, time.Hour).appendTo(nil) }

// RaiseFloor makes the store's versions greater than v from the node's next renewal on.
func (n *Node) RaiseFloor(v Version) { n.raiseFloor(v) }
