package presence

import (
	"context"

	"github.com/rollcall-go/rollcall/protocol"
)

// query is a question for the states of some users.
type query struct {
	service *Service
	asker   string // "" for the server
	ids     []string
	sight   sight
	read    map[string]cached // what the store has of users who are not visible; each is read once
	done    func([]Presence, error)
}

// sight is what Contacts answer about the users that are asked for.
type sight struct{ see, blocked map[string]struct{} }

// errStore is what a client is told who has asked for users whose records could not be read.
var errStore = protocol.Errorf(protocol.HandlerFailed, "the users' records could not be read")

// query finds the states of users as asker may see them. done is called on the presence goroutine.
func (s *Service) query(asker string, ids []string, done func([]Presence, error)) {
	q := &query{service: s, asker: asker, ids: ids, read: make(map[string]cached), done: done}
	if asker == "" || s.cfg.Contacts == nil || len(ids) == 0 {
		q.proceed()
		return
	}
	call(s, &s.calls.ask, "MaySee", func(ctx context.Context) (v sight, err error) {
		see, blocked, err := s.cfg.Contacts.MaySee(ctx, asker, ids)
		return sight{setOf(see), setOf(blocked)}, err
	}, func(v sight, err error) {
		if err != nil {
			done(nil, errContacts)
			return
		}
		q.sight = v
		q.proceed()
	})
}

func setOf(ids []string) map[string]struct{} {
	set := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set
}

// view is how much an asker sees about a user.
type view uint8

const (
	viewNothing view = iota
	viewOffline      // Offline without times, in every state that the user may have
	viewState
	viewOwn
)

func (q *query) view(id string) view {
	_, see := q.sight.see[id]
	_, blocked := q.sight.blocked[id]
	switch {
	case id == q.asker:
		return viewOwn
	case blocked:
		return viewOffline
	case see || q.asker == "" || q.service.cfg.Public:
		return viewState
	}
	return viewNothing
}

// proceed answers, or reads what is missing first.
func (q *query) proceed() {
	s := q.service
	all := make([]Presence, 0, len(q.ids))
	var missing []string
	named := make(map[string]struct{}, len(q.ids))
	for _, id := range q.ids {
		if _, twice := named[id]; twice {
			continue
		}
		named[id] = struct{}{}
		switch q.view(id) {
		case viewNothing:
		case viewOffline:
			all = append(all, Presence{UserID: id, State: Offline})
		case viewOwn:
			all = append(all, s.table.own(id))
		case viewState:
			p, known := s.table.shown(id)
			if p.State == Offline && !known {
				p, known = q.unseen(id)
				if !known {
					missing = append(missing, id)
				}
			}
			if p.State != Offline || !p.LastOnline.IsZero() { // without a last online the user was never visible
				all = append(all, p)
			}
		}
	}
	if len(missing) > 0 {
		q.load(missing[:min(len(missing), mostLoaded)])
		return
	}
	if q.asker != "" {
		all = q.hide(all)
	}
	q.done(all, nil)
}

// hide is Service.hide for all users but the asker.
func (q *query) hide(all []Presence) []Presence {
	for i := range all {
		if all[i].UserID != q.asker {
			q.service.hide(all[i : i+1])
		}
	}
	return all
}

// unseen returns what is known of a user who is not visible: offline or in Stealth, and for others the same.
func (q *query) unseen(id string) (p Presence, known bool) {
	e, known := q.read[id]
	if !known {
		e, known = q.service.cache.get(id)
	}
	return e.in(Offline, id), known
}

// load reads the records of users who are not visible.
func (q *query) load(ids []string) {
	s := q.service
	call(s, &s.calls.ask, "LoadPresence", func(ctx context.Context) ([]Record, error) { return s.cfg.Store.LoadPresence(ctx, ids) },
		func(records []Record, err error) {
			if err != nil {
				q.done(nil, errStore)
				return
			}
			for _, id := range ids {
				q.read[id] = cached{}
			}
			for _, r := range records {
				q.read[r.UserID] = cached{times: timesOf(&r)}
			}
			for _, id := range ids {
				s.cache.read(id, q.read[id])
				if e, ok := s.cache.get(id); ok { // a tick may have found something newer
					q.read[id] = e
				}
			}
			q.proceed()
		})
}

// own returns a user's own state, as the user has chosen it.
func (t *table) own(id string) Presence {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := Presence{UserID: id, State: Offline}
	if u := t.users[id]; u != nil {
		p = u.times.in(Offline, id)
		if u.isOnline() && u.acts {
			p.State = u.wanted
		}
	}
	return p
}

// shown returns a user as others see the user, if the user is visible.
func (t *table) shown(id string) (p Presence, visible bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[id]
	if u == nil || u.seen == Offline {
		return Presence{UserID: id, State: Offline}, false
	}
	p = u.times.in(u.seen, id)
	if u.settled == Offline { // no tick has found it yet
		p.LastOnline = u.crossed.time()
	}
	return p, true
}
