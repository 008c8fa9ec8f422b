package bridge

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// newTestRelogons returns relogons whose clock the test turns.
func newTestRelogons(burst int) (*relogons, *int64) {
	r, now := new(relogons), new(int64)
	r.init(&Config{RelogonBurst: burst, LogonDeadline: 10 * time.Second})
	r.now = func() int64 { return *now }
	return r, now
}

// Rule 13: a burst is free, then the wait doubles up to a bound, whatever comes in between, and nothing of it outlasts the calm.
func TestWaitsOfAUserWhoseLogonsGetInEachOthersWay(t *testing.T) {
	r, now := newTestRelogons(0)
	for i := range defaultRelogonBurst {
		if r.happened("ann") || r.next("ann") != 0 {
			t.Fatalf("slowed down by relogon %d", i)
		}
	}
	want := minRelogonWait
	for i := range 20 {
		if begins := r.happened("ann"); begins != (i == 0) {
			t.Errorf("relogon %d of those that count begins it: %v", i, begins)
		}
		if wait := r.next("ann"); wait != want {
			t.Fatalf("after %d the wait is %v, want %v", i, wait, want)
		}
		if wait := r.next("bob"); wait != 0 {
			t.Errorf("another user waits %v", wait)
		}
		*now += int64(want)
		if wait, second := r.next("ann"), r.next("ann"); wait != 0 || second != want {
			t.Fatalf("after %d, when the time has come, two logons wait %v and %v", i, wait, second)
		}
		want = min(2*want, maxRelogonWait)
	}
	*now += int64(relogonCalm) - 1 - int64(want)
	r.happened("bob")
	if wait := r.next("ann"); wait != 0 || len(r.users) != 2 {
		t.Errorf("just before the calm: a wait of %v, %d users", wait, len(r.users))
	}
	if wait := r.next("ann"); wait != maxRelogonWait {
		t.Errorf("just before the calm: a second wait of %v", wait)
	}
	*now++
	if wait := r.next("ann"); wait != 0 {
		t.Errorf("calm: a wait of %v", wait)
	}
	for range defaultRelogonBurst {
		if r.happened("ann") || r.next("ann") != 0 {
			t.Fatal("what was before the calm counts")
		}
	}
}

// Rule 13: one relogon a second goes on for ever.
func TestWhoIsSlowIsNotSlowedDown(t *testing.T) {
	r, now := newTestRelogons(0)
	for i := range 1000 {
		if r.happened("ann") || r.next("ann") != 0 {
			t.Fatalf("slowed down by relogon %d", i)
		}
		*now += int64(relogonCalm / defaultRelogonBurst)
	}
}

func TestRelogonsWithoutALimit(t *testing.T) {
	r, _ := newTestRelogons(-1)
	for range 1000 {
		if r.happened("ann") || r.next("ann") != 0 || len(r.users) != 0 {
			t.Fatal("slowed down, or remembered")
		}
	}
}

// Who has been calm is forgotten, in time and by number, and the timer ends.
func TestRelogonsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(relogons)
		r.init(&Config{LogonDeadline: 10 * time.Second})
		for i := range maxRelogons + 100 {
			r.happened(fmt.Sprint(i))
		}
		if len(r.users) != maxRelogons || r.order.Len() != maxRelogons || r.users["99"] != nil || r.users["100"] == nil {
			t.Errorf("%d users are remembered, in the order %d", len(r.users), r.order.Len())
		}
		time.Sleep(relogonCalm / 2)
		r.happened("200")
		time.Sleep(relogonCalm / 2)
		synctest.Wait()
		r.mu.Lock()
		if len(r.users) != 1 || r.timer == nil {
			t.Errorf("%d users are remembered", len(r.users))
		}
		r.mu.Unlock()
		time.Sleep(relogonCalm)
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.users != nil || r.order.Len() != 0 || r.timer != nil {
			t.Errorf("%d users are remembered", len(r.users))
		}
	})
}
