package presence

import (
	"errors"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// State is what a user has chosen to be (Online, Busy or Stealth), or what others see of the user (Online, Offline or Busy).
type State = protocol.PresenceState

// The states.
const (
	Online  = protocol.PresenceOnline
	Offline = protocol.PresenceOffline
	Busy    = protocol.PresenceBusy
	Stealth = protocol.PresenceStealth
)

// Presence is what one user is told of another.
type Presence = protocol.Presence

var errState = errors.New("rollcall: a user may choose to be Online, Busy or in Stealth, and nothing else")

// fieldPresence is the field of a Logon that chooses a state.
const fieldPresence = "presence"

// choosable reports whether a user may choose to be s.
func choosable(s State) bool { return s == Online || s == Busy || s == Stealth }

// stateNamed returns the state that a client chooses by a name.
func stateNamed(name string) (s State, ok bool) {
	for _, s := range []State{Online, Busy, Stealth} {
		if s.String() == name {
			return s, true
		}
	}
	return Offline, false
}

// user is a user who is online, or has something that is not told or stored yet.
type user struct {
	id     string
	choice *choice // that is not stored yet; nil for none
	logon  uint64  // the connection whose Logon was read in Online
	times          // to be stored
	stored State   // what was stored last of what the user has chosen
	wanted State   // what acts
	acts   bool    // wanted is what the user has chosen; before that the user looks offline
	online bool

	loaded     bool // stored and times are the store's, and newer
	load, save work
	unsaved    bool  // times or choice are to be stored
	failures   uint8 // of the store, in a row

	seen    State // what others see now
	settled State // what they saw at the last tick
	noted   bool  // in table.unsettled
	told    State // what watchers were told last
	toldOwn State // what the user's own watching sessions were told last
	telling telling
	refused uint8 // failures of Contacts, in a row

	crossed moment // when seen last went from Offline or to it

	abroad *abroad // what there is besides where there are other servers; else nil
}

// choice is what a user has chosen.
type choice struct {
	state State
	// keep means that a failure of the store does not take the choice back: it is tried again. So it is with Stealth, which acts already,
	// and with a Logon's, which has no answer that could tell of a failure.
	keep  bool
	logon bool          // it is a Logon's: until it is stored no older choice acts in its place
	stamp int64         // see abroad
	done  []func(error) // called with the outcome, on the presence goroutine
}

// work is how far a call of the store for a user is.
type work uint8

const (
	workIdle work = iota
	workQueued
	workRuns
	workPauses // it has failed, and is tried again
)

// resume ends a pause.
func (w *work) resume() {
	if *w == workPauses {
		*w = workIdle
	}
}

// telling is how far a change of a user's state is.
type telling uint8

const (
	tellIdle   telling = iota
	tellQueued         // in table.changed
	tellRuns           // taken by a tick
	tellPauses         // Contacts have failed
)

// sees returns what others see.
func (u *user) sees() State {
	if !u.isOnline() || !u.acts || u.wanted == Stealth {
		return Offline
	}
	return u.wanted
}

// news reports whether there is something to tell.
func (u *user) news() bool {
	return u.seen != u.told || u.acts && u.wanted != u.toldOwn
}

// record returns the record with what was stored last of what the user has chosen.
func (u *user) record() Record {
	return Record{UserID: u.id, Wanted: u.stored, LastOnline: u.lastOnline.time(), LastSeen: u.lastSeen.time()}
}

// toStore returns the record as it is to be stored.
func (u *user) toStore() Record {
	r := u.record()
	switch {
	case u.choice != nil && !u.isOlder(u.choice):
		r.Wanted = u.choice.state
	case u.acts:
		r.Wanted = u.wanted
	}
	return r
}

// act makes what is stored, or was chosen, act.
func (u *user) act(s State) { u.acts, u.wanted = true, s }

// table has the users in memory.
type table struct {
	service *Service

	mu        sync.Mutex
	users     map[string]*user
	changed   []*user            // with something to tell, the oldest change first
	unsettled []*user            // that others see otherwise than at the last tick
	toSpread  []*user            // that other servers are to be told about
	passing   map[*user]struct{} // with something in abroad that a beat ends
	toLoad    []*user
	toSave    []*user
	checks    map[string]struct{} // users whose contacts have changed
}

func (t *table) init(s *Service) {
	t.service, t.users, t.checks = s, make(map[string]*user), make(map[string]struct{})
	t.passing = make(map[*user]struct{})
}

// online is the handler of the event Online. It reads the Logon's choice, so that no slow handler of the application's lets out the
// state that is stored.
func (t *table) online(d usermgr.UserData) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.service.elsewhere != nil && len(d.Sessions) == 0 { // the first session is on another server
		return
	}
	u := t.user(d.UserID)
	u.online = true
	for i := range d.Sessions {
		u.came(d.Sessions[i].Generation)
		t.logon(u, &d.Sessions[i])
		u.logon = d.Sessions[i].Conn
	}
	t.review(u)
}

// connected is the handler of the event Connected.
func (t *table) connected(i usermgr.SessionInfo) {
	alone := t.service.elsewhere == nil
	if alone && i.Fields[fieldPresence] == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(i.UserID)
	if !alone { // Online may have come on another server
		u.online = true
		u.came(i.Generation)
	}
	if u.logon != i.Conn {
		t.logon(u, &i)
	}
	t.review(u)
}

// logon has a Logon choose.
func (t *table) logon(u *user, i *usermgr.SessionInfo) {
	if s, ok := stateNamed(i.Fields[fieldPresence]); ok {
		t.note(u, &choice{state: s, keep: true, logon: true})
	}
}

// offline is the handler of the event Offline.
func (t *table) offline(d usermgr.UserData) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(d.UserID)
	if u.abroad != nil {
		u.abroad.isOffline(d.Version)
	} else {
		u.online = false
	}
	t.review(u)
}

