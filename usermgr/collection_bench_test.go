//go:build unix && !race

package usermgr_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// BenchmarkCollection is a collection of garbage beside a million users: the processor time that it takes, and the objects
// that it finds, in all and in the user manager. The links are a program's own, or such as a bridge's.
func BenchmarkCollection(b *testing.B) {
	const users = 1_000_000
	for _, c := range []struct {
		name string
		link func(i uint64) usermgr.Link
	}{
		{"a bridge's links", func(i uint64) usermgr.Link { return numberedLink(i) }},
		{"a program's links", func(i uint64) usermgr.Link { return bareLink(i) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			ids, links := make([]string, users), make([]usermgr.Link, users)
			for i := range ids {
				ids[i], links[i] = fmt.Sprintf("user%08d", i), c.link(uint64(i))
			}
			before := testkit.Heap().HeapObjects
			m := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1, ClosedHistory: -1}))
			for i, id := range ids {
				if _, err := m.Register(b.Context(), usermgr.Logon{UserID: id}, links[i]); err != nil {
					b.Fatal(err)
				}
			}
			own := testkit.Heap().HeapObjects - before
			spent := testkit.ProcessorTime()
			for b.Loop() {
				runtime.GC()
			}
			b.ReportMetric((testkit.ProcessorTime()-spent).Seconds()/float64(b.N), "cpu-s/cycle")
			b.ReportMetric(float64(own)/users, "objects/user")
			b.StopTimer()
			if err := m.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
			runtime.KeepAlive(ids)
		})
	}
}

// numberedLink is a bareLink that is called as a bridge's is.
type numberedLink uint64

func (numberedLink) TrustedLink() bool          { return true }
func (l numberedLink) Address() usermgr.Address { return bareLink(l).Address() }
func (l numberedLink) Quiesce(done func())      { done() }

func (numberedLink) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}
