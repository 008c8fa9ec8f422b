package presence

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	mostLoaded = 500     // records in a call of LoadPresence
	mostSaved  = 1 << 20 // records in a call of SavePresence: all that a tick finds

	// loadEvery is how often records are loaded at most: where many users come at a time, some go into one call.
	loadEvery = 2 * time.Millisecond
)

// batch is how many records go into a call of the store. It is halved by a failure, so that a record that the store cannot take costs
// the others little, and doubled by a success.
type batch struct{ size, most int }

func (b *batch) failed(n int) { b.size = max(n/2, 1) }

func (b *batch) succeeded() { b.size = min(b.size*2, b.most) }

// loadAndSave starts the calls of the store that are due.
func (s *Service) loadAndSave() {
	if s.mayLoad() {
		for _, users := range s.table.takeLoads(s.ticks.loads.size) {
			s.ticks.loaded = time.Now()
			s.load(users)
		}
	}
	for _, users := range s.table.takeSaves(s.ticks.saves.size) {
		s.save(users)
	}
}

// mayLoad reports whether the last records were loaded long enough ago. If not, loadAndSave is called again when they were.
func (s *Service) mayLoad() bool {
	t := &s.ticks
	left := loadEvery - time.Since(t.loaded)
	if left <= 0 || s.closing || !s.table.hasLoads() {
		return true
	}
	if !t.loadSoon {
		t.loadSoon = true
		s.after(left, func() { t.loadSoon = false })
	}
	return false
}

func (t *table) hasLoads() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.toLoad) > 0
}

// takeLoads returns the users whose records are to be loaded, in batches.
func (t *table) takeLoads(size int) (all [][]*user) {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := t.toLoad
	t.toLoad = nil
	for _, u := range users {
		u.load = workRuns
	}
	return slices.Collect(slices.Chunk(users, size))
}

func (s *Service) load(users []*user) {
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = u.id
	}
	call(s, &s.calls.own, "LoadPresence", func(ctx context.Context) ([]Record, error) {
		return s.cfg.Store.LoadPresence(ctx, ids)
	}, func(records []Record, err error) {
		if err != nil {
			s.ticks.loads.failed(len(users))
			for _, u := range users {
				s.retry(&u.failures, func() { s.table.tryAgain(u, &u.load) })
			}
			s.table.pauseLoad(users)
			return
		}
		s.ticks.loads.succeeded()
		s.table.loaded(users, records)
	})
}

func (t *table) pauseLoad(users []*user) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range users {
		u.load = workPauses
		t.takeBack(u, u.choice, errNotStored)
		t.review(u)
	}
}

// loaded takes what the store has of the users.
func (t *table) loaded(users []*user, records []Record) {
	found := make(map[string]*Record, len(records))
	for i := range records {
		found[records[i].UserID] = &records[i]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range users {
		u.load, u.loaded, u.failures = workIdle, true, 0
		if r := found[u.id]; r != nil {
			u.later(timesOf(r)) // than what other servers have told
			u.stored = r.Wanted
			if !choosable(r.Wanted) {
				u.stored = Stealth // privacy before news
			}
		}
		switch c := u.choice; {
		case u.acts:
		case c == nil || !c.logon:
			u.act(u.stored)
		case c.state == u.stored: // the Logon has chosen what is stored
			u.actChoice(c)
			u.choice, u.unsaved = nil, false
			t.answer(c, nil)
		}
		t.review(u)
	}
}

// takeSaves returns the users whose records are to be stored, sorted, in batches; all of them in one, unless the store has failed.
func (t *table) takeSaves(size int) (all [][]*user) {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := t.toSave
	t.toSave = nil
	slices.SortFunc(users, func(a, b *user) int { return strings.Compare(a.id, b.id) })
	return slices.Collect(slices.Chunk(users, size))
}

func (s *Service) save(users []*user) {
	records, choices := s.table.records(users)
	call(s, &s.calls.own, "SavePresence", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.cfg.Store.SavePresence(ctx, records)
	}, func(_ struct{}, err error) {
		if err == nil {
			s.ticks.saves.succeeded()
			s.table.saved(users, records, choices)
			return
		}
		s.ticks.saves.failed(len(users))
		for _, u := range users {
			s.retry(&u.failures, func() { s.table.tryAgain(u, &u.save) })
		}
		s.table.notSaved(users, choices)
	})
}

// records returns what is to be stored, and the choices in it.
func (t *table) records(users []*user) (records []Record, choices []*choice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range users {
		u.save, u.unsaved = workRuns, false
		records, choices = append(records, u.toStore()), append(choices, u.choice)
	}
	return records, choices
}

// saved takes that records are stored, and lets the choices in them act.
func (t *table) saved(users []*user, records []Record, choices []*choice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, u := range users {
		u.save, u.failures = workIdle, 0
		u.stored = records[i].Wanted
		if c := choices[i]; c != nil && c == u.choice {
			u.actChoice(c)
			u.choice = nil
			t.answer(c, nil)
		}
		t.review(u)
	}
}

// errNotStored is what a client is told whose choice could not be stored.
var errNotStored = protocol.Errorf(protocol.HandlerFailed, "the state could not be stored")

// notSaved takes that records are not stored, as far as is known.
func (t *table) notSaved(users []*user, choices []*choice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, u := range users {
		u.save, u.unsaved = workPauses, true
		t.takeBack(u, choices[i], errNotStored)
		t.review(u)
	}
}

// takeBack answers a choice that could not be stored, and takes it back, unless it is to be tried again. t.mu is held on entry.
func (t *table) takeBack(u *user, c *choice, why error) {
	if c == nil || c != u.choice {
		return
	}
	t.answer(c, why)
	if c.keep {
		return
	}
	u.choice = nil
	switch {
	case u.loaded && !u.acts:
		u.act(u.stored)
	case !u.loaded && !u.acts: // nothing was stored, and nothing is to be
		u.unsaved = false
	}
}

// tryAgain has work for a user, its load or its save, tried again after a pause.
func (t *table) tryAgain(u *user, w *work) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if *w == workPauses {
		w.resume()
		t.review(u)
	}
}

// hurry has everything tried at once that waits for another try.
func (t *table) hurry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.users {
		u.load.resume()
		u.save.resume()
		t.review(u)
	}
}

// allStored reports whether nothing is to be stored any more.
func (t *table) allStored() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.users {
		if u.unsaved || u.save != workIdle {
			return false
		}
	}
	return true
}
