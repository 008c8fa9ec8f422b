package chat_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// longest is one of many users, with an ID of 255 bytes.
func longest(i int) string { return strings.Repeat("x", 251) + fmt.Sprintf("%04d", i) }

// No list has more than 1,000 entries or 256 KiB, whatever limit is asked for; its pages have each entry once.
func TestListsAreBounded(t *testing.T) {
	const n = 1100
	store, ctx := chat.NewMemory(), t.Context()
	var users []string
	var posts []*chat.Post
	for i := range n {
		users = append(users, longest(i))
		posts = append(posts, &chat.Post{From: "ann", To: users[i], ID: uuid.New(), Type: 1, Time: time.Now()})
		if err := store.UpdateContact(ctx, "ann", users[i], func(r *chat.Relation) error { r.AB.State, r.BA.State = chat.Friend, chat.Friend; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.CreateGroup(ctx, chat.Group{ID: 7, Owner: "ann", MaxMembers: 10_000}, func(int) error { return nil }); err != nil {
		t.Fatal(err)
	}
	testkit.Must(store.UpdateGroup(ctx, 7, users, func(_ *chat.Group, all []chat.Member) error {
		for i := range all {
			all[i].In = true
		}
		return nil
	}))
	if err := store.Append(ctx, posts, func(*chat.Post, *chat.Standing) error { return nil }); err != nil {
		t.Fatal(err)
	}
	w := chattest.NewWorld(t, chat.Config{Store: store})
	ann := w.LogOn("ann")
	pages := func(what string, typ uint16, op uint8, names func(list []byte) []string, fields ...string) {
		t.Helper()
		var got []string
		for cursor := []string(nil); ; {
			o := ann.Must(typ, op, nil, slices.Concat(fields, cursor, []string{"limit", "5000"})...)
			page := names(o.Content)
			if got = append(got, page...); len(page) == 0 || len(page) > 1000 || len(o.Content) > 256<<10 {
				t.Fatalf("%s: a page has %d entries and %d bytes", what, len(page), len(o.Content))
			}
			next := o.Fields["next"]
			if next == "" {
				break
			}
			cursor = []string{"cursor", next}
		}
		got = slices.DeleteFunc(got, func(id string) bool { return id == "ann" || id == "" })
		slices.Sort(got)
		if !slices.Equal(got, users) {
			t.Errorf("%s: the pages have %d users, and not each of %d once", what, len(got), n)
		}
	}
	pages("contacts", protocol.TypeContacts, protocol.ContactList, func(list []byte) (ids []string) {
		for _, c := range testkit.Must(protocol.ParseContacts(list)) {
			ids = append(ids, c.UserID)
		}
		return ids
	})
	pages("members", protocol.TypeGroup, protocol.GroupMembers, func(list []byte) (ids []string) {
		for _, m := range testkit.Must(protocol.ParseGroupMembers(list)) {
			ids = append(ids, m.UserID)
		}
		return ids
	}, "group", "7")
	pages("conversations", protocol.TypeChat, protocol.ChatConversations, func(list []byte) (ids []string) {
		for _, c := range testkit.Must(protocol.ParseConversations(list)) {
			ids = append(ids, c.With)
		}
		return ids
	})
}
