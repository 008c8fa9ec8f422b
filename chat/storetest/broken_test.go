package storetest_test

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/storetest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
)

// broken is a store with one fault. Where that is two transactions in place of one it is slow between them, so that others come in between.
type broken struct {
	*chat.Memory
	fault string
}

// faults are the faults, each with a test of the suite that must fail for it.
var faults = []struct{ fault, test string }{
	{"collation", "UserIDsAreComparedByTheirBytes"},
	{"stale-user", "AUserIsMadeOnce"},
	{"one-sided", "BothSidesOfARelationAreStored"},
	{"lost-update", "ChangesOfARelationComeOneAfterTheOther"},
	{"half-failed", "AFailedChangeOfARelationLeavesNothing"},
	{"hidden-listed", "HiddenContactsAreNotListed"},
	{"blocked-by", "BothListsSayWhoHasBlockedTheUser"},
	{"wrapped-error", "AFailedChangeOfAGroupLeavesNothing"},
	{"pair-is-group", "APairIsNoGroup"},
	{"ban-ends", "ABanOutlivesMembership"},
	{"joined", "AMemberJoinsAfterTheLastMessage"},
	{"version", "MembersComeAndGo"},
	{"maximum", "TheMaximumHoldsUnderManyJoins"},
	{"two-moments", "MembersAndTheirGroupAreOfOneMoment"},
	{"no-dup", "ARepeatIsTheSameMessage"},
	{"dup-in-call", "ARepeatInTheSameCallIsTheSameMessage"},
	{"dup-by-id", "AnIDIsOneSendersInOneConversation"},
	{"not-atomic", "ACallIsStoredWhollyOrNot"},
	{"shared-content", "ContentIsNotSharedWithTheCaller"},
	{"text-content", "ContentIsKeptByteForByte"},
	{"times", "TimesDoNotRunBackwards"},
	{"recall-keeps", "ARecallErasesTheContent"},
	{"anonymous-named", "AnAnonymousMessageToAUserStandsInAConversationOfItsOwn"},
	{"early-mute", "NothingIsLetInAfterAMute"},
	{"early-block", "NothingIsLetInAfterABlock"},
	{"bytes", "BytesEndAPage"},
	{"more", "PagesGoByNumber"},
	{"prune-all", "PruneRemovesTheOldestUpToItsLimit"},
	{"ended-context", "ACallWhoseContextHasEndedStoresNothing"},
	{"presence-makes", "PresenceMakesNoUser"},
	{"forgets", "WhatWasStoredOutlivesTheStore"},
}

// env names the fault that the store of a child process has.
const env = "ROLLCALL_STORETEST_FAULT"

// Without a fault the suite passes. In a child process of the next test the store has one.
func TestTheSuite(t *testing.T) {
	storetest.Run(t, func(*testing.T) chat.Store { return broken{chat.NewMemory(), os.Getenv(env)} })
}

func TestEachFaultIsNoticed(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Run(f.fault, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestTheSuite$/^"+f.test+"$")
			cmd.Env = append(os.Environ(), env+"="+f.fault)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestTheSuite/"+f.test) || strings.Contains(string(out), "panic:") {
				t.Errorf("the suite does not notice: %v\n%s", err, out)
			}
		})
	}
}

func (b broken) is(fault string) bool { return b.fault == fault }

func (b broken) Users(ctx context.Context, ids []string) ([]chat.User, error) {
	if b.is("collation") {
		ids = slices.Clone(ids)
		for i := range ids {
			ids[i] = strings.ToLower(ids[i])
		}
	}
	return b.Memory.Users(ctx, ids)
}

func (b broken) UpdateUser(ctx context.Context, id string, change func(u *chat.User) error) error {
	if !b.is("stale-user") {
		return b.Memory.UpdateUser(ctx, id, change)
	}
	all, err := b.Memory.Users(ctx, []string{id})
	if err != nil {
		return err
	}
	if err := change(&all[0]); err != nil {
		return err
	}
	testkit.BeSlow()
	return b.Memory.UpdateUser(ctx, id, func(u *chat.User) error { *u = all[0]; return nil })
}

func (b broken) UpdateContact(ctx context.Context, one, other string, change func(r *chat.Relation) error) error {
	switch b.fault {
	case "one-sided":
		return b.Memory.UpdateContact(ctx, one, other, func(r *chat.Relation) error {
			was := r.BA
			err := change(r)
			r.BA = was
			return err
		})
	case "half-failed":
		var failed error
		err := b.Memory.UpdateContact(ctx, one, other, func(r *chat.Relation) error {
			failed = change(r)
			return nil
		})
		return cmp.Or(failed, err)
	case "lost-update":
		var seen chat.Relation
		err := b.Memory.UpdateContact(ctx, one, other, func(r *chat.Relation) error { seen = *r; return change(&seen) })
		if err != nil {
			return err
		}
		testkit.BeSlow()
		return b.Memory.UpdateContact(ctx, one, other, func(r *chat.Relation) error { *r = seen; return nil })
	}
	return b.Memory.UpdateContact(ctx, one, other, change)
}

func (b broken) Contacts(ctx context.Context, id, after string, limit int) ([]chat.Contact, error) {
	all, err := b.Memory.Contacts(ctx, id, after, limit)
	switch b.fault {
	case "hidden-listed":
		hidden, err := b.Memory.ContactsWith(ctx, id, []string{"declined"})
		if err != nil {
			return nil, err
		}
		all = append(all, hidden[0])
	case "blocked-by":
		for i := range all {
			all[i].BlockedBy = false
		}
	}
	return all, err
}

