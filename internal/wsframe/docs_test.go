package wsframe_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/wsframe"
)

// The bytes in docs/protocol.md are what it says.
func TestDocumentedWebSocketFrames(t *testing.T) {
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, fence := range strings.Split(string(doc), "```websocket ")[1:] {
		info, rest, _ := strings.Cut(fence, "\n")
		body, _, _ := strings.Cut(rest, "```")
		var raw []byte
		for line := range strings.Lines(body) {
			want, is := strings.CutPrefix(strings.TrimSpace(line), "=> ")
			line, _, _ = strings.Cut(line, "#")
			if !is {
				raw = append(raw, bytesOf(t, line)...)
				continue
			}
			found++
			r := wsframe.Reader{Text: strings.Contains(info, "text"), FromServer: strings.HasPrefix(info, "server")}
			var f wsframe.Found
			f.Reset()
			n, used, broken := r.Unwrap(raw, &f)
			got := fmt.Sprintf("%x", raw[:n])
			if f.Closed {
				got = fmt.Sprintf("close %d %q", f.Code, f.Reason)
			} else {
				want = strings.ReplaceAll(want, " ", "")
			}
			if f.LineFeed {
				got += "0a"
			}
			if broken != nil || used != len(raw) || got != want {
				t.Errorf("%s: %s, %v, want %s", info, got, broken, want)
			}
		}
	}
	if found < 4 {
		t.Errorf("%d examples were found", found)
	}
}

func bytesOf(t *testing.T, line string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(line), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
