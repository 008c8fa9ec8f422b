package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/chat"
)

var contacts = []test{
	{"AContactThatWasNeverStoredHasItsIDAlone", func(s *suite) {
		same(s, "the contact", s.with("ann", "bob"), chat.Contact{UserID: "bob"})
		s.noError(s.store.UpdateContact(s.ctx, "ann", "bob", func(r *chat.Relation) error {
			same(s, "the relation", *r, chat.Relation{
				A: chat.User{UserID: "ann", Settings: chat.DefaultSettings()}, B: chat.User{UserID: "bob", Settings: chat.DefaultSettings()},
				AB: chat.Contact{UserID: "bob"}, BA: chat.Contact{UserID: "ann"},
			})
			return nil
		}))
	}},
	{"BothSidesOfARelationAreStored", (*suite).bothSides},
	{"AFailedChangeOfARelationLeavesNothing", func(s *suite) {
		s.relates("ann", "bob", chat.Contact{State: chat.Friend, Since: s.now}, chat.Contact{State: chat.Friend, Since: s.now})
		ab, ba := s.with("ann", "bob"), s.with("bob", "ann")
		for _, other := range []string{"bob", "cid"} {
			s.unchanged(s.store.UpdateContact(s.ctx, "ann", other, func(r *chat.Relation) error {
				r.AB.State, r.BA.State, r.AB.Blocked = 0, chat.AsksMe, true
				return errNo
			}))
		}
		same(s, "ann's contact", s.with("ann", "bob"), ab)
		same(s, "bob's contact", s.with("bob", "ann"), ba)
		same(s, "ann's new contact", s.with("ann", "cid"), chat.Contact{UserID: "cid"})
	}},
	{"AChangeOfARelationChangesNoUser", (*suite).relationUsers},
	{"FriendsAndRequestsAreCounted", (*suite).counts},
	{"ContactsWithComeInTheOrderInWhichTheyAreAskedFor", func(s *suite) {
		s.relates("ann", "bob", chat.Contact{State: chat.Friend}, chat.Contact{State: chat.Friend})
		all, err := s.store.ContactsWith(s.ctx, "ann", []string{"zoe", "bob", "ann"})
		s.noError(err)
		sameAll(s, "the contacts", all, []chat.Contact{{UserID: "zoe"}, {UserID: "bob", State: chat.Friend}, {UserID: "ann"}})
	}},
	{"HiddenContactsAreNotListed", (*suite).hidden},
	{"BothListsSayWhoHasBlockedTheUser", (*suite).blockedBy},
	{"ContactsComeInPagesByTheirBytes", (*suite).contactPages},
	{"ChangesOfARelationComeOneAfterTheOther", (*suite).crosswise},
}

func (s *suite) bothSides() {
	later := s.now.Add(time.Millisecond)
	full := chat.Contact{State: chat.AsksMe, Blocked: true, BlockedAnonymous: true, Since: s.now, Text: "h\u00e9llo\n'\"\\", Declined: later}
	for _, c := range []struct{ ab, ba chat.Contact }{
		{full, chat.Contact{State: chat.AskedByMe, Since: later}},
		{chat.Contact{State: chat.Friend, Since: later}, full},
		{chat.Contact{}, chat.Contact{BlockedAnonymous: true}},
		{chat.Contact{Declined: s.now}, chat.Contact{}},
		{chat.Contact{Text: strings.Repeat("\u00e9", 128)}, chat.Contact{Blocked: true}},
	} {
		c.ab.UserID, c.ba.UserID = "ann", "Ann" // the greater one first
		s.relates("Ann", "ann", c.ab, c.ba)
		s.noError(s.store.UpdateContact(s.ctx, "ann", "Ann", func(r *chat.Relation) error {
			same(s, "AB of the two in the other order", utc(r.AB), c.ba)
			same(s, "BA of the two in the other order", utc(r.BA), c.ab)
			return nil
		}))
		c.ab.BlockedBy, c.ab.BlockedByAnonymous = c.ba.Blocked, c.ba.BlockedAnonymous
		c.ba.BlockedBy, c.ba.BlockedByAnonymous = c.ab.Blocked, c.ab.BlockedAnonymous
		for _, want := range []struct {
			of string
			chat.Contact
		}{{"Ann", c.ab}, {"ann", c.ba}} {
			got := s.with(want.of, want.UserID)
			got.BlockedByAnonymous = want.BlockedByAnonymous // only a Standing must have it
			same(s, want.of+"'s contact", got, want.Contact)
		}
	}
}

