//go:build linux

package soak

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// patience is how long a test waits for something that must happen.
const patience = 45 * time.Second

// childJob names, in the environment, what this test binary does when a test starts it as a process of its own.
const childJob = "ROLLCALL_SOAK_CHILD"

// childJobs are the mains of such processes.
var childJobs = map[string]func(){"server": serverMain, "clients": clientsMain, "halfway": halfwayMain,
	"deaf": deafMain, "attack": attackMain}

func TestMain(m *testing.M) {
	if job := childJobs[os.Getenv(childJob)]; job != nil {
		job()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}

// soakTime is how long a long test is to take: what SOAK_TIME says, or 0 when it is not set and all tests are short.
func soakTime() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("SOAK_TIME"))
	return d
}

// sized returns the size of a test: with -short, in go test ./..., and in make soak.
func sized[T any](short, normal, soak T) T {
	switch {
	case soakTime() > 0:
		return soak
	case testing.Short():
		return short
	}
	return normal
}

// besideOthers lets a test that mostly waits run beside others, unless it is one of make soak, which measure.
func besideOthers(t *testing.T) {
	if soakTime() == 0 {
		t.Parallel()
	}
}

// eventually is testkit.Eventually, with the patience of these tests.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	testkit.EventuallyIn(t, patience, what, condition)
}

// noneLeft waits until no goroutines are left but those to ignore, and returns an error that shows the others where that does not come.
// goleak by itself waits for less than half a second.
func noneLeft(ignore goleak.Option) (err error) {
	testkit.ComesTrue(patience, func() bool {
		err = goleak.Find(ignore)
		return err == nil
	})
	return err
}

// usage is what a process holds.
type usage struct {
	Goroutines, Descriptors int
	Resident, Peak          int // bytes; Peak is the most that was ever resident
}

func (u usage) String() string {
	return fmt.Sprintf("%d MB resident, %d goroutines, %d descriptors", u.Resident>>20, u.Goroutines, u.Descriptors)
}

// usageNow returns what this process holds; -1 where that cannot be found out, for want of descriptors.
func usageNow() usage {
	u := usage{Goroutines: runtime.NumGoroutine(), Descriptors: -1, Resident: -1}
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.Descriptors = len(entries) - 1 // one is the directory's own
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			pages, _ := strconv.Atoi(fields[1])
			u.Resident = pages * os.Getpagesize()
		}
	}
	if b, err := os.ReadFile("/proc/self/status"); err == nil {
		if _, after, found := strings.Cut(string(b), "VmHWM:"); found {
			if fields := strings.Fields(after); len(fields) > 0 {
				kilobytes, _ := strconv.Atoi(fields[0])
				u.Peak = kilobytes << 10
			}
		}
	}
	return u
}

// returnsTheDescriptors fails the test when this process does not get down to the descriptors that it has now.
func returnsTheDescriptors(t testing.TB) {
	before := usageNow().Descriptors
	t.Cleanup(func() {
		eventually(t, "all descriptors of the test are returned", func() bool { return usageNow().Descriptors <= before })
	})
}
