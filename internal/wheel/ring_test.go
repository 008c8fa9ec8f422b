package wheel

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// thing has its watch inside.
type thing struct {
	mark Mark[thing]
}

func newRing(w *Wheel, silent func(*thing)) *Ring[thing] {
	return NewRing(w, func(e *thing) *Mark[thing] { return &e.mark }, silent)
}

// Rule 8, for what a Ring watches: the wheel's own watches go on beside it.
func TestARingReportsItsThingsWithinTheBoundsOfTheWheel(t *testing.T) {
	for _, b := range bounds {
		synctest.Test(t, func(t *testing.T) {
			w := New(b.interval, b.timeout)
			defer w.Close()
			time.Sleep(time.Minute + b.timeout/3) // a ring may be made at any time
			reported := make(chan *thing, 1)
			r := newRing(w, func(e *thing) {
				select {
				case reported <- e:
				default:
				}
			})
			quiet, stopped := new(thing), new(thing)
			r.Watch(stopped)
			r.Stop(stopped)
			r.Stop(stopped)
			r.Beat(&stopped.mark)
			other := w.Watch(nothing)
			r.Watch(quiet)
			for range 3 {
				time.Sleep(b.timeout - 1)
				r.Beat(&quiet.mark)
			}
			last := time.Now()
			if e := <-reported; e != quiet {
				t.Fatal("another was reported")
			}
			if silence := time.Since(last); silence < b.timeout || silence > b.timeout+b.interval {
				t.Errorf("reported after %v of %v", silence, b.timeout)
			}
			if !r.Silent(quiet) || !other.Silent() || r.Silent(stopped) {
				t.Error("Silent disagrees with the report")
			}
			r.Stop(quiet)
		})
	}
}

func TestARingOfAWheelThatWatchesNobodyReportsNobody(t *testing.T) {
	r := newRing(New(0, -1), func(*thing) { t.Error("reported") })
	e := new(thing)
	r.Watch(e)
	r.Beat(&e.mark)
	if r.Silent(e) {
		t.Error("silent")
	}
	r.Stop(e)
}

func TestAMarkTakes24BytesAndItsWatchAllocatesNothing(t *testing.T) {
	if size := unsafe.Sizeof(Mark[thing]{}); size > 24 {
		t.Errorf("%d bytes", size)
	}
	w := newWheel(time.Second, time.Second)
	r, e := newRing(w, func(*thing) {}), new(thing)
	if n := testing.AllocsPerRun(100, func() { r.Watch(e); r.Beat(&e.mark); r.Stop(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
