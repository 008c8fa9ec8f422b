package usermgr

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func nth(i int) digest { return digestOf("ann", fmt.Sprint(i)) }

// H3, rule 10: what is refused no more is forgotten, also when nothing else comes, and its memory is given back.
func TestRefusalsAreForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		const all, live = 640, 64
		for i := range all {
			r.add(untilAfter(live*time.Second), nth(i))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		r.mu.Lock()
		if n := max(len(r.all), len(r.ends), int(r.count.Load())); n > live {
			t.Errorf("%d are kept, of which %d count", n, live)
		}
		r.mu.Unlock()
		for i, want := range map[int]bool{all - 1: true, all - live + 1: true, all - live: false, 0: false} {
			if got := r.has(nth(i)); got != want {
				t.Errorf("%d is refused: %v, want %v", i, got, want)
			}
		}
		time.Sleep(live * time.Second)
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.any() || r.all != nil || r.ends != nil || r.timer != nil {
			t.Errorf("%d are kept when all are over", len(r.all))
		}
	})
}

// H2, rule 10: of several times the longest counts, one more of the same takes no more room, and one can be lifted.
func TestTheLongestRefusalCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		for _, d := range []time.Duration{time.Second, time.Hour, time.Minute} {
			r.add(untilAfter(d), nth(1))
		}
		if len(r.ends) != 1 {
			t.Errorf("one is kept %d times", len(r.ends))
		}
		time.Sleep(time.Hour - 1)
		if !r.has(nth(1)) {
			t.Error("it was let in before its time")
		}
		time.Sleep(time.Nanosecond)
		if r.has(nth(1)) {
			t.Error("it is refused after its time")
		}
		r.add(untilAfter(math.MaxInt64), nth(2), nth(3))
		time.Sleep(1000 * time.Hour)
		if !r.has(nth(2)) {
			t.Error("what is refused for ever was let in")
		}
		if !r.lift(nth(2)) || r.lift(nth(2)) || r.has(nth(2)) || !r.has(nth(3)) {
			t.Error("one was lifted, and is still refused, or another is not")
		}
		r.close()
	})
}

// The number of refusals is bounded: over it the one goes whose time is over first.
func TestRefusalsAreBounded(t *testing.T) {
	r := refusals{limit: 10}
	defer r.close()
	for i := range 100 {
		r.add(untilAfter(time.Hour+time.Duration((i*37)%100)*time.Minute), nth(i))
	}
	if len(r.all) != 10 || len(r.ends) != 10 {
		t.Errorf("%d are kept, in %d entries", len(r.all), len(r.ends))
	}
	for i := range 100 {
		if longest := (i*37)%100 >= 90; longest && !r.has(nth(i)) {
			t.Errorf("%d, which is one of those with the longest time, is not refused", i)
		}
	}
}
