package usermgr

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// H3: tokens that are refused no more are forgotten, so that kicks do not pile up.
func TestRevokedTokensAreForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r revokedTokens
		for i := range 100 * leastSweep {
			r.add("ann", time.Now().Add(leastSweep*time.Second), fmt.Sprint(i), fmt.Sprint("session ", i))
			time.Sleep(time.Second)
		}
		if n := len(r.until); n > 4*leastSweep {
			t.Errorf("%d tokens are kept, of which %d count", n, leastSweep)
		}
		for i, want := range map[int]bool{100*leastSweep - 1: true, 99*leastSweep + 1: true, 99*leastSweep - 1: false} {
			if got := r.refuses("ann", &Logon{Token: fmt.Sprint(i)}); got != want {
				t.Errorf("token %d is refused: %v, want %v", i, got, want)
			}
		}
	})
}

// H2: of several revocations of a token the longest counts.
func TestLongestRevocationCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r revokedTokens
		for _, d := range []time.Duration{time.Second, time.Hour, time.Minute} {
			r.add("ann", time.Now().Add(d), "x")
		}
		time.Sleep(time.Hour - 1)
		if !r.refuses("ann", &Logon{Token: "x"}) {
			t.Error("the token was let in before its time")
		}
		time.Sleep(time.Nanosecond)
		if r.refuses("ann", &Logon{Token: "x"}) {
			t.Error("the token is refused after its time")
		}
	})
}
