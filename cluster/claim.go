package cluster

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// claim is a session of this node, from before its first swap until its Disconnected handlers have returned. There is one for each
// session, so that it is small.
type claim struct {
	user string
	own  entry    // the node's lock protects its first, past and generation; the latter is 0 while the entry is not in the store, as far as this node knows. Of a granted claim it protects the node, too
	open *pending // nil once the claim is granted
	seen uint32   // the number of the last audit that has found the entry; only the audit uses it

	// The node's lock protects these.
	anew      bool       // the user's record may have left the store, or may never have been there: if writing the entry brings it, Online is told
	guessed   bool       // the store has not given the generation: the record of another session may have that version
	rewritten bool       // the store may have lost that another node has told Online for it
	more      *claimMore // nil until it is needed
}

// claimMore holds the fields that few claims need.
type claimMore struct {
	rest    []entry       // the other entries of the record as the claim wrote it
	marked  []uuid.UUID   // sessions that the entry's record marks as ending because of the claim; nil once its own is Connected
	marks   []mark        // of that record
	bars    []mark        // what the session leaves in the record when it has ended
	waiters []Incarnation // nodes that wait for the session's end
	heir    uuid.UUID     // the session elsewhere that continues this one; zero for none
	unasked int           // the messages that the session has confirmed without being asked
	lost    lost          // of a claim that was granted, in case it is not used
	over    chan struct{} // closed when the claim is no longer in Node.claims; nil while none waits for it
}

// needMore returns the claim's claimMore for writing. The node's lock is held on entry.
func (c *claim) needMore() *claimMore {
	if c.more == nil {
		c.more = new(claimMore)
	}
	return c.more
}

// Claim implements usermgr.Claims. It returns when the sessions elsewhere that the logon excludes have ended, or their node is dead.
func (n *Node) Claim(ctx context.Context, r usermgr.ClaimRequest) (usermgr.Claimed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n.awaitReleases(ctx, r.Logon.UserID)
	c, claimed, err := n.begin(&r, cancel)
	if err != nil || claimed.Generation != 0 {
		return claimed, err
	}
	granted := false
	defer func() {
		if !granted {
			n.end(c, nil)
		}
	}()
	excluded, err := n.enter(ctx, c)
	for i := 0; err == nil && i < len(excluded); i++ {
		err = n.evict(ctx, c, &excluded[i])
	}
	if err == nil {
		n.askGraces(ctx, c)
		claimed, err = n.grant(c)
	}
	if err != nil {
		return usermgr.Claimed{}, claimError(ctx, err)
	}
	granted = true
	n.tellJoined(c)
	return claimed, nil
}

// claimError prefers the cause for which the claim was given up.
func claimError(ctx context.Context, err error) error {
	var ce *protocol.CloseError
	if codes.As(context.Cause(ctx), &ce) {
		return ce
	}
	return err
}

// begin notes a claim. Where the node acts without the store it grants it: then claimed has a Generation.
func (n *Node) begin(r *usermgr.ClaimRequest, cancel context.CancelCauseFunc) (_ *claim, claimed usermgr.Claimed, err error) {
	user := r.Logon.UserID
	online := n.cfg.StoreLost == Open && n.users.Load().IsOnline(user)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stage == stopping:
		return nil, claimed, &protocol.CloseError{Code: protocol.ServerStopping}
	case n.stage == cutOff:
	case n.stage != acting || !n.May():
		return nil, claimed, refusal("the server is not in its cluster now", n.cfg.Renew)
	}
	if why := n.refuses(&r.Logon); why != nil {
		return nil, claimed, why
	}
	c := &claim{user: user, open: &pending{logon: r.Logon, cancel: cancel}}
	c.own = entry{node: n.me, session: r.Session, device: r.Logon.Device, token: tokenDigest(user, r.Logon.Token), first: true}
	c.own.past = c.pastOf(nil, nil)
	n.claims[r.Session] = c
	n.arrivals.of(user).claim = c
	if n.stage == cutOff {
		n.letIn(c, online)
		claimed = usermgr.Claimed{Generation: uint64(c.own.generation), First: c.own.first}
	}
	return c, claimed, nil
}

