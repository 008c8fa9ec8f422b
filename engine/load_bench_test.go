//go:build unix

package engine_test

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// crowd lets in n clients whose kernels take little, and which read nothing.
func crowd(b *testing.B, addr string, n int) (clients []net.Conn) {
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) { setReceiveBuffer(fd, 4<<10); setSegmentSize(fd, 1400) })
	}}
	hello := frame(b, protocol.Message{Type: 1, UserID: "ann"})
	for range n {
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := nc.Write(hello); err != nil {
			b.Fatal(err)
		}
		clients = append(clients, nc)
	}
	return clients
}

// BenchmarkStalledClients is what clients cost that have stopped reading while something waits for each, in percent of a
// processor, for five seconds an operation. It needs two descriptors a client.
func BenchmarkStalledClients(b *testing.B) {
	for _, n := range []int{0, 1000, 4000} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			e := newQuiet(engine.Config{Timeouts: engine.Timeouts{Write: -1}, Limits: engine.Limits{MaxOutbound: 8 << 20}})
			r := serve(b, e)
			clients := crowd(b, r.addr, n)
			eventually(b, "everybody", func() bool { return r.Stats().Conns.Bound == n })
			if _, err := r.Broadcast(r.Conns(), &protocol.Message{Type: 1, Body: make([]byte, 200<<10)}, nil); err != nil {
				b.Fatal(err)
			}
			eventually(b, "something to wait for each", func() bool { return r.Stats().OutboundQueue >= int64(n)<<10 })
			time.Sleep(2 * time.Second) // the loops look at them seldom by now
			var used, took time.Duration
			for b.Loop() {
				began, before := time.Now(), testkit.ProcessorTime()
				time.Sleep(5 * time.Second)
				used, took = used+testkit.ProcessorTime()-before, took+time.Since(began)
			}
			b.ReportMetric(100*used.Seconds()/took.Seconds(), "%-of-a-core")
			for _, nc := range clients {
				_ = nc.Close()
			}
		})
	}
}

// BenchmarkBystander is how long a client waits for its answers at most while the server broadcasts to six thousand others, or
// closes 3,500 of them, on one event loop. It needs three descriptors a client.
func BenchmarkBystander(b *testing.B) {
	const n = 6000
	for _, what := range []string{"nothing", "broadcast", "close"} {
		b.Run(what, func(b *testing.B) {
			e := newQuiet(engine.Config{Loops: 1})
			var asked *engine.Conn
			e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
				asked = c
				echo(c, m)
				return nil
			})
			r := serve(b, e)
			asker := dial(b, r.addr)
			asker.ask(2, 1, "")
			clients := crowd(b, r.addr, n)
			eventually(b, "everybody", func() bool { return r.Stats().Conns.Bound == n+1 })
			var waits []time.Duration
			quit := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for id := uint32(1); ; id++ {
					select {
					case <-quit:
						return
					default:
					}
					began := time.Now()
					asker.send(protocol.Message{Type: 2, ID: id})
					for m := asker.read(); m.ID != id; m = asker.read() {
					}
					waits = append(waits, time.Since(began))
					time.Sleep(time.Millisecond)
				}
			})
			others := slices.DeleteFunc(slices.Collect(r.Conns()), func(c *engine.Conn) bool { return c == asked })
			for b.Loop() {
				switch what {
				case "broadcast":
					for range 10 {
						if _, err := r.Broadcast(r.Conns(), &protocol.Message{Type: 1, Body: make([]byte, 112)}, nil); err != nil {
							b.Fatal(err)
						}
						time.Sleep(200 * time.Millisecond)
					}
				case "close":
					for _, c := range others[:3500] {
						c.Close(protocol.ServerStopping)
					}
					time.Sleep(2 * time.Second)
				default:
					time.Sleep(2 * time.Second)
				}
			}
			close(quit)
			wg.Wait()
			slices.Sort(waits)
			if len(waits) == 0 {
				b.Fatal("nothing was answered")
			}
			b.ReportMetric(waits[len(waits)-1].Seconds()*1e3, "longest-ms")
			b.ReportMetric(waits[len(waits)*99/100].Seconds()*1e3, "p99-ms")
			for _, nc := range clients {
				_ = nc.Close()
			}
		})
	}
}

// BenchmarkConns is what going through the connections costs each of them.
func BenchmarkConns(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := engine.WithConns(n)
			for b.Loop() {
				got := 0
				for range e.Conns() {
					got++
				}
				if got != n {
					b.Fatal(got)
				}
			}
		})
	}
}

// BenchmarkByteAPacketOverSockets is the processor time, the system's and the client's included, for one packet of one byte, of a
// message of 1 MiB of which half has come, from twenty clients in turn.
func BenchmarkByteAPacketOverSockets(b *testing.B) {
	const size, before, clients = 1 << 20, 512 << 10, 20
	half := bytes.Repeat([]byte{'x'}, before)
	for _, tc := range []struct {
		codec protocol.Codec
		begin []byte // a first message, and half of another
	}{
		{protocol.Binary, append(frame(b, protocol.Message{Type: 1}), frame(b, protocol.Message{Type: 1, Body: make([]byte, size)})[:before]...)},
		{protocol.Line, append([]byte("ann\n"), half...)},
	} {
		b.Run(fmt.Sprintf("%T", tc.codec), func(b *testing.B) {
			e := newEngine(engine.Config{Listeners: []engine.Listener{{Codec: tc.codec}}, Loops: 1, Timeouts: engine.Timeouts{UnfinishedFrame: -1}})
			e.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
			r := serve(b, e)
			var peers []*peer
			for range clients {
				p := dial(b, r.addr)
				p.sendRaw(tc.begin)
				peers = append(peers, p)
			}
			time.Sleep(200 * time.Millisecond)
			one, n, used := []byte{'x'}, 0, testkit.ProcessorTime()
			for b.Loop() {
				for _, p := range peers {
					if _, err := p.Write(one); err != nil {
						b.Fatal(err)
					}
				}
				n += clients
				time.Sleep(200 * time.Microsecond) // two bytes must not become one packet
			}
			b.ReportMetric(float64((testkit.ProcessorTime()-used).Nanoseconds())/1e3/float64(n), "µs-of-processor/packet")
		})
	}
}
