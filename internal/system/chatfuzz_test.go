package system_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// fuzzList feeds a parser of lists with any bytes: what it reads is written as it was, in several lists where one is too long, and other bytes are
// refused. seeds are the types of messages with such lists.
func fuzzList[T any](f *testing.F, parse func([]byte) ([]T, error), write func([]byte, []T) ([]byte, []T, error), seeds ...uint16) {
	for _, content := range contents(f, seeds...) {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		all, err := parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the body was written to")
		}
		if err != nil {
			if codeOf(err) != protocol.InvalidMessage || all != nil {
				t.Fatalf("%v, %v", all, err)
			}
			return
		}
		if all == nil || len(all) > system.MaxList {
			t.Fatalf("%d entries, nil: %v", len(all), all == nil)
		}
		for rest := all; len(rest) > 0; {
			list, left, err := write(nil, rest)
			if err != nil || len(left) == len(rest) || len(list) > system.MaxListBytes && len(rest)-len(left) > 1 {
				t.Fatalf("a list of %d bytes with %d of %d entries, %v", len(list), len(rest)-len(left), len(rest), err)
			}
			part, err := parse(list)
			if err != nil || !reflect.DeepEqual(part, rest[:len(part)]) || len(part) != len(rest)-len(left) {
				t.Fatalf("%v became %v, %v", rest, part, err)
			}
			rest = left
		}
	})
}

func FuzzContacts(f *testing.F) {
	fuzzList(f, protocol.ParseContacts, system.AppendContacts, protocol.TypeContacts)
}

func FuzzGroupMembers(f *testing.F) {
	fuzzList(f, protocol.ParseGroupMembers, system.AppendGroupMembers, protocol.TypeGroup)
}

func FuzzConversations(f *testing.F) {
	fuzzList(f, protocol.ParseConversations, system.AppendConversations, protocol.TypeChat)
}

func FuzzStoredMessages(f *testing.F) {
	fuzzList(f, protocol.ParseStoredMessages, system.AppendStoredMessages, protocol.TypeChat, protocol.TypeGroup)
}

// A message that is delivered, and one that is sent, come out as they went in.
func FuzzStoredMessage(f *testing.F) {
	for _, content := range contents(f, protocol.TypeChat) {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := protocol.ParseStoredMessage(b); err == nil {
			again, err := system.AppendStoredMessage(nil, &m)
			if err != nil || len(again) != len(b) {
				t.Fatalf("%x became %x, %v", b, again, err)
			}
			if got, err := protocol.ParseStoredMessage(again); err != nil || !reflect.DeepEqual(got, m) {
				t.Fatalf("%+v became %+v, %v", m, got, err)
			}
		} else if codeOf(err) != protocol.InvalidMessage || !reflect.ValueOf(m).IsZero() {
			t.Fatalf("%+v, %v", m, err)
		}
		if id, typ, content, err := system.ParsePost(b); err == nil {
			if again := system.AppendPost(nil, id, typ, content); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		} else if codeOf(err) != protocol.InvalidMessage {
			t.Fatal(err)
		}
	})
}

// Any operation comes out as it went in, but for the order of its fields.
func FuzzOperation(f *testing.F) {
	seed(f, protocol.TypePresence, protocol.TypeContacts, protocol.TypeGroup, protocol.TypeChat)
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := protocol.ParseOperation(b)
		if err != nil {
			if codeOf(err) != protocol.InvalidMessage || !reflect.ValueOf(o).IsZero() {
				t.Fatalf("%+v, %v", o, err)
			}
			return
		}
		written, err := protocol.AppendOperation(nil, &o)
		if err != nil || len(written) != len(b) {
			t.Fatalf("%x became %x, %v", b, written, err)
		}
		if again, err := protocol.ParseOperation(written); err != nil || !reflect.DeepEqual(again, o) {
			t.Fatalf("%+v became %+v, %v", o, again, err)
		}
	})
}
