package storetest

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/presence"
)

var users = []test{
	{"AUserWhoWasNeverStoredHasDefaultSettings", func(s *suite) {
		same(s, "the user", s.user("ann"), chat.User{UserID: "ann", Settings: chat.DefaultSettings()})
	}},
	{"UsersComeInTheOrderInWhichTheyAreAskedFor", func(s *suite) {
		s.makes("bob", "zoe", "ann")
		for i, u := range s.usersOf("zoe", "ann", "nobody", "bob") {
			want := []string{"zoe", "ann", "nobody", "bob"}[i]
			if u.UserID != want || u.Exists != (want != "nobody") {
				s.t.Errorf("user %d is %+v, want %s", i, u, want)
			}
		}
		if len(s.usersOf()) != 0 {
			s.t.Error("Users returned users for no IDs")
		}
	}},
	{"AUserIsStoredAsChanged", (*suite).userFields},
	{"AUserWhoIsNotMadeIsNotStored", func(s *suite) {
		s.noError(s.store.UpdateUser(s.ctx, "ann", func(u *chat.User) error {
			same(s, "the user before", *u, chat.User{UserID: "ann", Settings: chat.DefaultSettings()})
			u.Send, u.SetUp, u.Created = false, true, s.now
			return nil
		}))
		same(s, "the user", s.user("ann"), chat.User{UserID: "ann", Settings: chat.DefaultSettings()})
	}},
	{"AFailedChangeOfAUserLeavesNothing", func(s *suite) {
		s.makes("ann")
		for _, id := range []string{"ann", "bob"} {
			was := s.user(id)
			s.unchanged(s.store.UpdateUser(s.ctx, id, func(u *chat.User) error {
				u.Exists, u.Send, u.SetUp, u.Created = true, false, true, s.now.Add(1)
				return errNo
			}))
			same(s, "the user", s.user(id), was)
		}
	}},
	{"AUserIsMadeOnce", (*suite).userOnce},
	{"UserIDsAreComparedByTheirBytes", (*suite).userBytes},
}

func (s *suite) userFields() {
	for i, u := range []chat.User{
		{Exists: true, Created: s.now, Settings: chat.DefaultSettings()},
		{Exists: true, SetUp: true, Created: s.now, Settings: chat.Settings{Receive: true, Requests: chat.Off}},
		{Exists: true, Created: s.now.Add(time.Millisecond), Settings: chat.Settings{Send: true}},
		{Exists: true, Created: s.now, Settings: chat.Settings{Anonymous: true, Requests: chat.Ask}},
		{Exists: true, Settings: chat.Settings{}}, // without a time
	} {
		u.UserID = "ann"
		s.noError(s.store.UpdateUser(s.ctx, "ann", func(stored *chat.User) error {
			if stored.Exists != (i > 0) {
				s.t.Errorf("before change %d the user is %+v", i, stored)
			}
			*stored = u
			return nil
		}))
		same(s, "the user", s.user("ann"), u)
		same(s, "another user", s.user("bob"), chat.User{UserID: "bob", Settings: chat.DefaultSettings()})
	}
}

// userOnce has 4 goroutines make each of some users.
func (s *suite) userOnce() {
	for _, id := range []string{"ann", "bob", "cid"} {
		var made atomic.Int32
		together(4, func(int) {
			mine := false
			err := s.store.UpdateUser(s.ctx, id, func(u *chat.User) error {
				if mine = !u.Exists; mine {
					u.Exists, u.Created = true, s.now
				}
				return nil
			})
			if err != nil {
				s.t.Error(err)
			}
			if mine {
				made.Add(1)
			}
		})
		same(s, "how often rule P40 has "+id+" made", made.Load(), 1)
	}
}

// long is an ID of 255 bytes.
func long(end string) string { return strings.Repeat("x", 255-len(end)) + end }

// spellings are IDs that a collation might take for the same, or sort in another way, in the order of their bytes.
var spellings = []string{"B", "Bob", "Z", "a", "b", "bob", "bob ", "bob.", "e\u0301", "z", "\u00c9", "\u00e9", "\u212a", "\U0001f600"}

func (s *suite) userBytes() {
	ids := append([]string{long("\u00e9"), long("A"), long("a")}, spellings...)
	for i, id := range ids {
		s.noError(s.store.UpdateUser(s.ctx, id, func(u *chat.User) error {
			if u.Exists || u.UserID != id {
				s.t.Errorf("before %q is made the user is %+v", id, u)
			}
			u.Exists, u.Created = true, s.now.Add(time.Duration(i)*time.Millisecond)
			return nil
		}))
	}
	for i, u := range s.usersOf(ids...) {
		if u.UserID != ids[i] || !u.Exists || !u.Created.Equal(s.now.Add(time.Duration(i)*time.Millisecond)) {
			s.t.Errorf("user %q is %+v", ids[i], u)
		}
	}
}

var presences = []test{
	{"PresenceRecordsAreStored", (*suite).records},
	{"PresenceMakesNoUser", func(s *suite) {
		s.noError(s.store.SavePresence(s.ctx, []presence.Record{{UserID: "ann", Wanted: presence.Busy, LastOnline: s.now}}))
		same(s, "rule P40: the user", s.user("ann"), chat.User{UserID: "ann", Settings: chat.DefaultSettings()})
		s.makes("bob")
		if all := s.load("bob"); len(all) != 0 {
			s.t.Errorf("a user who was made has the records %+v", all)
		}
	}},
}

func (s *suite) load(ids ...string) map[string]presence.Record {
	s.t.Helper()
	all, err := s.store.LoadPresence(s.ctx, ids)
	s.noError(err)
	found := make(map[string]presence.Record)
	for _, r := range all {
		r.LastOnline, r.LastSeen = r.LastOnline.UTC(), r.LastSeen.UTC()
		if _, twice := found[r.UserID]; twice {
			s.t.Errorf("%q has two records", r.UserID)
		}
		found[r.UserID] = r
	}
	return found
}

func (s *suite) records() {
	if len(s.load("ann", "bob")) != 0 {
		s.t.Error("an empty store has records")
	}
	have := make(map[string]presence.Record)
	for _, all := range [][]presence.Record{
		{{UserID: "Bob", Wanted: presence.Online}, {UserID: "ann", Wanted: presence.Stealth, LastOnline: s.now}, {UserID: "bob", Wanted: presence.Busy, LastSeen: s.now}},
		{{UserID: "ann", Wanted: presence.Busy, LastOnline: s.now, LastSeen: s.now.Add(time.Millisecond)}, {UserID: long("\u00e9"), Wanted: presence.Busy}},
		{{UserID: "bob", Wanted: presence.Online}},
		{},
	} {
		s.noError(s.store.SavePresence(s.ctx, all))
		for _, r := range all {
			have[r.UserID] = r
		}
		found := s.load("ann", "Bob", "bob", "nobody", long("\u00e9"))
		same(s, "the number of records", len(found), len(have))
		for id, want := range have {
			same(s, "the record of "+id, found[id], want)
		}
	}
}