// choose has a user choose. done is called with the outcome.
func (t *table) choose(userID string, s State, done func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(userID)
	t.note(u, &choice{state: s, keep: s == Stealth, done: []func(error){done}})
	t.review(u)
}

// note takes a choice, which is to be stored and then acts; Stealth acts at once. t.mu is held on entry.
func (t *table) note(u *user, c *choice) {
	if u.choice == nil && u.acts && u.loaded && !u.unsaved && u.save == workIdle && u.wanted == c.state {
		t.answer(c, nil) // that is what is stored
		return
	}
	if u.choice != nil {
		c.done = append(u.choice.done, c.done...)
	}
	u.choice, u.unsaved = c, true
	u.stampChoice(c)
	if c.state == Stealth {
		u.actChoice(c)
	}
	u.load.resume() // the user is there now
	u.save.resume()
}

// answer tells a choice's outcome.
func (t *table) answer(c *choice, err error) {
	done := c.done
	c.done = nil
	if len(done) > 0 {
		t.service.inbox.put(func() {
			for _, f := range done {
				f(err)
			}
		})
	}
}

// user returns a user's entry, which it makes if there is none. t.mu is held on entry, and review follows.
func (t *table) user(id string) *user {
	u := t.users[id]
	if u == nil {
		u = &user{id: id, seen: Offline, settled: Offline, told: Offline, toldOwn: Online}
		if t.service.elsewhere != nil {
			u.abroad = &abroad{}
		}
		t.users[id] = u
	}
	return u
}

// review queues what is to be done for a user after a change. t.mu is held on entry.
func (t *table) review(u *user) { t.reviewAt(u, momentOf(time.Now())) }

// reviewAt is review for a change at another time. t.mu is held on entry.
func (t *table) reviewAt(u *user, at moment) {
	if v := u.sees(); v != u.seen {
		if v == Offline || u.seen == Offline {
			u.crossed = at
		}
		u.seen = v
	}
	t.spread(u)
	if u.seen != u.settled && !u.noted {
		u.noted = true
		t.queue(&t.unsettled, u)
	}
	if u.telling == tellIdle && u.news() {
		u.telling = tellQueued
		t.queue(&t.changed, u)
	}
	if !u.loaded && u.load == workIdle && (u.online || u.unsaved) {
		u.load = workQueued
		t.queue(&t.toLoad, u)
	}
	if u.loaded && u.unsaved && u.save == workIdle {
		u.save = workQueued
		t.queue(&t.toSave, u)
	}
	if !u.online && u.abroad.isQuiet() && u.telling == tellIdle && !u.noted && !u.unsaved && u.load == workIdle && u.save == workIdle {
		delete(t.users, u.id)
	}
}

// queue adds a user to what the presence goroutine is to do, and wakes it for the first. t.mu is held on entry.
func (t *table) queue(to *[]*user, u *user) {
	*to = append(*to, u)
	if len(*to) == 1 {
		t.service.inbox.wake()
	}
}

// settle notes what a tick finds: the times, and what Config.Changed is told. It returns the records of those who were seen to go.
func (t *table) settle() (gone []Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := t.unsettled
	t.unsettled = nil
	for _, u := range users {
		u.noted = false
		if t.settleOne(u) {
			gone = append(gone, u.record())
		}
		t.review(u)
	}
	return gone
}

// settleOne reports whether the user was seen to go. t.mu is held on entry.
func (t *table) settleOne(u *user) (gone bool) {
	old := u.settled
	if u.seen == old { // what has changed was undone
		return false
	}
	u.settled = u.seen
	c := Change{UserID: u.id, Old: old, New: u.seen, At: u.crossed.time()}
	stores := u.stores()
	switch Offline {
	case old:
		u.lastOnline, u.unsaved = u.crossed, u.unsaved || stores
	case u.seen:
		u.lastSeen, u.unsaved = u.crossed, u.unsaved || stores
	default:
		c.At = time.Now()
	}
	t.service.found.Add(1)
	t.service.changes.add(c)
	return u.seen == Offline
}

func (t *table) visible(userID string) State {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.users[userID]; u != nil {
		return u.seen
	}
	return Offline
}

func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.users)
}

// recheck notes users whose contacts have changed.
func (t *table) recheck(userID string, others []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checks[userID] = struct{}{}
	for _, id := range others {
		t.checks[id] = struct{}{}
	}
	t.service.inbox.wake()
}

// snapshot is a user's state when a tick tells it.
type snapshot struct {
	seen, told, wanted State
	acts               bool
	times              times
}

func (t *table) look(u *user) snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return snapshot{u.seen, u.told, u.wanted, u.acts, u.times}
}

// toTell reports whether others are to be told of a user.
func (t *table) toTell(u *user) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return u.seen != u.told
}

// hasTold notes that a tick has told a user's state.
func (t *table) hasTold(u *user, now snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.told = now.seen
	if now.acts {
		u.toldOwn = now.wanted
	}
	u.telling = tellIdle
	t.review(u)
}

// hasNews reports whether there is something for a tick.
func (t *table) hasNews() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.changed)+len(t.unsettled)+len(t.checks) > 0
}

// takeNews returns the users with something to tell, the oldest change first, and those whose contacts have changed.
func (t *table) takeNews() (changed []*user, checks map[string]struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed, checks = t.changed, t.checks
	t.changed, t.checks = nil, make(map[string]struct{})
	for _, u := range changed {
		u.telling = tellRuns
	}
	return changed, checks
}

func (t *table) tellLater(u *user) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.telling = tellPauses
}

func (t *table) tellAgain(u *user) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.telling = tellIdle
	t.review(u)
}
