package system_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// Equal maps give equal bytes: the pairs are in the order of their keys.
func TestAppendStringMapIsSorted(t *testing.T) {
	m := map[string]string{"token": "secret", "a": "", "session": "é"}
	want := "x\x03\x01a\x00\x00\x07session\x00\x02\xc3\xa9\x05token\x00\x06secret"
	for range 20 {
		if got, err := protocol.AppendStringMap([]byte("x"), m); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
}

func TestStringMapLimits(t *testing.T) {
	fields := func(n int) map[string]string {
		m := make(map[string]string)
		for i := range n {
			m[fmt.Sprint(i)] = "v"
		}
		return m
	}
	for _, c := range []struct {
		name string
		m    map[string]string
		ok   bool
	}{
		{"nil", nil, true},
		{"255 pairs", fields(255), true},
		{"256 pairs", fields(256), false},
		{"key of 255 bytes", map[string]string{strings.Repeat("k", 255): "v"}, true},
		{"key of 256 bytes", map[string]string{strings.Repeat("k", 256): "v"}, false},
		{"empty key", map[string]string{"": "v"}, false},
		{"value of 65,535 bytes", map[string]string{"k": strings.Repeat("v", 65535)}, true},
		{"value of 65,536 bytes", map[string]string{"k": strings.Repeat("v", 65536)}, false},
		{"key not UTF-8", map[string]string{"\xff": "v"}, false},
		{"value not UTF-8", map[string]string{"k": "\xff"}, false},
		{"control characters", map[string]string{"\n": "\x00"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := protocol.AppendStringMap([]byte("before"), c.m)
			if !c.ok {
				if err == nil || string(b) != "before" {
					t.Errorf("got %q, %v; want an error and dst as it was", b, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := system.ParseStringMap(b[len("before"):])
			if err != nil || len(got) != len(c.m) || len(c.m) > 0 && !reflect.DeepEqual(got, c.m) {
				t.Errorf("parsed %v, %v", got, err)
			}
		})
	}
}

// A logon's token is no text for a log.
func TestStringMapErrorsKeepValuesOut(t *testing.T) {
	for _, value := range []string{strings.Repeat("hunter2", 10000), "hunter2\xff"} {
		if _, err := protocol.AppendStringMap(nil, map[string]string{protocol.FieldToken: value}); err == nil ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error is %v", err)
		}
	}
}

// A map that is cut off anywhere is refused, and so is one with a byte behind it; none at all is an empty map.
func TestParseStringMapOfEveryPrefix(t *testing.T) {
	b, err := protocol.AppendStringMap(nil, map[string]string{"token": "secret", "session": "0197", "empty": ""})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := system.ParseStringMap(nil); err != nil || m == nil || len(m) != 0 {
		t.Errorf("of nothing: %v, %v", m, err)
	}
	for n := 1; n < len(b); n++ {
		if m, err := system.ParseStringMap(b[:n]); codeOf(err) != protocol.InvalidMessage || m != nil {
			t.Errorf("of %d bytes: %v, %v", n, m, err)
		}
	}
	if _, err := system.ParseStringMap(append(b, 0)); codeOf(err) != protocol.InvalidMessage {
		t.Errorf("with a byte behind it: %v", err)
	}
}
