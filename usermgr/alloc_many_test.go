//go:build !race

package usermgr_test

import (
	"runtime"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// garbage returns how many bytes f allocates, on all goroutines.
func garbage(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc - before.TotalAlloc)
}

// What a user with many sessions costs grows with their number, not with its square: twice the sessions, twice the work.
func TestAllocationsOfManySessionsGrowWithTheirNumber(t *testing.T) {
	const n, most = 2000, 2.2
	for name, work := range map[string]func(m *many, n int) float64{
		"a hundred logons": func(m *many, n int) float64 {
			m.logOn(t, n)
			return garbage(func() { m.logOn(t, n+100) })
		},
		"all logons": func(m *many, n int) float64 { return garbage(func() { m.logOn(t, n) }) },
		"links after each change": func(m *many, n int) float64 {
			m.logOn(t, n)
			return garbage(func() {
				m.Links("ann")
				m.logOn(t, n+1)
				m.Links("ann")
			})
		},
		"closing": func(m *many, n int) float64 {
			m.logOn(t, n)
			return garbage(func() { wait(t, endUser(m, "ann", protocol.KickedOut, "")) })
		},
		"closing one by one, the youngest first": func(m *many, n int) float64 {
			m.logOn(t, n)
			return garbage(func() {
				for _, s := range slices.Backward(m.sessions) {
					wait(t, endSession(m, s.ID(), protocol.KickedOut, ""))
				}
			})
		},
		"a logon on the device of each": func(m *many, n int) float64 {
			m.logOn(t, n)
			return garbage(func() {
				m.sessions = nil
				m.logOn(t, n)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			once, twice := work(newMany(t), n), work(newMany(t), 2*n)
			t.Logf("%d sessions: %.0f bytes; twice as many: %.2f times as much", n, once, twice/once)
			if twice > most*once {
				t.Errorf("twice the sessions cost %.2f times as much: %.0f and %.0f bytes", twice/once, once, twice)
			}
		})
	}
}
