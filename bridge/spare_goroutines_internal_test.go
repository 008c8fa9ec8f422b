package bridge

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A logon takes a goroutine that waits, if one does. A logon may block: it never waits for another one's goroutine. Goroutines that
// wait for a logon are few; they end when no logon comes, and with the bridge.
func TestALogonNeverWaitsForAnothersGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpareGoroutines(func(f func()) { f() })
		wait := func(when string, want int32) {
			t.Helper()
			synctest.Wait()
			if n := s.waiting.Load(); n != want {
				t.Errorf("%s %d goroutines wait, want %d", when, n, want)
			}
		}
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
			wait("when all logons are done", mostSpare)
		}
		block := make(chan struct{})
		for n := range int32(mostSpare) {
			s.run(func() { <-block })
			wait("while logons are at work", mostSpare-n-1)
		}
		time.Sleep(3 * spareTime)
		close(block)
		wait("when they are done", mostSpare)
		for range 5 {
			time.Sleep(spareTime * 3 / 4)
			s.run(func() {})
			wait("while a logon comes now and then", mostSpare)
		}
		time.Sleep(2 * spareTime)
		wait("when no logon has come", 0)
		s.run(func() {})
		wait("after another logon", 1)
		s.end()
		s.end()
		wait("at the end", 0)
		ran := make(chan struct{})
		s.run(func() { close(ran) })
		<-ran
		wait("after the end", 0)
	})
}