// enter writes the claim's entry into the user's record, and returns the entries that must end before, the oldest first.
func (n *Node) enter(ctx context.Context, c *claim) (excluded []entry, err error) {
	var prev Version
	own := c.own // in the record generation 0 stands for the version that is written
	next := []entry{own}
	var marks []mark
	for pause := time.Duration(0); ; {
		epoch, err := n.awaitEpoch(ctx, own.node)
		if err != nil {
			return nil, err
		}
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		v, err := n.dir.Swap(call, c.user, prev, encodeRecord(next, marks), SwapOptions{Epoch: epoch})
		cancel()
		var conflict *Conflict
		switch {
		case err == nil:
			n.raiseFloor(v)
			if n.swapped(c, epoch, v, next, marks) {
				n.tellTaken(c)
				return excluded, nil
			}
		case errors.As(err, &conflict):
			entries, had, err := decodeAll(conflict.Body, conflict.Version)
			if err != nil {
				seam.LeavePlace(ctx)
				if err := n.mend(ctx, c.user, conflict.Version, epoch, true); err != nil {
					n.log.Error("a logon is refused because of a malformed record in the cluster's store", zap.String("user", c.user), zap.Error(err))
					return nil, refusal(textMalformed, n.cfg.Renew)
				}
				continue
			}
			n.raiseFloor(conflict.Version)
			if i := find(entries, own.session); i >= 0 { // an answer was lost
				if n.swapped(c, epoch, entries[i].generation, entries, had) {
					n.tellTaken(c)
					return excluded, nil
				}
				continue
			}
			if err := n.barredBy(&c.open.logon, had); err != nil {
				return nil, err
			}
			prev, c.open.prev = conflict.Version, Version(n.floor.Load())
			n.mu.Lock()
			c.open.unwritten(epoch)
			n.mu.Unlock()
			if next, excluded, err = n.decide(ctx, c, entries); err != nil {
				return nil, err
			}
			marks = n.liveMarks(had)
		case errors.Is(err, ErrRecovering):
			n.wake()
			seam.LeavePlace(ctx)
			n.awaitChange(ctx, n.cfg.Renew/4)
		default: // it may have been done: the same again, and a conflict with the own entry says so
			n.mu.Lock()
			c.unnoted(epoch)
			n.mu.Unlock()
			pause = min(max(2*pause, 5*time.Millisecond), n.cfg.Renew/4)
			sleep(ctx, pause)
		}
	}
}

// awaitEpoch returns the store's epoch, when the store has none that counts after it has got one again. The error says that the claim
// must fail.
func (n *Node) awaitEpoch(ctx context.Context, me Incarnation) (string, error) {
	for {
		n.mu.Lock()
		epoch, changed, lost := n.epoch, n.changed, n.stage != acting || n.me != me
		n.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case lost || !n.May():
			return "", refusal("the server has lost its cluster", n.cfg.Renew)
		case epoch != "":
			return epoch, nil
		}
		seam.LeavePlace(ctx)
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// awaitChange waits for the next renewal that counts, or for d.
func (n *Node) awaitChange(ctx context.Context, d time.Duration) {
	n.mu.Lock()
	changed := n.changed
	n.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
	}
}

// swapped notes that the claim's entry is in the store. It reports false when the store has another epoch now: the entry may have been
// lost, and recover may have collected the sessions that it writes again before this one was noted.
func (n *Node) swapped(c *claim, epoch string, v Version, entries []entry, marks []mark) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.epoch != epoch {
		c.unnoted(epoch)
		return false
	}
	c.own.generation = v
	if len(marks) > 0 {
		c.needMore().marks = marks
	}
	if len(entries) > 1 {
		c.needMore().rest = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.session == c.own.session })
	}
	return true
}

