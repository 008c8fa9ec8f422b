package usermgr

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// When the system's clock is set, or has gone on while the system was suspended, what was a minute ago still was.
func TestClockFollowsTheSystems(t *testing.T) {
	began := time.Now()
	for _, step := range []time.Duration{0, time.Hour, -time.Hour} {
		var c coarseClock
		c.wall.Store(began.UnixNano())
		c.look(10*time.Second, began.Add(10*time.Second).UnixNano())
		heard := c.now()
		c.look(70*time.Second, began.Add(70*time.Second+step).UnixNano())
		if got, want := c.time(heard), began.Add(10*time.Second+step); !got.Equal(want) {
			t.Errorf("set by %v: the tick was at %v, want %v", step, got, want)
		}
	}
}

// H1: IdleFor is held against LastMessage by one clock, whatever the system's shows by now.
func TestIdleForAfterTheSystemsClockWasSet(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := testkit.Must(New(Config{}))
			defer func() { _ = m.Close(t.Context()) }()
			if _, err := m.Register(t.Context(), Logon{UserID: "ann"}, nowhere{}); err != nil {
				t.Fatal(err)
			}
			m.clock.wall.Add(int64(step))
			idle := func() (n int) {
				for range m.Sessions(Filter{IdleFor: time.Minute}) {
					n++
				}
				return n
			}
			if n := idle(); n != 0 {
				t.Errorf("set by %v: a session that has just begun is idle", step)
			}
			// No sleep: the clock would see that the bubble's was not set at all.
			m.clock.began = m.clock.began.Add(-time.Minute)
			if n := idle(); n != 1 {
				t.Errorf("set by %v: a session is not idle after a minute", step)
			}
		})
	}
}
