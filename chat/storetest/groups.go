package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/protocol"
)

var groups = []test{
	{"AGroupBeginsWithItsOwnerAlone", (*suite).begins},
	{"TheNumberOfTheOwnersGroupsIsAskedAbout", (*suite).asksGroups},
	{"AnIDIsTakenOnce", (*suite).taken},
	{"AGroupIsStoredAsChanged", (*suite).groupFields},
	{"AFailedChangeOfAGroupLeavesNothing", (*suite).groupFails},
	{"AGroupThatThereIsNotIsNoGroup", func(s *suite) { s.noGroup(77, "ann") }},
	{"ADissolvedGroupIsNoGroup", (*suite).dissolved},
	{"APairIsNoGroup", (*suite).pairs},
	{"GroupsComeInTheOrderOfTheirIDs", (*suite).groupOrder},
	{"MembersOfOneGroupShareIt", (*suite).shares},
}

func (s *suite) begins() {
	g := chat.Group{ID: 1<<63 - 1, Name: "n\u00e4me '\"\\", Owner: "ann", MaxMembers: 3, Anonymous: true, Muted: true, Open: true}
	s.noError(s.store.CreateGroup(s.ctx, g, func(int) error { return nil }))
	got, m := s.groupAnd(g.ID, "ann")
	g.Members, g.Version = 1, got.Version
	same(s, "the group", got, g)
	same(s, "the owner", m, chat.Member{UserID: "ann", In: true, Role: chat.Owner})
	_, m = s.groupAnd(g.ID, "bob")
	same(s, "another user", m, chat.Member{UserID: "bob"})
	sameAll(s, "the members", s.membersOf(g.ID), []string{"ann"})
	s.creates(1, "ann") // without any flag
	got, _ = s.groupAnd(1, "ann")
	same(s, "a group without flags", got, chat.Group{ID: 1, Name: "group 1", Owner: "ann", MaxMembers: 200, Members: 1, Version: got.Version})
}

func (s *suite) asksGroups() {
	for i := range 3 {
		g := chat.Group{ID: chat.GroupID(i + 1), Owner: "ann", MaxMembers: 5}
		s.noError(s.store.CreateGroup(s.ctx, g, func(groups int) error {
			same(s, "the groups of the owner", groups, i)
			return nil
		}))
	}
	s.creates(10, "bob", "ann")
	s.makes("bob")
	s.sends(s.toUser("ann", "bob", "a pair is no group"))
	s.unchanged(s.store.CreateGroup(s.ctx, chat.Group{ID: 4, Owner: "ann", MaxMembers: 5}, func(groups int) error {
		same(s, "the groups of the owner", groups, 4)
		return errNo
	}))
	s.noGroup(4, "ann")
	s.leaves(10, "ann")
	s.dissolves(1)
	s.noError(s.store.CreateGroup(s.ctx, chat.Group{ID: 4, Owner: "ann", MaxMembers: 5}, func(groups int) error {
		same(s, "the groups of the owner, who has left one, and had one dissolved", groups, 2)
		return nil
	}))
}

func (s *suite) dissolves(id chat.GroupID) chat.Group {
	s.t.Helper()
	return s.updates(id, nil, func(g *chat.Group, _ []chat.Member) { g.Dissolved = true })
}

func (s *suite) takenID(id chat.GroupID) {
	s.t.Helper()
	s.is(s.store.CreateGroup(s.ctx, chat.Group{ID: id, Owner: "eve", MaxMembers: 5}, func(int) error { return nil }), chat.ErrTaken)
	all, err := s.store.Groups(s.ctx, "eve")
	s.noError(err)
	same(s, "the groups of who was refused an ID", len(all), 0)
}

func (s *suite) taken() {
	s.creates(7, "ann")
	before := s.group(7)
	s.takenID(7)
	same(s, "the group that has the ID", s.group(7), before)
	s.dissolves(7)
	s.takenID(7)
	s.noGroup(7, "ann")
	made := make([]bool, 8)
	together(len(made), func(i int) {
		err := s.store.CreateGroup(s.ctx, chat.Group{ID: 8, Owner: fmt.Sprint("owner", i), MaxMembers: 5}, func(int) error { return nil })
		made[i] = err == nil
	})
	same(s, "who has made a group", s.group(8).Owner, fmt.Sprint("owner", slices.Index(made, true)))
	same(s, "the members", s.group(8).Members, 1)
}

