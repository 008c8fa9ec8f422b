package engine_test

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

const benchBody = 48 // with its header a frame of 64 bytes

// BenchmarkEcho sends b.N messages over loopback and reads as many replies: on so many connections, with so many messages
// in flight on each. The load generator shares the processors.
func BenchmarkEcho(b *testing.B) {
	for _, c := range []struct{ conns, flight, workers int }{{1, 1, 0}, {1, 32, 0}, {100, 32, 0}, {100, 32, 4}} {
		b.Run(fmt.Sprintf("conns=%d/flight=%d/workers=%d", c.conns, c.flight, c.workers), func(b *testing.B) {
			r := serve(b, newEcho(engine.Config{Workers: c.workers}))
			one := frame(b, protocol.Message{Type: 1, ID: 1, Body: make([]byte, benchBody)})
			peers := make([]*peer, c.conns)
			for i := range peers {
				peers[i] = dial(b, r.addr)
				peers[i].ask(1, 1, "")
			}
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i, p := range peers {
				wg.Go(func() {
					left := b.N / len(peers)
					if i < b.N%len(peers) {
						left++
					}
					var out []byte
					for range min(c.flight, left) {
						out = append(out, one...)
					}
					in := make([]byte, len(out))
					for left > 0 {
						n := min(left, c.flight) * len(one)
						if _, err := p.Write(out[:n]); err != nil {
							b.Error(err)
							return
						}
						if _, err := io.ReadFull(p.Conn, in[:n]); err != nil {
							b.Error(err)
							return
						}
						left -= n / len(one)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			for _, p := range peers {
				_ = p.Close()
			}
		})
	}
}

// BenchmarkSend pushes b.N messages from goroutines that are no event loop's, in turn to so many connections.
func BenchmarkSend(b *testing.B) {
	for _, conns := range []int{1, 1000} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 30}})
			arrived := make(chan *engine.Conn, 1)
			e.HandleDefault(func(c *engine.Conn, _ *protocol.Message) error { arrived <- c; return nil })
			r := serve(b, e)
			all := make([]*engine.Conn, conns)
			peers := make([]*peer, conns)
			for i := range all {
				peers[i] = dial(b, r.addr)
				peers[i].send(protocol.Message{Type: 1})
				all[i] = receive(b, "a connection", arrived)
			}
			body := make([]byte, benchBody)
			b.SetBytes(layout.HeaderLen + benchBody)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i, p := range peers {
				wg.Go(func() {
					n := b.N / conns
					if i < b.N%conns {
						n++
					}
					if _, err := io.CopyN(io.Discard, p.Conn, int64(n)*(layout.HeaderLen+benchBody)); err != nil {
						b.Error(err)
					}
				})
			}
			for n := range b.N {
				if err := all[n%conns].Send(1, body); err != nil {
					b.Fatal(err)
				}
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			for _, p := range peers {
				_ = p.Close()
			}
		})
	}
}
