//go:build linux

package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCPUTimeIsFoundBehindAnyName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	line := "42 (a (strange) name) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0 99 0 0\n"
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	want := CPU{User: 1500 * time.Millisecond, System: 250 * time.Millisecond}
	if got := statCPU(path); got != want {
		t.Errorf("read %v, want %v", got, want)
	}
}

func TestAProcessThatHasEndedHasUsedNothing(t *testing.T) {
	if got := statCPU(filepath.Join(t.TempDir(), "gone")); got != (CPU{}) {
		t.Errorf("read %v, want nothing", got)
	}
}
