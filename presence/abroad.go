package presence

import (
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/usermgr"
)

func init() {
	seam.IsElsewhere = func(p any, userID string) bool { return p.(*Service).table.isElsewhere(userID) }
}

// abroad is what a user has besides where there are other servers. A user is online while the user is on any server. What the user has
// chosen is the choice with the greatest stamp that any server knows: a stamp is greater than those of all choices known before it.
type abroad struct {
	places  []place   // other servers on which the user is
	leaving uint8     // beats since the user has left the last server that is known, and counts as online until Offline is told; 0 for no
	mine    bool      // the user was here last, or Offline was told here: this server stores when the user was last seen
	gen     uint64    // the greatest Generation of the user's sessions that is known
	stamp   int64     // of what acts; 0 for what was read from the store
	keep    time.Time // until then other servers are told of the choice although the user is not here
	known   known     // what other servers know
	gone    uint64    // Offline was told here, with this Version, and other servers do not know yet
	queued  bool      // in table.toSpread
}

// place is another server on which a user is.
type place struct {
	server uint32
	gen    uint64
}

// known is what other servers know of a user on this one.
type known struct {
	here, acts bool
	wanted     State
	stamp      int64
	gen        uint64
}

const (
	// keepChoice is for how long a choice is told that was made on a server where the user is not.
	keepChoice = time.Minute
	// mostLeaving is after how many beats a user who has left is offline, though the cluster does not say so.
	mostLeaving = 7
)

// isOnline reports whether the user is online on any server.
func (u *user) isOnline() bool {
	return u.online || u.abroad != nil && (len(u.abroad.places) > 0 || u.abroad.leaving > 0)
}

// isElsewhere reports whether the user is on another server, in Stealth too.
func (t *table) isElsewhere(userID string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[userID]
	return u != nil && u.abroad != nil && len(u.abroad.places) > 0
}

// isQuiet reports whether nothing keeps the user in memory.
func (a *abroad) isQuiet() bool {
	return a == nil || len(a.places) == 0 && a.leaving == 0 && a.keep.IsZero() && a.known == (known{}) && a.gone == 0 && !a.queued
}

// came notes a session here.
func (u *user) came(generation uint64) {
	if a := u.abroad; a != nil {
		a.gen = max(a.gen, generation)
		a.leaving, a.mine = 0, true
	}
}

// left is the handler of the event Left.
func (t *table) left(d usermgr.UserData) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(d.UserID)
	u.online = false
	if len(u.abroad.places) == 0 {
		u.abroad.leaving = 1
	} else {
		u.abroad.mine = false
	}
	t.review(u)
}

// isOffline notes that Offline is told here. Sessions with a greater Generation than the event's Version came later.
func (a *abroad) isOffline(version uint64) {
	a.mine, a.gone = true, version
	a.forget(version)
}

// forget forgets the servers that the user was on before Offline.
func (a *abroad) forget(version uint64) {
	a.places = slices.DeleteFunc(a.places, func(p place) bool { return p.gen <= version })
	if a.gen <= version {
		a.leaving = 0
	}
}

// leave notes that the user is not on another server any more.
func (u *user) leave(server uint32) {
	a := u.abroad
	n := len(a.places)
	a.places = slices.DeleteFunc(a.places, func(p place) bool { return p.server == server })
	if n > 0 && len(a.places) == 0 && !u.online {
		a.leaving = 1
	}
}

// stores reports whether this server stores the change that a tick has found.
func (u *user) stores() bool {
	a := u.abroad
	if a == nil || u.online {
		return true
	}
	mine := a.mine
	a.mine = false
	return mine
}

// stampChoice gives a choice a stamp.
func (u *user) stampChoice(c *choice) {
	if a := u.abroad; a != nil {
		c.stamp = max(time.Now().UnixMilli(), a.stamp+1)
	}
}

// isOlder reports whether another server's later choice acts.
func (u *user) isOlder(c *choice) bool { return u.abroad != nil && u.abroad.stamp > c.stamp }

// actChoice makes a choice act, unless another server's later one does: that one is stored again.
func (u *user) actChoice(c *choice) {
	a := u.abroad
	switch {
	case u.isOlder(c):
		u.unsaved = true
		return
	case a != nil:
		a.stamp, a.keep = c.stamp, time.Now().Add(keepChoice)
		a.known = known{} // Stealth is told when it acts, and again when it is stored: a server that reads the store in between has it then
	}
	u.act(c.state)
}

