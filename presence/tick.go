package presence

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

// ticks has what is to be told. Only the presence goroutine uses it.
//
// A tick takes the changes since the last one, and asks Contacts who is told of each. When all have answered, or after a tenth of the
// interval, it tells those that were answered; the others come with the next tick. So each watcher gets one notice of a name at most.
type ticks struct {
	limit        int // Config.MaxNotices
	loads, saves batch
	loaded       time.Time // when records were loaded last
	loadSoon     bool      // loadAndSave is called when they may be loaded again
	armed        bool      // the next tick is to come
	round        int       // the number of the present tick
	open         bool      // the present tick has not told yet
	spent        int       // pairs that the present tick has told
	read         int       // contacts that were read for the present tick
	asking       int       // calls that the present tick waits for

	toAsk     []*change
	toCheck   []*watcher         // whose contacts have changed
	checks    bool               // one of them is asked about next, and not a change
	ready     []*change          // with their watchers, the oldest first
	count     uint64             // changes that ticks have taken
	taken     map[string]*change // all that ticks have taken and not told
	pairs     int                // that the changes in ready have, about
	rosters   []roster           // of watchers whose contacts have changed
	snapshots []roster           // of watchers who wait for an answer
	touched   []*watcher         // with something in out

	fields [Stealth + 1]map[string]string // of the notices of each state
	list   []byte                         // room for the list of a notice
	told   []*watcher                     // room for those who are told of a change
	tells  uint64                         // calls of tell
}

// change is a user whose state is to be told.
type change struct {
	number   uint64 // in the order in which they came
	user     *user
	asked    bool
	watchers []string
	found    []*watcher // those of them who watch
	begun    uint64     // watchers.begun when they were found
	watching int        // how many they are, about
	stale    bool       // Contacts have changed since they were asked
}

// patienceAtOnce is how long a tick waits for Contacts with a negative Interval.
const patienceAtOnce = 100 * time.Millisecond

func (t *ticks) init(s *Service) {
	t.loads, t.saves = batch{mostLoaded, mostLoaded}, batch{mostSaved, mostSaved}
	t.taken = make(map[string]*change)
	if s.cfg.MaxNotices < 0 {
		s.cfg.MaxNotices = math.MaxInt
	}
	t.limit = s.cfg.MaxNotices
	for state := range t.fields {
		t.fields[state] = map[string]string{"name": s.cfg.Names.name(State(state))}
	}
}

// exceeds reports whether n more pairs are too many for the present tick. A change that has too many by itself goes alone.
func (t *ticks) exceeds(n int) bool { return t.spent > 0 && n > t.limit-t.spent }

// left reports whether something waits for the next tick.
func (t *ticks) left() bool {
	return len(t.toAsk)+len(t.toCheck)+len(t.ready)+len(t.rosters)+len(t.snapshots) > 0
}

// arm has the next tick come, if there is something for it.
func (s *Service) arm() {
	t := &s.ticks
	if t.armed || s.closing || t.open && s.cfg.Interval < 0 {
		return
	}
	if (t.open || !t.left()) && !s.table.hasNews() {
		return
	}
	t.armed = true
	if s.cfg.Interval < 0 {
		s.inbox.put(s.tick)
		return
	}
	s.after(s.cfg.Interval, s.tick)
}

func (s *Service) tick() {
	t := &s.ticks
	t.armed = false
	if s.closing {
		return
	}
	t.open, t.spent, t.read = true, 0, 0
	t.round++
	s.settle()
	changed, checks := s.table.takeNews()
	for _, u := range changed {
		t.count++
		c := &change{number: t.count, user: u}
		t.taken[u.id] = c
		t.toAsk = append(t.toAsk, c)
	}
	for id := range checks {
		s.recheck(id)
	}
	round, patience := t.round, s.cfg.Interval/10
	if s.cfg.Interval < 0 {
		patience = patienceAtOnce
	}
	s.advance()
	if t.open {
		s.after(patience, func() {
			if t.open && t.round == round {
				s.flush()
			}
		})
	}
}

// settle notes what the tick finds, whether it is told now or later.
func (s *Service) settle() {
	for _, r := range s.table.settle() {
		s.cache.put(r.UserID, cached{times: timesOf(&r)})
	}
}

// recheck has Contacts asked anew about a user.
func (s *Service) recheck(id string) {
	t := &s.ticks
	if c := t.taken[id]; c != nil {
		c.stale = true
		if i := slices.Index(t.ready, c); i >= 0 {
			t.ready = slices.Delete(t.ready, i, i+1)
			t.pairs -= c.watching
			t.toAsk = slices.Insert(t.toAsk, 0, c)
		}
	}
	if w := s.watchers.of[id]; w != nil {
		s.askWatched(w)
	}
}

// advance asks Contacts further, as long as the tick has not read as many contacts as it may tell, and ends the tick when all have answered.
func (s *Service) advance() {
	t := &s.ticks
	for t.asking < mostTell && t.read < t.limit && s.askNext() {
	}
	if t.open && t.asking == 0 {
		s.flush()
	}
	s.answerSnapshots()
}

// askNext asks about the next change or, by turns, about the next watcher whose contacts have changed. It reports false when there is none.
func (s *Service) askNext() bool {
	t := &s.ticks
	mayAsk := len(t.toAsk) > 0 && t.pairs < t.limit
	t.checks = !t.checks
	switch {
	case len(t.toCheck) > 0 && (t.checks || !mayAsk):
		w := t.toCheck[0]
		t.toCheck[0] = nil
		t.toCheck = t.toCheck[1:]
		s.askRoster(w)
	case mayAsk:
		c := t.toAsk[0]
		t.toAsk[0] = nil
		t.toAsk = t.toAsk[1:]
		s.askWatchers(c)
	default:
		return false
	}
	return true
}

