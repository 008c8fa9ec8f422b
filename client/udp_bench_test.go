package client_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/lossy"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// BenchmarkLogonsWithLoss measures how long a logon over UDP takes where a fifth of all datagrams is lost, either way. 100 clients log on
// at a time. An operation is a client that logs on and leaves; the figures are of the logon alone.
func BenchmarkLogonsWithLoss(b *testing.B) {
	const atATime = 100
	srv := rollcalltest.NewServer(b, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{{Network: "udp", Cleartext: true}}}}, nil)
	network := lossy.Network{Lose: 0.2, Seed: 1}
	took := make([]time.Duration, b.N)
	var next, dials atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for range atATime {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				began := time.Now()
				c, err := client.Dial(context.Background(), "udp://"+srv.Addr, client.Config{UserID: fmt.Sprint("user", i),
					Timeouts: client.Timeouts{Dial: time.Minute},
					DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
						return network.Dial(ctx, addr, uint64(dials.Add(1)))
					}})
				took[i] = time.Since(began)
				if err != nil {
					b.Error(err)
					continue
				}
				_ = c.Close()
			}
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	late, _ := slices.BinarySearch(took, 3*time.Second)
	b.ReportMetric(100*float64(late)/float64(b.N), "%-within-3s")
	b.ReportMetric(took[b.N/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[b.N*99/100].Seconds()*1e3, "p99-ms")
	b.ReportMetric(took[b.N-1].Seconds()*1e3, "longest-ms")
	b.ReportMetric(0, "ns/op")
}
