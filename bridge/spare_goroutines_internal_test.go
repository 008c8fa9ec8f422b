package bridge

import (
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// A logon may block: it never waits for another one's goroutine. Goroutines that wait for a logon are few, and end with the bridge.
func TestALogonNeverWaitsForAnothersGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := newSpareGoroutines(func(f func()) { f() })
	const many = 3 * mostSpare
	for range 3 {
		var all sync.WaitGroup
		all.Add(many)
		for range many {
			s.run(func() {
				all.Done()
				all.Wait() // for all the others
			})
		}
		all.Wait()
		testkit.Eventually(t, "as many goroutines wait as may", func() bool { return s.waiting.Load() == mostSpare })
	}
	testkit.Eventually(t, "those that wait end when no logon comes", func() bool { return s.waiting.Load() == 0 })
	again := make(chan struct{})
	s.run(func() { close(again) })
	<-again
	testkit.Eventually(t, "one goroutine waits", func() bool { return s.waiting.Load() == 1 })
	s.end()
	s.end()
	ran := make(chan struct{})
	s.run(func() { close(ran) })
	<-ran
}
