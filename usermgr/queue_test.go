package usermgr

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The queue is a slice, whatever is done to it.
func TestQueueAgainstASlice(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var q queue
	var want []*task
	for range 20_000 {
		switch r.IntN(5) {
		case 0, 1:
			added := new(task)
			q.add(added)
			want = append(want, added)
		case 2, 3:
			var first *task
			if len(want) > 0 {
				first, want = want[0], want[1:]
			}
			if got := q.take(); got != first {
				t.Fatalf("took %p, want %p", got, first)
			}
		default:
			if q.remove(new(task)) {
				t.Fatal("removed what was not there")
			}
			if len(want) > 0 {
				i := r.IntN(len(want))
				if !q.remove(want[i]) || want[i].next != nil || want[i].prev != nil {
					t.Fatal("what is there cannot be removed")
				}
				want = slices.Delete(want, i, i+1)
			}
		}
		if q.empty() != (len(want) == 0) {
			t.Fatalf("empty is %v with %d in it", q.empty(), len(want))
		}
	}
}

// A million leave, the last first: a queue that is walked through for each would need half a million million steps, and not come
// to an end.
func TestLeavingAQueueTakesNoLongerForALongOne(t *testing.T) {
	var q queue
	all := make([]task, 1_000_000)
	for i := range all {
		q.add(&all[i])
	}
	for i := range all {
		if !q.remove(&all[len(all)-1-i]) {
			t.Fatal("it was not there")
		}
	}
	if !q.empty() {
		t.Error("the queue is not empty")
	}
}

// BenchmarkLeavingAQueue is 20,000 logons that come and leave, the last first.
func BenchmarkLeavingAQueue(b *testing.B) {
	all := make([]task, 20_000)
	for b.Loop() {
		var q queue
		for i := range all {
			q.add(&all[i])
		}
		for i := range all {
			q.remove(&all[len(all)-1-i])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/task")
}
