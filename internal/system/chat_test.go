package system_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// listOf makes n entries; each has an ID of so many bytes.
func listOf[T any](n, id int, entry func(id string) T) (all []T) {
	for i := range n {
		s := fmt.Sprintf("%04d", i)
		all = append(all, entry(s+strings.Repeat("x", id-len(s))))
	}
	return all
}

// checkLimits has lists written from entries of which fixed bytes come besides their IDs: each has as many entries as may be in it, and all lists
// together have all.
func checkLimits[T any](t *testing.T, kind string, fixed int, entry func(id string) T,
	write func([]byte, []T) ([]byte, []T, error), parse func([]byte) ([]T, error)) {
	t.Helper()
	for _, c := range []struct{ n, id int }{{0, 4}, {1, 4}, {1000, 4}, {2001, 4}, {2000, 255}} {
		want := min(c.n, 1000, (256<<10-2)/(fixed+c.id))
		all := listOf(c.n, c.id, entry)
		var got []T
		for rest, first := all, true; first || len(rest) > 0; first = false {
			before := rest
			list, after, err := write([]byte("x"), rest)
			if err != nil || list[0] != 'x' || len(list) > 1+system.MaxListBytes {
				t.Fatalf("a %s list of %d bytes, %v", kind, len(list), err)
			}
			part, err := parse(list[1:])
			if err != nil || len(part) != len(before)-len(after) || first && len(part) != want {
				t.Fatalf("a %s list of %d entries with %d bytes has %d of them, want %d, %v", kind, c.n, c.id, len(part), want, err)
			}
			got, rest = append(got, part...), after
		}
		if len(got) != len(all) || len(all) > 0 && !reflect.DeepEqual(got, all) {
			t.Errorf("of a %s list of %d entries %d came, or others", kind, len(all), len(got))
		}
	}
}

// Rule P31 and the document: a list has at most 1,000 entries and 256 KiB; what does not fit is left for the next one.
func TestListsOfChatAreNoLongerThanTheirLimits(t *testing.T) {
	at := time.UnixMilli(1_760_000_000_000).UTC()
	checkLimits(t, "contact", 1+1+8, func(id string) protocol.Contact {
		return protocol.Contact{UserID: id, State: protocol.ContactFriend, Since: at}
	}, system.AppendContacts, protocol.ParseContacts)
	checkLimits(t, "member", 1+1+8+1, func(id string) protocol.GroupMember {
		return protocol.GroupMember{UserID: id, Role: protocol.RoleOwner, MutedUntil: at, State: protocol.PresenceBusy}
	}, system.AppendGroupMembers, protocol.ParseGroupMembers)
	checkLimits(t, "conversation", 1+1+8, func(id string) protocol.ChatConversation {
		return protocol.ChatConversation{With: id, Last: 1<<63 - 1}
	}, system.AppendConversations, protocol.ParseConversations)
	content := bytes.Repeat([]byte("c"), 500)
	checkLimits(t, "message", 8+16+8+1+2+1+4+500, func(id string) protocol.StoredMessage {
		return protocol.StoredMessage{Seq: 1<<63 - 1, ID: uuid.Max, Time: at, Type: 1, From: id, Content: content}
	}, system.AppendStoredMessages, protocol.ParseStoredMessages)
}

// A message with the largest content that a server may allow has a list of its own, so that a page never comes without one.
func TestALongMessageIsAListOfItsOwn(t *testing.T) {
	long := protocol.StoredMessage{Seq: 2, Type: 1, From: "ann", Content: make([]byte, system.MaxListBytes)}
	list, rest, err := system.AppendStoredMessages(nil, []protocol.StoredMessage{long, {Seq: 3, Type: 1, From: "ann"}})
	if err != nil || len(rest) != 1 {
		t.Fatalf("%d messages are left, %v; want 1", len(rest), err)
	}
	if got, err := protocol.ParseStoredMessages(list); err != nil || len(got) != 1 || len(got[0].Content) != len(long.Content) {
		t.Errorf("the list has %d messages, %v", len(got), err)
	}
}

// What no client could read is not written.
func TestListsOfChatRefuseWhatCannotBe(t *testing.T) {
	refuses(t, system.AppendContacts, protocol.Contact{UserID: "bob", State: protocol.ContactFriend},
		protocol.Contact{State: protocol.ContactFriend}, protocol.Contact{UserID: "a\n", State: protocol.ContactFriend}, protocol.Contact{UserID: "ann"},
		protocol.Contact{UserID: "ann", State: 3}, protocol.Contact{UserID: "ann", State: protocol.ContactFriend | protocol.ContactBlocked})
	refuses(t, system.AppendGroupMembers, protocol.GroupMember{UserID: "bob"},
		protocol.GroupMember{}, protocol.GroupMember{UserID: "ann", Role: 3}, protocol.GroupMember{UserID: "ann", State: 4})
	refuses(t, system.AppendConversations, protocol.ChatConversation{With: "_server"},
		protocol.ChatConversation{}, protocol.ChatConversation{Group: 1 << 63}, protocol.ChatConversation{With: "ann", Last: 1 << 63},
		protocol.ChatConversation{Group: 7, With: "ann"})
	refuses(t, system.AppendStoredMessages, protocol.StoredMessage{Seq: 1, From: "_server"},
		protocol.StoredMessage{From: "ann"}, protocol.StoredMessage{Seq: 1 << 63, From: "ann"}, protocol.StoredMessage{Seq: 1},
		protocol.StoredMessage{Seq: 1, From: "ann", Anonymous: true}, protocol.StoredMessage{Seq: 5, From: "ann", Recalls: 5},
		protocol.StoredMessage{Seq: 5, From: "ann", Recalls: 4, Recalled: true})
}

func refuses[T any](t *testing.T, write func([]byte, []T) ([]byte, []T, error), good T, bad ...T) {
	t.Helper()
	for _, b := range bad {
		if list, rest, err := write(nil, []T{good, b}); err == nil || len(list) != 0 || len(rest) != 2 {
			t.Errorf("a list with %+v is written: %x", b, list)
		}
	}
	if _, rest, err := write(nil, []T{good}); err != nil || len(rest) != 0 {
		t.Errorf("a list with %+v is not written: %v", good, err)
	}
}

// Rule P32: the content of what was recalled does not leave the server, whatever the store returns.
func TestARecalledMessageIsWrittenWithoutItsContent(t *testing.T) {
	b, err := system.AppendStoredMessage(nil, &protocol.StoredMessage{Seq: 4, Type: 1, From: "ann", Recalled: true, Content: []byte("secret")})
	if err != nil || bytes.Contains(b, []byte("secret")) {
		t.Fatalf("%q, %v", b, err)
	}
	if m, err := protocol.ParseStoredMessage(b); err != nil || !m.Recalled || m.Content != nil {
		t.Errorf("%+v, %v", m, err)
	}
}
