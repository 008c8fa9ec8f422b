package clock

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Rule 25: a deadline passes by the clock, not before, and not because of a gap.
func TestAQueueCallsInOrderWhenTheTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(tick)
		type call struct {
			thing int
			at    int64
		}
		calls := make(chan call, 100)
		var q Queue[int]
		q.Init(c, time.Second, func(thing int) { calls <- call{thing, c.Now()} })
		run := func(d time.Duration) {
			for range d / tick {
				time.Sleep(tick)
				c.Tick()
			}
		}
		numbers := make(map[int]uint32)
		began := make(map[int]int64)
		for thing := range 4 {
			numbers[thing], began[thing] = q.Add(thing), c.Now()
			run(tick)
		}
		if !q.Remove(numbers[1]) || q.Remove(numbers[1]) {
			t.Error("taking out a thing is in time once")
		}
		time.Sleep(time.Hour) // a gap
		run(5 * time.Second)
		for _, thing := range []int{0, 2, 3} {
			select {
			case got := <-calls:
				if took := time.Duration(got.at - began[thing]); got.thing != thing || took < time.Second || took > time.Second+4*tick {
					t.Errorf("%d was called after %v where %d was due", got.thing, took, thing)
				}
			default:
				t.Fatalf("%d was not called", thing)
			}
			if q.Remove(numbers[thing]) {
				t.Errorf("%d was taken out after its call", thing)
			}
		}
		if len(calls) > 0 {
			t.Error("called again, or for what was taken out")
		}
		q.Add(7)
		run(5 * time.Second)
		if got := <-calls; got.thing != 7 {
			t.Errorf("%d was called", got.thing)
		}
	})
}

// The numbers of a queue wrap around, and leave out 0.
func TestAQueueHoldsWhatASliceWould(t *testing.T) {
	var q Queue[*int]
	q.Init(New(tick), time.Hour, func(*int) { t.Error("called") })
	q.first, q.next = ^uint32(0)-300, ^uint32(0)-300
	rnd := rand.New(rand.NewPCG(1, 1))
	var held []uint32
	for range 2000 {
		if rnd.IntN(2) == 0 {
			n := q.Add(new(int))
			if n == 0 || slices.Contains(held, n) {
				t.Fatalf("%d is no number for another", n)
			}
			held = append(held, n)
		} else if len(held) > 0 {
			i := rnd.IntN(len(held))
			if !q.Remove(held[i]) {
				t.Fatalf("%d is not there", held[i])
			}
			held = slices.Delete(held, i, i+1)
		}
	}
	things := 0
	for n := q.first; n != q.next; n++ {
		if q.at(n).thing != nil {
			things++
		}
	}
	if things != len(held) {
		t.Errorf("%d things are held, of %d", things, len(held))
	}
	q.timer.Stop()
}

func TestAQueueAllocatesNothing(t *testing.T) {
	var q Queue[*int]
	q.Init(New(tick), time.Hour, func(*int) {})
	thing := new(int)
	if n := testing.AllocsPerRun(1000, func() { q.Remove(q.Add(thing)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	q.timer.Stop()
}

// Numbers begin anew after 4 billion things: 0 is left out, and nothing is called for it.
func TestAQueueWhoseNumbersBeginAnew(t *testing.T) {
	for before := range uint32(3) {
		synctest.Test(t, func(t *testing.T) {
			c := New(tick)
			var q Queue[int]
			calls := make(chan int, 10)
			q.Init(c, time.Second, func(thing int) { calls <- thing })
			q.first, q.next = -before, -before
			for thing := range 3 {
				if n := q.Add(7 + thing); n == 0 {
					t.Error("a thing has the number 0")
				}
			}
			for range 3 * time.Second / tick {
				time.Sleep(tick)
				c.Tick()
			}
			for thing := range 3 {
				if got := <-calls; got != 7+thing {
					t.Errorf("%d was called where %d was due", got, 7+thing)
				}
			}
			if len(calls) > 0 {
				t.Errorf("%d was called besides", <-calls)
			}
		})
	}
}