// adopt makes a choice act that another server has told. Where the user is here it is stored here too: what this server has stored
// meanwhile may have had an older one.
func (u *user) adopt(wanted State, stamp int64) {
	if u.online && stamp > 0 && (!u.acts || u.wanted != wanted) {
		u.unsaved = true
	}
	u.act(wanted)
	u.abroad.stamp = stamp
}

// spread queues a user that other servers are to be told about, and notes what a beat ends. t.mu is held on entry.
func (t *table) spread(u *user) {
	a := u.abroad
	if a == nil {
		return
	}
	if a.leaving > 0 || !a.keep.IsZero() {
		t.passing[u] = struct{}{}
	}
	if !a.queued && (a.gone > 0 || u.toKnow() != a.known) {
		a.queued = true
		t.queue(&t.toSpread, u)
	}
}

// toKnow is what other servers are to know of a user.
func (u *user) toKnow() (k known) {
	a := u.abroad
	if u.online && u.acts {
		k.here, k.gen = true, a.gen
	}
	if k.here || !a.keep.IsZero() {
		k.acts, k.wanted, k.stamp = true, u.wanted, a.stamp
	}
	return k
}

// takeSpread returns what other servers are to be told.
func (t *table) takeSpread() (all []entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := t.toSpread
	t.toSpread = nil
	for _, u := range users {
		a := u.abroad
		a.known, a.queued = u.toKnow(), false
		all = append(all, u.entry())
		a.gone = 0
		t.review(u)
	}
	return all
}

// whole returns all that other servers know.
func (t *table) whole() (all []entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.users {
		if u.abroad.known != (known{}) {
			all = append(all, u.entry())
		}
	}
	return all
}

func (u *user) entry() entry {
	return entry{id: u.id, known: u.abroad.known, gone: u.abroad.gone, crossed: u.crossed, times: u.times}
}

// hear takes what another server has told of a user.
func (t *table) hear(server uint32, e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users[e.id] == nil && !e.here {
		return
	}
	u := t.user(e.id)
	a := u.abroad
	switch {
	case !e.acts:
	case !u.isOnline() && a.keep.IsZero() && u.choice == nil: // what acted before is from an earlier time
		u.act(e.wanted)
		a.stamp = e.stamp
	case !u.acts, e.stamp > a.stamp, e.stamp == a.stamp && e.wanted > u.wanted:
		u.adopt(e.wanted, e.stamp)
	}
	if e.here {
		u.leave(server)
		a.places = append(a.places, place{server, e.gen})
		a.gen, a.leaving, a.mine = max(a.gen, e.gen), 0, u.online
	} else {
		u.leave(server)
	}
	if e.gone > 0 {
		a.forget(e.gone)
	}
	u.later(e.times)
	at := e.crossed
	if at == 0 {
		at = momentOf(time.Now())
	}
	t.reviewAt(u, at)
}

// leaveAll notes that no user but those in here is on another server any more.
func (t *table) leaveAll(server uint32, here map[string]struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, u := range t.users {
		if _, is := here[id]; !is {
			u.leave(server)
			t.review(u)
		}
	}
}

// beat lets go of choices that were told for long enough, and returns the users who have left and may be offline.
func (t *table) beat() (leaving []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for u := range t.passing {
		a := u.abroad
		if !a.keep.IsZero() && now.After(a.keep) {
			a.keep = time.Time{}
		}
		if a.leaving > 0 {
			a.leaving++
			leaving = append(leaving, u.id)
		}
		if a.leaving == 0 && a.keep.IsZero() {
			delete(t.passing, u)
		}
		t.review(u)
	}
	return leaving
}

// settleLeaving takes who is online, of users who have left, by the store of the cluster.
func (t *table) settleLeaving(ids []string, online map[string]struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		u := t.users[id]
		if u == nil || u.abroad.leaving < 2 {
			continue
		}
		if _, is := online[id]; !is {
			u.abroad.mine = true // no server may have told Offline
		} else if u.abroad.leaving < mostLeaving {
			continue
		}
		u.abroad.leaving = 0
		t.review(u)
	}
}
