package doccheck

import (
	"strings"
	"testing"
)

// What docs/chat.md shows is a part of examples/presence, which a test there runs.
func TestTheCodeOfTheChatPageIsTheExamplesOwn(t *testing.T) {
	doc, code := read(t, "docs/chat.md"), read(t, "examples/presence/main.go")
	blocks := goBlocks(doc)
	if len(blocks) == 0 || !strings.Contains(doc, "go run ./examples/presence\n") {
		t.Fatalf("docs/chat.md has %d blocks of Go, or does not say how to run the example", len(blocks))
	}
	for _, block := range blocks {
		if !hasLines(code, block) {
			t.Errorf("examples/presence does not have:\n%s", block)
		}
	}
}
