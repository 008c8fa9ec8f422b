package doccheck

import (
	"regexp"
	"strings"
	"testing"
)

// A test is left out by testkit.LeaveOut alone, which fails it where CI=true.
func TestNoTestIsSkipped(t *testing.T) {
	skip := regexp.MustCompile(`\b\w+\.Skip(f|Now)?\(`)
	goFiles(t, func(name string, text []byte) {
		if skip.Match(text) && name != "internal/testkit/skip.go" && !strings.HasPrefix(name, "internal/doccheck/") {
			t.Errorf("%s skips a test: use testkit.LeaveOut", name)
		}
	})
}