func (s *suite) groupFields() {
	s.creates(7, "ann", "bob")
	before := s.group(7)
	want := chat.Group{
		ID: 7, Name: strings.Repeat("\u00e9", 128), Owner: "bob", MaxMembers: 10_000, Anonymous: true, Muted: true, Open: true, Members: 2, Version: before.Version,
	}
	got := s.updates(7, nil, func(g *chat.Group, users []chat.Member) {
		same(s, "the group before", *g, before)
		same(s, "the users", len(users), 0)
		g.Name, g.Owner, g.MaxMembers, g.Anonymous, g.Muted, g.Open = want.Name, want.Owner, want.MaxMembers, true, true, true
	})
	same(s, "the returned group", got, want)
	same(s, "the group", s.group(7), want)
	got = s.updates(7, nil, func(g *chat.Group, _ []chat.Member) {
		g.Name, g.Anonymous, g.Muted, g.Open = "", false, false, false
		g.Members, g.Version, g.LastSeq = 5, 50, 500 // the store's own
	})
	want.Name, want.Anonymous, want.Muted, want.Open = "", false, false, false
	same(s, "the returned group", got, want)
	same(s, "the group", s.group(7), want)
	_, all, err := s.store.Members(s.ctx, 7, "", 0)
	s.noError(err)
	same(s, "the number of members", len(all), 2)
}

func (s *suite) groupFails() {
	s.creates(7, "ann", "bob")
	s.sends(s.toGroup(7, "ann", "1"))
	before := s.group(7)
	g, err := s.store.UpdateGroup(s.ctx, 7, []string{"bob", "cid", "ann"}, func(g *chat.Group, users []chat.Member) error {
		g.Name, g.Muted, g.Dissolved = "changed", true, true
		users[0].In, users[0].BannedBy, users[1].In, users[2].Role = false, "ann", true, chat.Ordinary
		return errNo
	})
	s.unchanged(err)
	same(s, "the returned group", g, chat.Group{})
	same(s, "the group", s.group(7), before)
	for want := range slices.Values([]chat.Member{{UserID: "ann", In: true, Role: chat.Owner}, {UserID: "bob", In: true}, {UserID: "cid"}}) {
		_, m := s.groupAnd(7, want.UserID)
		same(s, "the user", m, want)
	}
	sameAll(s, "the messages", s.contents(chat.Key{Group: 7}), []string{"1"})
}

// noGroup tries every method with the ID of no group. userID is a user who might seem to be in it.
func (s *suite) noGroup(id chat.GroupID, userID string) {
	s.t.Helper()
	_, err := s.store.UpdateGroup(s.ctx, id, []string{userID}, func(*chat.Group, []chat.Member) error {
		s.t.Error("a change was asked for")
		return nil
	})
	s.is(err, protocol.NoSuchGroup)
	_, _, err = s.store.Group(s.ctx, id, userID)
	s.is(err, protocol.NoSuchGroup)
	_, _, err = s.store.Members(s.ctx, id, "", 0)
	s.is(err, protocol.NoSuchGroup)
	_, err = s.store.History(s.ctx, chat.Key{Group: id}, userID, chat.Range{FromStart: true, Limit: 10})
	s.is(err, protocol.NoSuchGroup)
	for _, p := range []*chat.Post{s.toGroup(id, userID, "?"), s.recall(s.toGroup(id, userID, ""), 1)} {
		if st := s.standing(p); st.Group != nil || st.Member.In || st.Message != nil {
			s.t.Errorf("a post to no group has the standing %+v", st)
		}
	}
	all, err := s.store.Groups(s.ctx, userID)
	s.noError(err)
	if slices.ContainsFunc(all, func(g chat.Group) bool { return g.ID == id }) {
		s.t.Errorf("it is one of %s's groups", userID)
	}
}

func (s *suite) dissolved() {
	s.creates(7, "ann", "bob", "cid")
	s.updates(7, []string{"eve"}, func(_ *chat.Group, users []chat.Member) { users[0].BannedBy = "ann" })
	s.sends(s.toGroup(7, "ann", "1"))
	before := s.group(7)
	g := s.updates(7, []string{"dan", "bob"}, func(g *chat.Group, users []chat.Member) {
		users[0].In = true // one who comes comes to nothing
		g.Dissolved = true
	})
	if !g.Dissolved || g.ID != 7 || g.Members != 0 || g.Version <= before.Version {
		s.t.Errorf("the dissolved group is %+v", g)
	}
	for _, id := range []string{"ann", "bob", "cid", "dan", "eve"} {
		s.noGroup(7, id)
		same(s, "the conversations of "+id, len(s.listed(id)), 0)
	}
	shared, err := s.store.ShareGroup(s.ctx, "ann", []string{"bob", "cid"}, 10_000)
	s.noError(err)
	sameAll(s, "who shares a group with ann", shared, nil)
	s.takenID(7)
}

