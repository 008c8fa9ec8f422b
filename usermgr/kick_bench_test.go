//go:build !race

package usermgr_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/usermgr"
)

// BenchmarkKick kicks 10,000 users, and waits for their ends.
func BenchmarkKick(b *testing.B) {
	const users = 10_000
	m := newManager(b, usermgr.Config{})
	for b.Loop() {
		b.StopTimer()
		for i := range users {
			logOn(b, m, fmt.Sprint(i), newLink(uint64(i)))
		}
		b.StartTimer()
		kicks := make([]usermgr.Wait, users)
		for i := range kicks {
			k, err := m.Kick(fmt.Sprint(i), &usermgr.KickOptions{Text: "bye"})
			if err != nil {
				b.Fatal(err)
			}
			kicks[i] = k
		}
		for _, k := range kicks {
			if kicked, err := k(context.Background()); err != nil || len(kicked) != 1 {
				b.Fatal(kicked, err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/users, "ns/user")
}
