package doccheck

import (
	"regexp"
	"strings"
	"testing"
)

// skippers are the files that may skip a test, and why.
var skippers = map[string]string{
	"engine/addr_limits_test.go": "only Linux has all addresses of 127.0.0.0/8, and there nothing is skipped",
	"internal/testkit/skip.go":   "LeaveOut fails the test instead where CI=true",
}

// A test is left out only by testkit.LeaveOut, or where what it tests cannot exist.
func TestNoTestIsSkipped(t *testing.T) {
	skip := regexp.MustCompile(`\b\w+\.Skip(f|Now)?\(`)
	seen := map[string]bool{}
	goFiles(t, func(name string, text []byte) {
		if !skip.Match(text) || strings.HasPrefix(name, "internal/doccheck/") {
			return
		}
		seen[name] = true
		if skippers[name] == "" {
			t.Errorf("%s skips a test: use testkit.LeaveOut, or say in skippers why it may", name)
		}
	})
	for name := range skippers {
		if !seen[name] {
			t.Errorf("skippers has %s, which skips nothing", name)
		}
	}
}
