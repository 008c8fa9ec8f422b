package system_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestIDListLimits(t *testing.T) {
	long := strings.Repeat("u", protocol.MaxUserID)
	for _, c := range []struct {
		name string
		ids  []string
		ok   bool
	}{
		{"none", nil, true},
		{"in their order", []string{"carol", "alice", "bob"}, true},
		{"one twice", []string{"bob", "bob"}, true},
		{"1,000 of 255 bytes", slices.Repeat([]string{long}, 1000), true},
		{"1,001", slices.Repeat([]string{"u"}, 1001), false},
		{"a reserved one", []string{"_0"}, true},
		{"an empty one", []string{"alice", ""}, false},
		{"one of 256 bytes", []string{long + "u"}, false},
		{"one that is not UTF-8", []string{"\xff"}, false},
		{"one with a control character", []string{"a\u0085"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := system.AppendIDList(append(make([]byte, 0, 100), "before"...), c.ids)
			if !c.ok {
				if err == nil || string(b) != "before" || !strings.HasPrefix(err.Error(), "rollcall: ") {
					t.Errorf("got %.100q, %v; want an error and dst as it was", b, err)
				}
				return
			}
			if err != nil || string(b[:6]) != "before" || len(b)-6 > 256_002 {
				t.Fatalf("got %.100q of %d bytes, %v", b, len(b), err)
			}
			if got, err := system.ParseIDList(b[6:]); err != nil || got == nil || !slices.Equal(got, c.ids) {
				t.Errorf("parsed %.100q, %v", got, err)
			}
		})
	}
}

// A list that is cut off anywhere is refused, and so is one with a byte behind it.
func TestParseIDListOfEveryPrefix(t *testing.T) {
	b, err := system.AppendIDList(nil, []string{"alice", "Zoë"})
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if ids, err := system.ParseIDList(b[:n]); codeOf(err) != protocol.InvalidMessage || ids != nil {
			t.Errorf("of %d bytes: %q, %v", n, ids, err)
		}
	}
	if _, err := system.ParseIDList(append(b, 0)); codeOf(err) != protocol.InvalidMessage {
		t.Errorf("with a byte behind it: %v", err)
	}
}