// pairs tries every method for groups on the conversations of two users (rule P31, and amendment 4 of the design).
func (s *suite) pairs() {
	s.makes("ann", "bob")
	anonymous := s.toUser("bob", "ann", "psst")
	anonymous.Anonymous = true
	s.sends(s.toUser("ann", "bob", "secret"), s.toUser(chat.Server, "ann", "news"), anonymous)
	s.relates("ann", "cid", chat.Contact{Blocked: true}, chat.Contact{})
	listed := s.listed("ann")
	same(s, "ann's conversations", len(listed), 3)
	for _, c := range listed {
		id := chat.GroupID(c.ID)
		for _, user := range []string{"ann", "bob", chat.Server, chat.Anonymous, "eve"} {
			s.noGroup(id, user)
		}
		s.takenID(id)
	}
	shared, err := s.store.ShareGroup(s.ctx, "ann", []string{"bob", "cid", chat.Server, chat.Anonymous}, 10_000)
	s.noError(err)
	sameAll(s, "who shares a group with ann", shared, nil)
	s.updatesNoPair("ann")
	sameAll(s, "the messages", s.contents(chat.PairKey("bob", "ann")), []string{"secret"})
}

// updatesNoPair wants the groups of a user to be counted without pairs.
func (s *suite) updatesNoPair(userID string) {
	s.t.Helper()
	s.creates(50, "zoe")
	s.updates(50, []string{userID}, func(_ *chat.Group, users []chat.Member) { same(s, "the groups of "+userID, users[0].Groups, 0) })
}

func (s *suite) groupOrder() {
	for _, id := range []chat.GroupID{30, 4, 1 << 62, 200} {
		s.creates(id, "ann", "bob")
	}
	s.leaves(30, "bob")
	s.sends(s.toGroup(200, "bob", "1"))
	all, err := s.store.Groups(s.ctx, "bob")
	s.noError(err)
	sameAll(s, "bob's groups", all, []chat.Group{s.group(4), s.group(200), s.group(1 << 62)})
	all, err = s.store.Groups(s.ctx, "cid")
	s.noError(err)
	same(s, "the groups of one who is in none", len(all), 0)
}

func (s *suite) shares() {
	s.creates(1, "ann", "bob", "cid")
	s.creates(2, "ann", "bob", "Bob")
	s.creates(3, "eve", "dan")
	s.updates(1, []string{"dan"}, func(_ *chat.Group, users []chat.Member) { users[0].BannedBy = "ann" })
	for asker, want := range map[string][]string{
		"ann": {"Bob", "bob", "cid"}, "cid": {"ann", "bob"}, "Bob": {"ann", "bob"}, "dan": {"eve"}, "nobody": nil,
	} {
		about := slices.DeleteFunc([]string{"nobody", "bob", "dan", "cid", "ann", "eve", "Bob"}, func(id string) bool { return id == asker })
		got, err := s.store.ShareGroup(s.ctx, asker, about, 200)
		s.noError(err)
		slices.Sort(got)
		sameAll(s, "who shares a group with "+asker, got, want)
	}
	got, err := s.store.ShareGroup(s.ctx, "ann", nil, 200)
	s.noError(err)
	same(s, "how many of none share a group", len(got), 0)
	s.updates(1, nil, func(g *chat.Group, _ []chat.Member) { g.MaxMembers = 201 })
	s.updates(2, nil, func(g *chat.Group, _ []chat.Member) { g.MaxMembers = 50 })
	for most, want := range map[int][]string{0: nil, 49: nil, 50: {"Bob", "bob"}, 200: {"Bob", "bob"}, 201: {"Bob", "bob", "cid"}} {
		got, err := s.store.ShareGroup(s.ctx, "ann", []string{"Bob", "bob", "cid", "dan"}, most)
		s.noError(err)
		slices.Sort(got)
		sameAll(s, fmt.Sprint("who shares a group of at most ", most), got, want)
	}
}

var members = []test{
	{"MembersComeAndGo", (*suite).comeAndGo},
	{"AMemberJoinsAfterTheLastMessage", (*suite).joined},
	{"RolesAndMutesAreStored", (*suite).roles},
	{"ABanOutlivesMembership", (*suite).bans},
	{"TheGroupsOfUsersAreCounted", (*suite).groupsOfUsers},
	{"MembersComeInPagesByTheirBytes", (*suite).memberPages},
}