// askWatchers asks who is told of a change.
func (s *Service) askWatchers(c *change) {
	t := &s.ticks
	if s.cfg.Contacts == nil || len(s.watchers.of) == 0 || !s.table.toTell(c.user) {
		t.isReady(c)
		return
	}
	t.asking++
	c.stale = false
	id := c.user.id
	call(s, &s.calls.tell, "Watchers", func(ctx context.Context) ([]string, error) { return s.cfg.Contacts.Watchers(ctx, id) },
		func(ids []string, err error) {
			t.asking--
			t.read += len(ids)
			s.answered(c, ids, err)
			s.advance()
		})
}

// answered takes who is told of a change.
func (s *Service) answered(c *change, ids []string, err error) {
	t := &s.ticks
	switch {
	case err != nil:
		delete(t.taken, c.user.id)
		s.table.tellLater(c.user)
		s.retry(&c.user.refused, func() { s.table.tellAgain(c.user) })
		return
	case c.stale:
		t.toAsk = slices.Insert(t.toAsk, 0, c)
		return
	}
	c.user.refused = 0
	c.asked, c.watchers = true, ids
	s.find(c)
	c.watching = len(c.found)
	t.pairs += c.watching
	t.isReady(c)
}

// find finds which of a change's watchers watch.
func (s *Service) find(c *change) {
	c.found, c.begun = c.found[:0], s.watchers.begun
	for _, id := range c.watchers {
		if w := s.watchers.synced(id); w != nil {
			c.found = append(c.found, w)
		}
	}
}

// isReady takes a change that may be told, in its place.
func (t *ticks) isReady(c *change) {
	i, _ := slices.BinarySearchFunc(t.ready, c, func(a, b *change) int { return cmp.Compare(a.number, b.number) })
	t.ready = slices.Insert(t.ready, i, c)
}

// flush ends a tick: it tells what it has found, the oldest first.
func (s *Service) flush() {
	t := &s.ticks
	t.open = false
	s.settle()
	for len(t.ready) > 0 && s.tell(t.ready[0]) {
		t.pairs -= t.ready[0].watching
		t.ready[0] = nil
		t.ready = t.ready[1:]
	}
	for len(t.rosters) > 0 && s.reconcile(t.rosters[0]) {
		t.rosters[0] = roster{}
		t.rosters = t.rosters[1:]
	}
	s.send()
	if len(t.taken) == 0 { // after many, they would stay large
		t.toAsk, t.ready, t.taken = nil, nil, make(map[string]*change)
	}
	s.answerSnapshots()
}

// tell tells a change to those who watch. It reports false when that is too much for this tick.
func (s *Service) tell(c *change) bool {
	t := &s.ticks
	now := s.table.look(c.user)
	if now.seen != now.told && !c.asked && s.cfg.Contacts != nil && len(s.watchers.of) > 0 { // it has changed, or someone has come to watch
		t.toAsk = slices.Insert(t.toAsk, 0, c)
		return true
	}
	told := t.told[:0]
	t.tells++
	n := s.watchers.numbers.of[c.user.id]
	if now.seen != now.told {
		if c.begun != s.watchers.begun {
			s.find(c)
		}
		for _, w := range c.found {
			if w.synced && w.counted != t.tells && w.id != c.user.id && w.knows.at(n) != now.seen {
				w.counted = t.tells // Contacts may name a watcher twice
				told = append(told, w)
			}
		}
	}
	defer func() { clear(told); t.told = told }()
	own := s.watchers.synced(c.user.id)
	if own != nil && (!now.acts || own.own == now.wanted) {
		own = nil
	}
	if t.exceeds(len(told)) {
		return false
	}
	in := now.times.in(now.seen, c.user.id)
	p := &in
	if own != nil {
		own.own = now.wanted
		mine := *p
		mine.State = now.wanted
		s.note(own, &mine)
	}
	if s.cfg.HideLastOnline {
		p = &Presence{UserID: p.UserID, State: p.State}
	}
	if len(told) > 0 && p.State != Offline {
		n = s.watchers.numbers.take(p.UserID)
	}
	for _, w := range told {
		w.knows.learn(n, p.State)
		s.note(w, p)
	}
	delete(t.taken, c.user.id)
	s.table.hasTold(c.user, now)
	return true
}

// reconcile tells a watcher whose contacts have changed what follows: who has come among them, and who is not any more. It reports false when
// that is too much for this tick.
func (s *Service) reconcile(r roster) bool {
	w := r.watcher
	if s.watchers.of[w.id] != w {
		return true
	}
	if w.again {
		w.asking = false
		s.table.recheck(w.id, nil)
		return true
	}
	all := s.table.toldOf(r.ids, w.id)
	are := make(map[string]struct{}, len(all))
	var news []Presence
	for _, p := range all {
		are[p.UserID] = struct{}{}
		if w.knows.of(p.UserID) != p.State {
			news = append(news, p)
		}
	}
	for id := range w.knows.ids() {
		if _, ok := are[id]; !ok {
			news = append(news, Presence{UserID: id, State: Offline})
		}
	}
	if s.ticks.exceeds(len(news)) {
		return false
	}
	w.asking = false
	news = s.hide(news)
	for i := range news {
		p := &news[i]
		if w.knows.of(p.UserID) == p.State { // named twice
			continue
		}
		w.out = slices.DeleteFunc(w.out, func(o *Presence) bool { return o.UserID == p.UserID })
		w.knows.learnOf(p.UserID, p.State)
		s.note(w, p)
	}
	return true
}
