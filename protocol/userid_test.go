package protocol_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// A user ID is 1 to 255 bytes of UTF-8 without control characters, and '_' at its start is reserved.
func TestCheckUserID(t *testing.T) {
	for _, c := range []struct {
		name, id, text string // text: what is in the refusal's; "" means a valid ID
	}{
		{"a name", "alice", ""},
		{"one byte", "a", ""},
		{"255 bytes", strings.Repeat("u", 255), ""},
		{"spaces and signs", " @#< a\\b", ""},
		{"beyond ASCII", "Zoë 王 😀", ""},
		{"'_' later on", "a_", ""},
		{"empty", "", "is empty"},
		{"256 bytes", strings.Repeat("u", 256), "256 bytes"},
		{"256 bytes in 128 runes", strings.Repeat("é", 128), "256 bytes"},
		{"not UTF-8", "a\xff", "not valid UTF-8"},
		{"NUL", "a\x00", "control character U+0000"},
		{"a line feed", "a\nb", "control character U+000A"},
		{"DEL", "\x7f", "control character U+007F"},
		{"U+009B", "a\u009bb", "control character U+009B"},
		{"the server", "_0", "reserved"},
		{"'_' alone", "_", "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := protocol.CheckUserID(c.id)
			if c.text == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var e *protocol.CloseError
			if !errors.As(err, &e) || e.Code != protocol.InvalidMessage || !strings.Contains(e.Text, c.text) {
				t.Errorf("got %v, want InvalidMessage with %q", err, c.text)
			}
		})
	}
}