func (s *suite) comeAndGo() {
	s.creates(7, "ann")
	version := s.group(7).Version
	check := func(what string, g chat.Group, grows uint64, want ...string) {
		s.t.Helper()
		version += grows
		same(s, "the version after "+what, g.Version, version)
		same(s, "the members after "+what, g.Members, len(want))
		same(s, "the group after "+what, s.group(7), g)
		sameAll(s, "the members after "+what, s.membersOf(7), want)
	}
	g := s.updates(7, []string{"cid", "ann", "bob"}, func(_ *chat.Group, users []chat.Member) {
		sameAll(s, "the users", users, []chat.Member{{UserID: "cid"}, {UserID: "ann", In: true, Role: chat.Owner, Groups: 1}, {UserID: "bob"}})
		users[0].In, users[2].In = true, true
	})
	check("two came", g, 1, "ann", "bob", "cid")
	check("two came who are in", s.joins(7, "bob", "cid"), 0, "ann", "bob", "cid")
	check("one came and one was in", s.joins(7, "bob", "dan"), 1, "ann", "bob", "cid", "dan")
	g = s.updates(7, []string{"bob", "eve"}, func(_ *chat.Group, users []chat.Member) { users[0].In, users[1].In = false, true })
	check("one came and one went", g, 1, "ann", "cid", "dan", "eve")
	check("one went", s.leaves(7, "dan"), 1, "ann", "cid", "eve")
	check("one went who is not in", s.leaves(7, "dan"), 0, "ann", "cid", "eve")
	check("a role", s.updates(7, []string{"cid"}, func(_ *chat.Group, users []chat.Member) { users[0].Role = chat.Administrator }), 0, "ann", "cid", "eve")
	check("a name", s.updates(7, nil, func(g *chat.Group, _ []chat.Member) { g.Name = "new" }), 0, "ann", "cid", "eve")
	s.sends(s.toGroup(7, "ann", "1"))
	same(s, "the version after a message", s.group(7).Version, version)
	check("one came back", s.joins(7, "bob"), 1, "ann", "bob", "cid", "eve")
}

func (s *suite) joined() {
	s.creates(7, "ann", "bob")
	s.sendMany(3, func(c string) *chat.Post { return s.toGroup(7, "ann", c) })
	g := s.joins(7, "cid")
	same(s, "the last number", g.LastSeq, 3)
	s.sends(s.toGroup(7, "ann", "4"))
	s.updates(7, []string{"cid"}, func(_ *chat.Group, users []chat.Member) { users[0].Role = chat.Administrator })
	want := map[string]uint64{"ann": 0, "bob": 0, "cid": 3}
	check := func() {
		s.t.Helper()
		_, all, err := s.store.Members(s.ctx, 7, "", 0)
		s.noError(err)
		same(s, "the number of members", len(all), len(want))
		for _, m := range all {
			same(s, "Joined in Members of "+m.UserID, m.Joined, want[m.UserID])
			_, m = s.groupAnd(7, m.UserID)
			same(s, "Joined in Group of "+m.UserID, m.Joined, want[m.UserID])
			same(s, "Joined in a Standing of "+m.UserID, s.standing(s.toGroup(7, m.UserID, "")).Member.Joined, want[m.UserID])
		}
	}
	check()
	s.leaves(7, "bob")
	s.joins(7, "bob")
	want["bob"] = 4
	check()
}

