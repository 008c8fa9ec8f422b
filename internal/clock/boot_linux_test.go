package clock

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

func bootNow(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// wantBoot wants SinceBoot to tell the time of CLOCK_BOOTTIME.
func wantBoot(t *testing.T) {
	t.Helper()
	before, got, after := bootNow(t), SinceBoot(), bootNow(t)
	if slack := 2 * offsetSlack; got < before-slack || got > after+slack {
		t.Errorf("SinceBoot returned %v between %v and %v", got, before, after)
	}
}

// Rule 21: the clock of a lease goes on while the machine sleeps.
func TestSinceBootIsTheClockThatGoesOnWhileTheMachineSleeps(t *testing.T) {
	for range 1000 {
		wantBoot(t)
	}
}

// Rule 21, in a time namespace whose CLOCK_BOOTTIME is ahead of the monotonic clock, as on a machine that has slept.
func TestSinceBootIsThatClockOnAMachineThatHasSlept(t *testing.T) {
	const test = "TestSinceBootIsTheClockThatGoesOnWhileTheMachineSleeps"
	out, err := exec.Command("unshare", "--time", "--boottime", "36000", os.Args[0], "-test.run=^"+test+"$", "-test.v").CombinedOutput()
	switch said := string(out); {
	case strings.Contains(said, "--- FAIL: "+test):
		t.Errorf("there it failed:\n%s", said)
	case err != nil || !strings.Contains(said, "--- PASS: "+test):
		testkit.LeaveOut(t, "this needs time namespaces, unshare, and so root: %v\n%s", err, said)
	}
}

// Rule 21: a sleep of the machine moves CLOCK_REALTIME and CLOCK_BOOTTIME together away from the monotonic clock. The difference that
// SinceBoot knew before does not count any more. It does not when CLOCK_REALTIME was set either way, and asking the kernel does no harm.
func TestSinceBootAsksAgainAfterASleep(t *testing.T) {
	for _, sleep := range []time.Duration{time.Hour, 3 * time.Second, 10 * time.Millisecond, -10 * time.Millisecond, -time.Hour} {
		askBoot()
		o := offsets.Load()
		if o == nil {
			t.Fatal("the differences were not noted")
		}
		offsets.Store(&bootOffsets{wall: o.wall - sleep, boot: o.boot - sleep}) // as it was before the sleep
		wantBoot(t)
	}
}

// A reading of the clock allocates nothing: it is in the message path.
func TestSinceBootAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() { SinceBoot() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSinceBoot(b *testing.B) {
	for b.Loop() {
		SinceBoot()
	}
}