func (s *suite) relationUsers() {
	s.makes("ann")
	ann, bob := s.user("ann"), s.user("bob")
	s.noError(s.store.UpdateContact(s.ctx, "ann", "bob", func(r *chat.Relation) error {
		r.A.Created = r.A.Created.UTC()
		same(s, "A", r.A, ann)
		same(s, "B", r.B, bob)
		r.A.Send, r.B.Exists, r.B.Created = false, true, s.now
		r.AB.BlockedBy, r.AB.BlockedByAnonymous = true, true
		return nil
	}))
	same(s, "ann", s.user("ann"), ann)
	same(s, "bob", s.user("bob"), bob)
	same(s, "ann's contact", s.with("ann", "bob"), chat.Contact{UserID: "bob"})
	same(s, "bob's contact", s.with("bob", "ann"), chat.Contact{UserID: "ann"})
}

func (s *suite) counts() {
	for i := range 3 {
		s.relates("ann", fmt.Sprint("friend", i), chat.Contact{State: chat.Friend}, chat.Contact{State: chat.Friend, Blocked: true})
		s.relates("bob", fmt.Sprint("friend", i), chat.Contact{State: chat.Friend}, chat.Contact{State: chat.Friend})
	}
	s.relates("ann", "friend0", chat.Contact{Blocked: true}, chat.Contact{})
	for i := range 4 {
		s.relates("ann", fmt.Sprint("asked", i), chat.Contact{State: chat.AskedByMe}, chat.Contact{State: chat.AsksMe})
	}
	for i := range 5 {
		s.relates(fmt.Sprint("asks", i), "bob", chat.Contact{State: chat.AskedByMe}, chat.Contact{State: chat.AsksMe})
	}
	s.noError(s.store.UpdateContact(s.ctx, "ann", "bob", func(r *chat.Relation) error {
		sameAll(s, "FriendsA, FriendsB, AskedA, AskB", []int{r.FriendsA, r.FriendsB, r.AskedA, r.AskB}, []int{2, 3, 4, 5})
		return nil
	}))
	s.noError(s.store.UpdateContact(s.ctx, "bob", "ann", func(r *chat.Relation) error {
		sameAll(s, "FriendsA, FriendsB, AskedA, AskB", []int{r.FriendsA, r.FriendsB, r.AskedA, r.AskB}, []int{3, 2, 0, 0})
		return nil
	}))
}

func (s *suite) contactsOf(userID string) (ids []string) {
	s.t.Helper()
	all, err := s.store.Contacts(s.ctx, userID, "", 0)
	s.noError(err)
	for _, c := range all {
		ids = append(ids, c.UserID)
	}
	return ids
}

func (s *suite) hidden() {
	for id, c := range map[string]chat.Contact{
		"anonymous": {BlockedAnonymous: true},
		"asked":     {State: chat.AskedByMe},
		"asks":      {State: chat.AsksMe},
		"blocked":   {Blocked: true},
		"both":      {State: chat.Friend, Blocked: true},
		"declined":  {Declined: s.now, Since: s.now, Text: "text"},
		"friend":    {State: chat.Friend},
		"none":      {},
	} {
		s.relates("ann", id, c, chat.Contact{Blocked: true})
	}
	sameAll(s, "the contacts", s.contactsOf("ann"), []string{"asked", "asks", "blocked", "both", "friend"})
	sameAll(s, "the contacts of another", s.contactsOf("none"), []string{"ann"})
	all, err := s.store.Contacts(s.ctx, "ann", "asks", 2) // what is hidden takes no place in a page
	s.noError(err)
	if len(all) != 2 || all[0].UserID != "blocked" || all[1].UserID != "both" {
		s.t.Errorf("the page is %+v", all)
	}
}

