package wheel

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStoppedWatchIsNeverReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(time.Second, 2*time.Second)
		defer w.Close()
		watch := w.Watch(func() { t.Error("reported") })
		time.Sleep(2 * time.Second)
		watch.Stop()
		watch.Stop()
		watch.Beat()
		time.Sleep(time.Minute)
		if watch.Silent() {
			t.Error("silent after Stop")
		}
		if n := linked(w); n != 0 {
			t.Errorf("the wheel holds %d watches", n)
		}
	})
}

func TestStopInsideSilentEndsTheReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(time.Second, 2*time.Second)
		defer w.Close()
		var watch Watch
		assigned := make(chan struct{})
		reports := 0
		watch = w.Watch(func() {
			<-assigned
			reports++
			watch.Stop()
			if watch.Silent() {
				t.Error("silent after Stop")
			}
		})
		close(assigned)
		time.Sleep(time.Minute)
		synctest.Wait()
		if reports != 1 {
			t.Errorf("%d reports", reports)
		}
	})
}

func TestSilentMayUseTheWheel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(time.Second, 2*time.Second)
		defer w.Close()
		done := make(chan struct{}, 100)
		watch := w.Watch(func() {
			other := w.Watch(nothing)
			other.Beat()
			other.Stop()
			done <- struct{}{}
		})
		<-done
		watch.Stop()
	})
}

// Both are found in one look at the wheel; what happens to the second while the first is reported still counts.
func TestAWatchIsLookedAtAgainRightBeforeItsReport(t *testing.T) {
	for name, act := range map[string]func(Watch){"stopped": Watch.Stop, "heard": Watch.Beat} {
		t.Run(name, func(t *testing.T) {
			w := newWheel(time.Second, time.Second)
			var watches [2]Watch
			reports := 0
			for i := range watches {
				watches[i] = w.Watch(func() {
					reports++
					act(watches[1-i])
				})
			}
			for reports == 0 {
				turn(w, w.tick)
			}
			if reports != 1 {
				t.Errorf("%d reports", reports)
			}
		})
	}
}

func TestCloseWaitsForTheReportThatIsRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(time.Second, time.Second)
		running, release := make(chan struct{}), make(chan struct{})
		reports := 0
		report := func() {
			reports++
			close(running)
			<-release
		}
		watches := []Watch{w.Watch(report), w.Watch(report)} // the second is due in the same look, and not reported
		<-running
		var closed atomic.Int32
		for range 2 {
			go func() {
				w.Close()
				closed.Add(1)
			}()
		}
		synctest.Wait()
		if closed.Load() != 0 {
			t.Error("Close returned while silent was running")
		}
		close(release)
		synctest.Wait()
		if closed.Load() != 2 {
			t.Error("Close did not return")
		}
		time.Sleep(time.Minute)
		if reports != 1 {
			t.Errorf("%d reports", reports)
		}
		for _, watch := range watches {
			if watch.Silent() {
				t.Error("silent after Close")
			}
			watch.Beat()
			watch.Stop()
		}
	})
}

func TestAfterCloseNobodyIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(time.Second, time.Second)
		before := w.Watch(func() { t.Error("reported") })
		w.Close()
		after := w.Watch(func() { t.Error("reported") })
		time.Sleep(time.Minute)
		after.Beat()
		if before.Silent() || after.Silent() {
			t.Error("silent")
		}
		after.Stop()
		before.Stop()
		w.Close()
	})
}

// For the race detector: everything at once, and then the wheel is empty.
func TestEverythingFromManyGoroutines(t *testing.T) {
	w := New(5*time.Millisecond, time.Microsecond)
	var reports atomic.Int64
	var users sync.WaitGroup
	shared := w.Watch(func() {})
	for range 8 {
		users.Go(func() {
			for reports.Load() < 200 {
				var watches [10]Watch
				for i := range watches {
					var self atomic.Pointer[Watch]
					watches[i] = w.Watch(func() {
						reports.Add(1)
						if self := self.Load(); self != nil && i%2 == 0 {
							(*self).Stop()
						}
					})
					self.Store(&watches[i])
				}
				for reported := reports.Load(); reports.Load() < reported+5; {
					for _, watch := range watches {
						shared.Beat()
						watch.Silent()
					}
					watches[9].Beat()
				}
				for _, watch := range watches {
					watch.Stop()
				}
			}
		})
	}
	users.Wait()
	shared.Stop()
	if n := linked(w); n != 0 {
		t.Errorf("the wheel holds %d watches", n)
	}
	w.Close()
}

// Of two beats at once the later one counts, whichever writes last.
func TestAStampNeverGoesBack(t *testing.T) {
	w := newWheel(time.Second, time.Second)
	e := w.Watch(func() {}).(*watch)
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 2000 {
				before := e.mark.seen.Load()
				e.Beat()
				if after := e.mark.seen.Load(); after < before {
					t.Errorf("from %d to %d", before, after)
				}
			}
		})
	}
	for range 2000 {
		w.advance(w.tick)
	}
	users.Wait()
}