// decide returns what the record is to become, and which of its sessions must end before the claim is granted. It notes what it has
// marked. An error refuses the logon.
func (n *Node) decide(ctx context.Context, c *claim, entries []entry) (next, excluded []entry, err error) {
	if err := n.mayReturn(c, entries); err != nil {
		return nil, nil, err
	}
	graces, sessions := splitGraces(entries)
	if n.policy.IgnoreNew {
		if err := n.refuseBeside(ctx, c, sessions); err != nil {
			return nil, nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	next, dead := n.withoutDead(sessions)
	graces, deadGraces := n.withoutDead(graces)
	c.open.rest = slices.DeleteFunc(slices.Concat(graces, next), func(e entry) bool {
		return n.isGhost(&e) && !n.release.owes(c.user, e.session)
	})
	c.open.hid = len(c.open.rest) > 0 && len(c.open.rest) < len(graces)+len(next)
	next = slices.DeleteFunc(next, func(e entry) bool { return n.isGhost(&e) })
	graces = slices.DeleteFunc(graces, func(e entry) bool { return n.isGhost(&e) })
	c.open.graces, c.open.dead = graces, append(dead, deadGraces...)
	if c.open.hid || n.hidesOnline(c.open.dead, c.open.rest) {
		takeFirst(next)
	}
	// An entry of this node is older than the claim: then the claim was never the first.
	older := slices.ContainsFunc(c.open.rest, func(e entry) bool { return e.node == c.own.node })
	c.own.first = len(c.open.rest) == 0 || c.open.firstIn != "" && !older
	meant, here := n.excludedBy(c, next)
	var marked []uuid.UUID
	for _, i := range meant {
		e := &next[i]
		if !e.ending {
			e.ending = true
			marked = append(marked, e.session)
		}
		if !slices.Contains(here, i) {
			excluded = append(excluded, *e)
		}
	}
	if c.more != nil || marked != nil {
		c.needMore().marked = marked
	}
	c.own.past = c.pastOf(next, meant)
	own := c.own
	own.generation = 0
	return append(next, own), excluded, nil
}

// splitGraces returns the graces among the entries, and the sessions.
func splitGraces(entries []entry) (graces, sessions []entry) {
	for _, e := range entries {
		if e.grace {
			graces = append(graces, e)
		} else {
			sessions = append(sessions, e)
		}
	}
	return graces, sessions
}

// tellTaken tells which sessions of dead nodes a claim has taken out of the store, and what entries of this node have hidden.
func (n *Node) tellTaken(c *claim) {
	n.mu.Lock()
	dead, hid, version := c.open.dead, c.open.hid, c.own.generation
	c.open.dead, c.open.hid = nil, false
	n.mu.Unlock()
	if len(dead) > 0 {
		n.tellSwept(c.user, c.open.prev, dead, c.open.rest)
	}
	if hid {
		n.local.Online(c.user, uint64(version))
	}
}

// askGraces brings what moves with the user from nodes where the user was in a grace.
func (n *Node) askGraces(ctx context.Context, c *claim) {
	for i := range c.open.graces {
		if e := &c.open.graces[i]; e.node != c.own.node {
			n.askGrace(ctx, c, e)
		}
	}
}

// isGhost reports whether an entry is of a dead node, or of a session or grace of this node that has ended. n.mu is held on entry.
func (n *Node) isGhost(e *entry) bool {
	if e.node == n.me && e.grace {
		return n.graces.sessions[e.session] == nil
	}
	if e.node == n.me {
		return n.claims[e.session] == nil
	}
	return n.isDead(e.node)
}

// excludedBy returns the indices of the entries that the claim excludes, and those among them that the user manager ends by itself, in
// the order of a replacement within one process. n.mu is held on entry.
func (n *Node) excludedBy(c *claim, entries []entry) (all, here []int) {
	var places, local []seam.Place
	var at, localAt []int
	for i := range entries {
		e := &entries[i]
		if slices.Contains(c.open.ended, e.session) {
			continue
		}
		p := seam.Place{Device: e.device, Same: c.same(e)}
		if e.ending && !p.Same { // the session ends soon, and takes no place
			if n.policyPair(c, e) {
				all = append(all, i)
			}
			continue
		}
		places, at = append(places, p), append(at, i)
		if e.node == c.own.node {
			local, localAt = append(local, p), append(localAt, i)
		}
	}
	for _, i := range n.policy.Excluded(c.open.logon.Device, places) {
		all = append(all, at[i])
	}
	slices.Sort(all)
	for _, i := range n.policy.Excluded(c.open.logon.Device, local) {
		here = append(here, localAt[i])
	}
	return all, here
}

// policyPair reports whether the logon excludes the entry whatever else there is.
func (n *Node) policyPair(c *claim, e *entry) bool {
	return len(n.policy.Excluded(c.open.logon.Device, []seam.Place{{Device: e.device, Same: c.same(e)}})) > 0
}

// same reports whether the entry has the logon's token, or is the session that the logon takes over.
func (c *claim) same(e *entry) bool {
	return e.hasToken() && e.token == c.own.token || c.takesOver(e)
}

// takesOver reports whether the logon names the entry's session by its ID, or by that of a session that it continues.
func (c *claim) takesOver(e *entry) bool {
	id := e.session.String()
	if c.open.logon.Session == id || c.open.logon.Token == id {
		return true
	}
	back, ok := returning(&c.open.logon)
	return ok && e.past.has(pastIDOf(c.user, back), true)
}

// grant decides, at the end, whether the logon may come in: not when the node's lease is over.
func (n *Node) grant(c *claim) (claimed usermgr.Claimed, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stage != acting || n.me != c.own.node || c.open.givenUp || !n.May() {
		return claimed, refusal("the server has lost its cluster", n.cfg.Renew)
	}
	if why := n.refuses(&c.open.logon); why != nil { // a kick has come meanwhile
		return claimed, why
	}
	claimed = usermgr.Claimed{Generation: uint64(c.own.generation), First: c.own.first, Carry: c.open.carries}
	if c.open.lost != (lost{}) {
		c.needMore().lost = c.open.lost
	}
	c.open = nil
	if g := n.graces.users[c.user]; g != nil {
		g.back = true
	}
	return claimed, nil
}

// asConflict returns the Conflict that an error is; nil for none.
func asConflict(err error) *Conflict {
	var c *Conflict
	errors.As(err, &c)
	return c
}

func retryText(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }
