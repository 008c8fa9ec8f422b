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
		const all, live = 6400, 64
		for i := range all {
			r.add("ann", time.Now().Add(live*time.Second), fmt.Sprint(i), fmt.Sprint("session ", i))
			time.Sleep(time.Second)
		}
		if n := max(len(r.until), len(r.ends)); n > 2*live+2 {
			t.Errorf("%d tokens are kept, of which %d count", n, 2*live)
		}
		for i, want := range map[int]bool{all - 1: true, all - live + 1: true, all - live - 1: false} {
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

// Many that are over at once go a few at a time, and those that were revoked again for longer stay.
func TestRevokedTokensAreForgottenAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r revokedTokens
		const many = 1000
		for i := range many {
			r.add("ann", time.Now().Add(time.Minute), fmt.Sprint(i))
		}
		r.add("ann", time.Now().Add(time.Hour), "0")
		time.Sleep(2 * time.Minute)
		r.add("ann", time.Now().Add(time.Hour), "last")
		if n := len(r.until); n < many-10 {
			t.Errorf("one came, and %d went", many+1-n)
		}
		for i := range many {
			r.add("ann", time.Now().Add(time.Hour), fmt.Sprint("again ", i))
		}
		if n := len(r.until); n != many+2 {
			t.Errorf("%d tokens are kept, want those of the second thousand and two", n)
		}
		if !r.refuses("ann", &Logon{Token: "0"}) || r.refuses("ann", &Logon{Token: "1"}) {
			t.Error("the token that was revoked again is not refused, or another is")
		}
	})
}