func (b broken) UpdateGroup(ctx context.Context, id chat.GroupID, ids []string, change func(*chat.Group, []chat.Member) error) (chat.Group, error) {
	switch b.fault {
	case "wrapped-error":
		g, err := b.Memory.UpdateGroup(ctx, id, ids, change)
		if err != nil {
			err = context.Cause(ctx)
		}
		return g, err
	case "ban-ends":
		return b.Memory.UpdateGroup(ctx, id, ids, func(g *chat.Group, users []chat.Member) error {
			err := change(g, users)
			for i := range users {
				if !users[i].In {
					users[i].BannedBy = ""
				}
			}
			return err
		})
	case "version": // one who comes and one who goes are none
		return b.Memory.UpdateGroup(ctx, id, ids, func(g *chat.Group, users []chat.Member) error {
			err := change(g, users)
			if len(users) == 2 && users[0].In != users[1].In {
				users[0].In, users[1].In = users[1].In, users[0].In
			}
			return err
		})
	case "maximum":
		g, _, err := b.Memory.Group(ctx, id, "")
		if err != nil {
			return g, err
		}
		testkit.BeSlow()
		return b.Memory.UpdateGroup(ctx, id, ids, func(now *chat.Group, users []chat.Member) error {
			now.Members = g.Members
			return change(now, users)
		})
	}
	return b.Memory.UpdateGroup(ctx, id, ids, change)
}

func (b broken) Group(ctx context.Context, id chat.GroupID, user string) (chat.Group, chat.Member, error) {
	g, m, err := b.Memory.Group(ctx, id, user)
	if b.is("pair-is-group") && err != nil && id > 1<<61 {
		return chat.Group{ID: id}, m, nil
	}
	if b.is("joined") {
		m.Joined = 0
	}
	return g, m, err
}

func (b broken) Members(ctx context.Context, id chat.GroupID, after string, limit int) (chat.Group, []chat.Member, error) {
	g, all, err := b.Memory.Members(ctx, id, after, limit)
	if b.is("two-moments") && err == nil {
		testkit.BeSlow()
		_, all, err = b.Memory.Members(ctx, id, after, limit)
	}
	return g, all, err
}

func (b broken) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	switch b.fault {
	case "no-dup":
		for _, p := range posts {
			id := p.ID
			p.ID = uuid.New()
			defer func() { p.ID = id }()
		}
	case "dup-in-call": // a repeat is looked for in what was stored before the call alone
		seen := make(map[uuid.UUID]bool)
		for _, p := range posts {
			if seen[p.ID] {
				p.ID = uuid.New()
			}
			seen[p.ID] = true
		}
	case "dup-by-id":
		seen := make(map[uuid.UUID]bool)
		for _, p := range posts {
			if p.Group != 0 && seen[p.ID] {
				defer func() { p.Dup = true }()
			}
			seen[p.ID] = true
		}
	case "not-atomic":
		for _, p := range posts {
			if err := b.Memory.Append(ctx, []*chat.Post{p}, allow); err != nil {
				return err
			}
		}
		return nil
	case "early-mute", "early-block": // decided by what holds before the transaction
		standings := make(map[*chat.Post]chat.Standing)
		err := b.Memory.Append(ctx, posts, func(p *chat.Post, s *chat.Standing) error { standings[p] = *s; return context.Canceled })
		if err != nil {
			return err
		}
		testkit.BeSlow()
		return b.Memory.Append(ctx, posts, func(p *chat.Post, _ *chat.Standing) error { s := standings[p]; return allow(p, &s) })
	case "anonymous-named":
		for _, p := range posts {
			if p.Anonymous && p.Group == 0 {
				p.Anonymous = false
				defer func() { p.Anonymous = true }()
			}
		}
	case "text-content":
		for _, p := range posts {
			p.Content = bytes.ToValidUTF8(p.Content, []byte("?"))
		}
	}
	return b.Memory.Append(ctx, posts, allow)
}

func (b broken) History(ctx context.Context, of chat.Key, asker string, r chat.Range) (chat.Page, error) {
	if b.is("bytes") {
		r.Bytes = 0
	}
	page, err := b.Memory.History(ctx, of, asker, r)
	for i := range page.Messages {
		switch m := &page.Messages[i]; b.fault {
		case "shared-content":
			m.Content = b.shared(m.Content)
		case "times":
			m.Time = m.Time.Add(-time.Duration(m.Seq) * time.Millisecond)
		case "recall-keeps":
			if m.Recalled {
				m.Content = []byte("gone")
			}
		}
	}
	if b.is("more") {
		page.More = len(page.Messages) == r.Limit
	}
	return page, err
}

// content is what one reader has read, and another gets.
var content []byte

func (b broken) shared(own []byte) []byte {
	if content == nil {
		content = own
	}
	return content
}

func (b broken) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if b.is("prune-all") {
		limit = 1000
	}
	return b.Memory.Prune(ctx, before, limit)
}

func (b broken) CreateGroup(ctx context.Context, g chat.Group, allow func(int) error) error {
	if b.is("ended-context") {
		ctx = context.WithoutCancel(ctx)
	}
	return b.Memory.CreateGroup(ctx, g, allow)
}

func (b broken) SavePresence(ctx context.Context, records []presence.Record) error {
	for _, r := range records {
		if b.is("presence-makes") {
			if err := b.UpdateUser(ctx, r.UserID, func(u *chat.User) error { u.Exists = true; return nil }); err != nil {
				return err
			}
		}
	}
	return b.Memory.SavePresence(ctx, records)
}

// Reopen implements storetest.Reopener.
func (b broken) Reopen(*testing.T) chat.Store {
	if b.is("forgets") {
		return chat.NewMemory()
	}
	return b
}
