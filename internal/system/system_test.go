package system_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// A notice is never lost over its wording.
func TestAppendCloseAlwaysSucceeds(t *testing.T) {
	many := make(map[string]string)
	for i := range 300 {
		many[fmt.Sprintf("%03d", i)] = "v"
	}
	first255 := make(map[string]string)
	for i := range 255 {
		first255[fmt.Sprintf("%03d", i)] = "v"
	}
	for _, c := range []struct {
		name      string
		err, want protocol.CloseError
	}{
		{"as it is", protocol.CloseError{Code: 1, Text: "t", Info: map[string]string{"k": "v"}},
			protocol.CloseError{Code: 1, Text: "t", Info: map[string]string{"k": "v"}}},
		{"no text", protocol.CloseError{Code: protocol.PushedOut}, protocol.CloseError{Code: protocol.PushedOut}},
		{"empty info", protocol.CloseError{Info: map[string]string{}}, protocol.CloseError{}},
		{"text of 65,535 bytes", protocol.CloseError{Text: strings.Repeat("x", 65535)}, protocol.CloseError{Text: strings.Repeat("x", 65535)}},
		{"text of 65,536 bytes", protocol.CloseError{Text: strings.Repeat("x", 65536)}, protocol.CloseError{Text: strings.Repeat("x", 65535)}},
		{"cut before a rune", protocol.CloseError{Text: strings.Repeat("x", 65533) + "€"}, protocol.CloseError{Text: strings.Repeat("x", 65533)}},
		{"text not UTF-8", protocol.CloseError{Text: "a\xff\xfeb"}, protocol.CloseError{Text: "a\ufffdb"}},
		{"replacements that make it too long", protocol.CloseError{Text: strings.Repeat("x\xff", 40000)},
			protocol.CloseError{Text: strings.Repeat("x\ufffd", 16383) + "x"}},
		{"pairs that no map can hold", protocol.CloseError{Info: map[string]string{"": "v", "\xff": "v", "k": "\xff", "ok": "v"}},
			protocol.CloseError{Info: map[string]string{"ok": "v"}}},
		{"only such pairs", protocol.CloseError{Info: map[string]string{"": "v"}}, protocol.CloseError{}},
		{"more pairs than a map can hold", protocol.CloseError{Info: many}, protocol.CloseError{Info: first255}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := system.AppendClose([]byte("before"), &c.err)
			got, err := protocol.ParseClose(b[len("before"):])
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got %d, %.20q (%d bytes), %v; want %d, %.20q (%d bytes), %v", got.Code, got.Text, len(got.Text),
					got.Info, c.want.Code, c.want.Text, len(c.want.Text), c.want.Info)
			}
		})
	}
}

// A code and a text that are cut off are refused anywhere but where the string map, which may be left out, begins.
func TestParseCloseOfEveryPrefix(t *testing.T) {
	b := system.AppendClose(nil, &protocol.CloseError{Code: protocol.ServerStopping, Text: "bye", Info: map[string]string{"retry-ms": "100"}})
	for n := range b {
		e, err := protocol.ParseClose(b[:n])
		if n == 4+len("bye") {
			if err != nil || e.Text != "bye" || e.Info != nil {
				t.Errorf("without the map: %v, %v", e, err)
			}
		} else if codeOf(err) != protocol.InvalidMessage || e != nil {
			t.Errorf("of %d bytes: %v, %v", n, e, err)
		}
	}
	for name, bad := range map[string]string{
		"a text that is not UTF-8":       "\x03\xe8\x00\x01\xff",
		"something else behind the text": "\x03\xe8\x00\x00\x01",
		"a byte behind the map":          string(b) + "\x00",
	} {
		if e, err := protocol.ParseClose([]byte(bad)); codeOf(err) != protocol.InvalidMessage || e != nil {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
}

// A Logon's reply is u16 code 0 and a string map, or what the server refuses it with.
func TestParseLogonReply(t *testing.T) {
	fields := map[string]string{protocol.FieldSession: "0197", protocol.FieldHeartbeatMS: "10000"}
	b, err := system.AppendLogonReply([]byte("x"), fields)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := protocol.ParseLogonReply(b[1:]); err != nil || !reflect.DeepEqual(got, fields) {
		t.Errorf("accepted: %v, %v", got, err)
	}

	want := &protocol.CloseError{Code: protocol.AlreadyLoggedOn, Text: "online", Info: map[string]string{protocol.FieldRetryMS: "5"}}
	var refused *protocol.CloseError
	if _, err := protocol.ParseLogonReply(system.AppendClose(nil, want)); !errors.As(err, &refused) || !reflect.DeepEqual(refused, want) {
		t.Errorf("refused: %v, want %v", err, want)
	}

	for name, bad := range map[string]string{
		"empty": "", "one byte": "\x00", "a map that is none": "\x00\x00\x01", "a refusal cut off": "\x07\xd1\x00",
	} {
		if got, err := protocol.ParseLogonReply([]byte(bad)); codeOf(err) != protocol.InvalidMessage || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := system.AppendLogonReply([]byte("x"), map[string]string{"": "v"}); err == nil || string(got) != "x" {
		t.Errorf("of a bad map: %q, %v", got, err)
	}
}