func (s *suite) roles() {
	s.creates(7, "ann", "bob", "cid")
	s.updates(7, []string{"bob", "cid", "ann"}, func(_ *chat.Group, users []chat.Member) {
		users[0].Role, users[1].MutedUntil, users[2].Role = chat.Owner, s.now, chat.Administrator
	})
	check := func(want ...chat.Member) {
		s.t.Helper()
		_, all, err := s.store.Members(s.ctx, 7, "", 0)
		s.noError(err)
		for i := range all {
			all[i].MutedUntil = all[i].MutedUntil.UTC()
		}
		sameAll(s, "the members", all, want)
		for _, want := range want {
			_, m := s.groupAnd(7, want.UserID)
			same(s, "the member", m, want)
			same(s, "the member in a Standing", s.standing(s.toGroup(7, want.UserID, "")).Member, want)
			s.updates(7, []string{want.UserID}, func(_ *chat.Group, users []chat.Member) {
				got := users[0]
				got.Groups, got.MutedUntil = 0, got.MutedUntil.UTC()
				same(s, "the member for a change", got, want)
			})
		}
	}
	check(chat.Member{UserID: "ann", In: true, Role: chat.Administrator}, chat.Member{UserID: "bob", In: true, Role: chat.Owner},
		chat.Member{UserID: "cid", In: true, MutedUntil: s.now})
	s.updates(7, []string{"cid", "bob"}, func(_ *chat.Group, users []chat.Member) {
		users[0].MutedUntil, users[1].MutedUntil = time.Time{}, s.now.Add(time.Hour)
	})
	check(chat.Member{UserID: "ann", In: true, Role: chat.Administrator}, chat.Member{UserID: "bob", In: true, Role: chat.Owner, MutedUntil: s.now.Add(time.Hour)},
		chat.Member{UserID: "cid", In: true})
	s.leaves(7, "ann")
	s.joins(7, "ann")
	_, m := s.groupAnd(7, "ann")
	same(s, "one who was an administrator and came back", m, chat.Member{UserID: "ann", In: true})
	s.leaves(7, "bob")
	_, m = s.groupAnd(7, "bob")
	same(s, "one who is muted and has left", m, chat.Member{UserID: "bob", MutedUntil: s.now.Add(time.Hour)})
}

func (s *suite) bans() {
	s.creates(7, "ann", "bob")
	ban := func(userID, by string, in bool) {
		s.t.Helper()
		s.updates(7, []string{userID}, func(_ *chat.Group, users []chat.Member) { users[0].BannedBy, users[0].In = by, in })
	}
	check := func(want chat.Member) {
		s.t.Helper()
		_, m := s.groupAnd(7, want.UserID)
		same(s, "the user", m, want)
		same(s, "the user in a Standing", s.standing(s.toGroup(7, want.UserID, "")).Member, want)
		s.updates(7, []string{want.UserID}, func(_ *chat.Group, users []chat.Member) {
			users[0].Groups = 0
			same(s, "the user for a change", users[0], want)
		})
		_, all, err := s.store.Members(s.ctx, 7, "", 0)
		s.noError(err)
		i := slices.IndexFunc(all, func(m chat.Member) bool { return m.UserID == want.UserID })
		if want.In != (i >= 0) || want.In && all[i] != want {
			s.t.Errorf("the members are %+v, and the user is %+v", all, want)
		}
	}
	ban("bob", "ann", true)
	check(chat.Member{UserID: "bob", In: true, BannedBy: "ann"})
	ban("bob", "ann", false)
	check(chat.Member{UserID: "bob", BannedBy: "ann"})
	ban("eve", chat.Server, false) // who was never a member
	check(chat.Member{UserID: "eve", BannedBy: chat.Server})
	check(chat.Member{UserID: "Eve"})
	ban("bob", "", true)
	check(chat.Member{UserID: "bob", In: true})
	ban("eve", "", false)
	check(chat.Member{UserID: "eve"})
}

func (s *suite) groupsOfUsers() {
	s.creates(1, "ann", "bob")
	s.creates(2, "bob", "ann", "cid")
	s.creates(3, "bob")
	check := func(want ...int) {
		s.t.Helper()
		s.updates(1, []string{"ann", "bob", "cid", "dan"}, func(_ *chat.Group, users []chat.Member) {
			for i, m := range users {
				same(s, "the groups of "+m.UserID, m.Groups, want[i])
			}
		})
	}
	check(2, 3, 1, 0)
	s.leaves(2, "cid")
	s.leaves(1, "bob")
	check(2, 2, 0, 0)
	s.dissolves(3)
	check(2, 1, 0, 0)
}

func (s *suite) memberPages() {
	ids := append(slices.Clone(spellings), long("A"), long("a"), long("\u00e9"))
	slices.Sort(ids)
	s.creates(7, ids[2])
	reversed := slices.Clone(ids)
	slices.Reverse(reversed)
	s.joins(7, reversed...)
	s.creates(8, "Bob", "outsider")
	for _, limit := range []int{0, 1, 4, len(ids), len(ids) + 1} {
		sameAll(s, fmt.Sprint("pages of ", limit), pagesOf(s, limit, func(after string) ([]string, error) {
			g, page, err := s.store.Members(s.ctx, 7, after, limit)
			same(s, "the group", g, s.group(7))
			return memberIDs(page), err
		}), ids)
	}
	same(s, "the number of members", s.group(7).Members, len(ids))
}
