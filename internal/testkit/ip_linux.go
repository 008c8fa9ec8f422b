package testkit

import (
	"fmt"
	"os/exec"
	"strings"
)

// IP runs the system's ip command, for networks of a test's own. That needs root.
func IP(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