func (s *suite) blockedBy() {
	s.relates("ann", "bob", chat.Contact{State: chat.Friend}, chat.Contact{State: chat.Friend, Blocked: true})
	s.relates("ann", "cid", chat.Contact{State: chat.Friend, Blocked: true}, chat.Contact{State: chat.Friend})
	for _, list := range []func() ([]chat.Contact, error){
		func() ([]chat.Contact, error) { return s.store.Contacts(s.ctx, "ann", "", 0) },
		func() ([]chat.Contact, error) { return s.store.ContactsWith(s.ctx, "ann", []string{"bob", "cid"}) },
	} {
		all, err := list()
		s.noError(err)
		sameAll(s, "the contacts", all, []chat.Contact{
			{UserID: "bob", State: chat.Friend, BlockedBy: true}, {UserID: "cid", State: chat.Friend, Blocked: true},
		})
	}
}

func (s *suite) contactPages() {
	ids := append(slices.Clone(spellings), long("A"), long("a"), long("\u00e9"))
	slices.Sort(ids)
	for _, id := range ids {
		s.relates("me", id, chat.Contact{State: chat.Friend, Since: s.now}, chat.Contact{State: chat.Friend, Since: s.now})
	}
	s.relates("other", "Bob", chat.Contact{State: chat.Friend}, chat.Contact{State: chat.Friend})
	for _, limit := range []int{0, 1, 3, len(ids), len(ids) + 1} {
		sameAll(s, fmt.Sprint("pages of ", limit), pagesOf(s, limit, func(after string) ([]string, error) {
			page, err := s.store.Contacts(s.ctx, "me", after, limit)
			var got []string
			for _, c := range page {
				got = append(got, c.UserID)
				same(s, "the contact", utc(c), chat.Contact{UserID: c.UserID, State: chat.Friend, Since: s.now})
			}
			return got, err
		}), ids)
	}
	sameAll(s, "after an ID that is no contact", pagesOf(s, 0, func(after string) (got []string, err error) {
		page, err := s.store.Contacts(s.ctx, "me", max(after, "boc"), 0)
		for _, c := range page {
			got = append(got, c.UserID)
		}
		return got, err
	}), ids[slices.Index(ids, "bob.")+1:])
}

// pagesOf reads pages of IDs until one is empty, and wants each to have its limit at most.
func pagesOf(s *suite, limit int, page func(after string) ([]string, error)) (all []string) {
	s.t.Helper()
	for after := ""; ; after = all[len(all)-1] {
		got, err := page(after)
		s.noError(err)
		if limit > 0 && len(got) > limit {
			s.t.Fatalf("a page of %d has %d entries", limit, len(got))
		}
		if len(got) == 0 {
			return all
		}
		if got[0] <= after {
			s.t.Fatalf("the page after %q begins with %q", after, got[0])
		}
		all = append(all, got...)
	}
}

// crosswise has goroutines add to a number that the two sides of a relation hold, in both orders of the two. No addition is lost.
func (s *suite) crosswise() {
	const goroutines, each = 8, 20
	together(goroutines, func(i int) {
		a, b := "ann", "bob"
		if i%2 == 1 {
			a, b = b, a
		}
		for range each {
			err := s.store.UpdateContact(s.ctx, a, b, func(r *chat.Relation) error {
				r.AB.Text += "."
				r.BA.Text += "."
				return nil
			})
			if err != nil {
				s.t.Error(err)
				return
			}
		}
	})
	same(s, "additions to ann's contact", len(s.with("ann", "bob").Text), goroutines*each)
	same(s, "additions to bob's contact", len(s.with("bob", "ann").Text), goroutines*each)
}
