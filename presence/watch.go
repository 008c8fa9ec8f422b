package presence

import (
	"context"
	"slices"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// watchers are the users with sessions that watch. Only the presence goroutine uses them.
type watchers struct {
	service *Service
	of      map[string]*watcher
	numbers numbers
	begun   uint64 // how many have become synced
}

// watcher is a user with sessions that watch. All of them have been told the same.
type watcher struct {
	id       string
	sessions map[*engine.Conn]func() bool // with what ends the wait for the session's end
	synced   bool                         // knows is what the sessions know; before that there is no session yet
	knows    knowledge
	own      State       // what the sessions know of the user's own choice
	waiting  []*request  // of sessions that begin to watch
	asking   bool        // Contacts, or what they have answered is not used yet
	again    bool        // what they answer may be old: they are to be asked again
	failures uint8       // of Contacts, in a row
	out      []*Presence // what the present tick tells
	counted  uint64      // the call of tell that has found this one last
}

func (a *watchers) init(s *Service) {
	a.service, a.of, a.numbers = s, make(map[string]*watcher), newNumbers()
}

// synced returns a user's watcher that has sessions; nil if there is none.
func (a *watchers) synced(userID string) *watcher {
	if w := a.of[userID]; w != nil && w.synced {
		return w
	}
	return nil
}

// remove forgets a user who does not watch any more.
func (a *watchers) remove(w *watcher) {
	w.synced = false
	w.knows.forget()
	delete(a.of, w.id)
}

// watch begins to tell a session.
func (s *Service) watch(r *request) {
	id := r.conn.UserID()
	w := s.watchers.of[id]
	if w == nil {
		w = &watcher{id: id, sessions: make(map[*engine.Conn]func() bool)}
		s.watchers.of[id] = w
	}
	w.waiting = append(w.waiting, r)
	switch {
	case w.synced:
		s.ticks.snapshots = append(s.ticks.snapshots, roster{watcher: w})
		s.answerSnapshots()
		s.table.recheck(id, nil) // in case the program has not said that the contacts have changed
	case !w.asking:
		s.askWatched(w)
	}
}

// unwatch ends it.
func (s *Service) unwatch(r *request) {
	s.left(r.conn.UserID(), r.conn)
	r.answerList(nil)
}

// left forgets a session.
func (s *Service) left(userID string, c *engine.Conn) {
	w := s.watchers.of[userID]
	if w == nil {
		return
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(r *request) bool {
		if r.conn == c {
			r.answerList(nil)
		}
		return r.conn == c
	})
	if stop, ok := w.sessions[c]; ok {
		stop()
		delete(w.sessions, c)
		s.watching.Add(-1)
	}
	if len(w.sessions) == 0 && len(w.waiting) == 0 {
		s.watchers.remove(w)
	}
}

// askWatched asks Contacts which users the watcher is told about. For a user who watches already a tick asks, and tells what has changed.
func (s *Service) askWatched(w *watcher) {
	if w.asking {
		w.again = true
		return
	}
	w.asking, w.again = true, false
	switch {
	case w.synced:
		s.ticks.toCheck = append(s.ticks.toCheck, w)
	case s.cfg.Contacts == nil:
		s.watched(w, nil, nil)
		s.advance()
	default:
		call(s, &s.calls.ask, "Watched", func(ctx context.Context) ([]string, error) { return s.cfg.Contacts.Watched(ctx, w.id) },
			func(ids []string, err error) {
				s.watched(w, ids, err)
				s.advance()
			})
	}
}

// askRoster asks for a tick which users a watcher is told about now.
func (s *Service) askRoster(w *watcher) {
	t := &s.ticks
	if s.cfg.Contacts == nil || s.watchers.of[w.id] != w {
		s.watched(w, nil, nil)
		return
	}
	t.asking++
	call(s, &s.calls.tell, "Watched", func(ctx context.Context) ([]string, error) { return s.cfg.Contacts.Watched(ctx, w.id) },
		func(ids []string, err error) {
			t.asking--
			t.read += len(ids)
			s.watched(w, ids, err)
			s.advance()
		})
}

// watched takes the answer.
func (s *Service) watched(w *watcher, ids []string, err error) {
	switch {
	case s.watchers.of[w.id] != w: // all sessions have gone
	case w.again && err == nil:
		w.asking = false
		s.askWatched(w)
	case err == nil && w.synced:
		w.failures = 0
		s.ticks.rosters = append(s.ticks.rosters, roster{w, ids})
	case err == nil:
		s.ticks.snapshots = append(s.ticks.snapshots, roster{w, ids})
	case w.synced:
		w.asking = false
		s.retry(&w.failures, func() {
			if s.watchers.of[w.id] == w {
				s.table.recheck(w.id, nil)
			}
		})
	default:
		s.watchers.remove(w)
		for _, r := range w.waiting {
			r.refuse(errContacts)
		}
	}
}

var errContacts = protocol.Errorf(protocol.HandlerFailed, "the contacts could not be found")

// roster is a watcher, and the users that the watcher is told about.
type roster struct {
	watcher *watcher
	ids     []string
}

// answerSnapshots answers sessions that begin to watch, as far as MaxNotices allows.
func (s *Service) answerSnapshots() {
	t := &s.ticks
	for len(t.snapshots) > 0 && !t.open {
		w, ids := t.snapshots[0].watcher, t.snapshots[0].ids
		var all []Presence // of a user whose first session begins
		n := len(w.knows.states) * len(w.waiting)
		if !w.synced {
			all = s.table.toldOf(ids, w.id)
			n = max(len(all)*len(w.waiting), len(ids))
		}
		if t.exceeds(n) {
			return
		}
		t.snapshots[0] = roster{}
		t.snapshots = t.snapshots[1:]
		if s.watchers.of[w.id] != w {
			continue
		}
		if !w.synced {
			w.asking = false
			if w.again {
				s.askWatched(w)
				continue
			}
			s.watchers.begun++
			w.synced, w.knows, w.own = true, s.watchers.numbers.knownBy(len(all)), s.table.wanted(w.id)
			for _, p := range all {
				w.knows.learnOf(p.UserID, p.State)
			}
		}
		t.spent += n
		waiting := w.waiting
		w.waiting = nil
		for _, r := range waiting {
			s.begin(w, r)
		}
	}
}

// begin answers a session that begins to watch with what the user's sessions know. What follows is told to it too.
func (s *Service) begin(w *watcher, r *request) {
	c := r.conn
	all := s.table.toldOf(w.knows.sorted(), w.id)
	for i := range all {
		all[i].State = w.knows.of(all[i].UserID)
	}
	r.answerList(s.hide(all))
	if _, before := w.sessions[c]; !before {
		s.watching.Add(1)
		w.sessions[c] = context.AfterFunc(c.Context(), func() { s.inbox.put(func() { s.left(w.id, c) }) })
	}
}

// hide leaves out the times of others, if so configured.
func (s *Service) hide(all []Presence) []Presence {
	if s.cfg.HideLastOnline {
		for i := range all {
			all[i] = Presence{UserID: all[i].UserID, State: all[i].State}
		}
	}
	return all
}

// toldOf returns those of some users that were told as not Offline.
func (t *table) toldOf(ids []string, but string) (all []Presence) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if u := t.users[id]; u != nil && u.told != Offline && id != but {
			all = append(all, u.times.in(u.told, id))
		}
	}
	return all
}

// wanted returns what a user has chosen, as far as it acts.
func (t *table) wanted(userID string) State {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.users[userID]; u != nil && u.acts {
		return u.wanted
	}
	return Online
}
