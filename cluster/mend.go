package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/protocol"
)

// A record is malformed if another program has written it, or if bits of it have changed. It conceals who is where. So a node that meets one
// in a logon, when a session ends, or in an audit asks all other nodes what they have of the user, and writes the record anew from their
// answers. It leaves the record as it is when another node can read it, which may be of a later version, and when a node does not answer:
// nodes of an earlier version do not know the question.

// mendOrder asks what a node has of a user whose record is malformed, as JSON.
type mendOrder struct {
	User string
}

// mendReply is the answer, as JSON.
type mendReply struct {
	Readable bool   // the node can read the record, or has found none
	Record   []byte // else the node's entries of the user, its mark, and a ban
}

var (
	errReadable = errors.New("rollcall: another node can read the record")
	errUnmended = errors.New("rollcall: a node has not said what it has of the user")
)

// errMalformed refuses what needs a user's record that is malformed.
var errMalformed = protocol.Errorf(protocol.InternalError, textMalformed)

const textMalformed = "the user's record in the cluster's store is malformed"

// malformed logs that a user's record is malformed.
func (n *Node) malformed(user string) {
	n.log.Error("a user's record in the cluster's store is malformed", zap.String("user", user))
}

// mend writes a user's malformed record anew, which has this version; it is no error if another has written it meanwhile. If nothing is left,
// mend tells Offline when tell is set: what was told of the user has no higher version than the record, and than what the node knows.
func (n *Node) mend(ctx context.Context, user string, version Version, epoch string, tell bool) error {
	n.malformed(user)
	n.mu.Lock()
	entries, marks := n.partOf(user)
	n.mu.Unlock()
	readable, whole := false, true
	missing := n.askAll(ctx, queryMend, toJSON(n, &mendOrder{user}), func(body []byte) {
		var m mendReply
		if !fromJSON(n, body, &m) {
			whole = false
			return
		}
		theirs, had, err := decodeAll(m.Record, 0)
		readable, whole = readable || m.Readable, whole && err == nil
		entries, marks = append(entries, theirs...), withBars(marks, had)
	})
	switch {
	case readable:
		return errReadable
	case !whole || len(missing) > 0 || ctx.Err() != nil:
		return cmp.Or(ctx.Err(), errUnmended)
	}
	entries = n.together(user, entries)
	call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
	defer cancel()
	err := n.write(call, user, version, entries, marks, SwapOptions{Epoch: epoch})
	switch {
	case asConflict(err) != nil:
		return nil
	case err == nil && len(entries) == 0 && tell:
		n.local.Offline(user, max(uint64(version), n.floor.Load()), nil)
	}
	return err
}

// partOf returns what the node has of a user in the store, and that the user is banned. Revoked tokens and sessions that were kicked are refused by
// the nodes that have heard of them alone: their digests do not tell their user. n.mu is held on entry.
func (n *Node) partOf(user string) (entries []entry, marks []mark) {
	for _, c := range n.claims {
		if c.user == user && c.own.node == n.me && c.own.generation != 0 && (c.open == nil || !c.open.givenUp) {
			entries = append(entries, c.own)
		}
	}
	if g := n.graces.users[user]; g != nil && g.own.node == n.me && !g.back {
		entries = append(entries, g.own)
	}
	if u := n.keeping.users[user]; u != nil && u.until > n.now() {
		marks = append(marks, markFor(n.me, u.until-n.now()))
	}
	what := banOf(user)
	if r, ok := n.refusals.by[string(what)]; ok && r.until > n.now() {
		ban := bar{What: what, Code: r.why.Code, For: r.until - n.now()}
		marks = append(marks, ban.inRecord())
	}
	return entries, marks
}

// together returns the entries that several nodes have of a user as a record has them: the oldest first, those that give way to younger ones
// marked, and graces only of a user without a session.
func (n *Node) together(user string, all []entry) []entry {
	graces, sessions := splitGraces(all)
	if len(sessions) == 0 {
		sessions = graces
	}
	slices.SortStableFunc(sessions, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.generation, b.generation), bytes.Compare(a.session[:], b.session[:]))
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.rivalsAmong(user, sessions, uuid.UUID{}) {
		sessions[find(sessions, p.older.session)].ending = true
	}
	return sessions
}

// answerMend tells another node what this one has of a user whose record is malformed.
func (n *Node) answerMend(ctx context.Context, body []byte) []byte {
	var o mendOrder
	if !fromJSON(n, body, &o) {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
	defer cancel()
	records, err := n.dir.Look(call, o.User)
	if err != nil {
		return nil
	}
	if _, _, err := decodeAll(records[0].Body, records[0].Version); err == nil {
		return toJSON(n, &mendReply{Readable: true})
	}
	n.mu.Lock()
	entries, marks := n.partOf(o.User)
	n.mu.Unlock()
	return toJSON(n, &mendReply{Record: encodeRecord(entries, marks)})
}
