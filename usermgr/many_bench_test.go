//go:build !race

package usermgr_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// BenchmarkManySessions is a user with 4,000 sessions.
func BenchmarkManySessions(b *testing.B) {
	const n = 4000
	b.Run("logon in the place of one", func(b *testing.B) {
		m := newMany(b)
		m.logOn(b, n)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			onDevice(b, m.Manager, "ann", uint16(i%n), newLink(uint64(n+i)))
		}
	})
	b.Run("closing all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			m := newMany(b)
			m.logOn(b, n)
			b.StartTimer()
			wait(b, endUser(m, "ann", protocol.KickedOut, ""))
		}
	})
}
