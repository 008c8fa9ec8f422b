package doccheck

import (
	"regexp"
	"strings"
	"testing"
)

// What docs/chat.md shows is a part of examples/presence and examples/chat, which tests in examples run. Two lines that a program needs instead of
// others are in the comment of examples/chat.
func TestTheCodeOfTheChatPageIsTheExamplesOwn(t *testing.T) {
	doc := read(t, "docs/chat.md")
	code := read(t, "examples/presence/main.go") + read(t, "examples/chat/main.go") + read(t, "examples/chat/server/server.go")
	code = regexp.MustCompile(`(?m)^//($|\t)`).ReplaceAllString(code, "$1")
	blocks := goBlocks(doc)
	for _, run := range []string{"go run ./examples/presence\n", "go run ./examples/chat server\n", "go run ./examples/chat client -user ann\n"} {
		if len(blocks) < 7 || !strings.Contains(doc, run) {
			t.Errorf("docs/chat.md has %d blocks of Go, or does not have %s", len(blocks), run)
		}
	}
	for _, block := range blocks {
		if !hasLines(code, block) {
			t.Errorf("the examples do not have:\n%s", block)
		}
	}
}

// The table that docs/chat.md shows is the one that chat/sqlstore/example makes.
func TestTheTableOfTheChatPageIsTheExamplesOwn(t *testing.T) {
	_, table, ok := strings.Cut(read(t, "docs/chat.md"), "```sql\n")
	table, _, closed := strings.Cut(table, "```")
	if !ok || !closed || !strings.Contains(read(t, "chat/sqlstore/example/outbox.sql"), table) {
		t.Errorf("chat/sqlstore/example/outbox.sql does not have:\n%s", table)
	}
}
