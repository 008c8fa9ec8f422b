package engine

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// BenchmarkReadBesideArrivals is what a read of one message costs while another processor takes in connections and lets them go: those
// of its own engine, in parts of what it costs beside those of another engine. Nothing that is written for them lies beside what is
// read for a message, so that this is 1. Windows of 500 reads alternate, and of those in which the other processor took in a
// connection every 250 ns the lower quartile counts, so that the machine's other work does not.
func BenchmarkReadBesideArrivals(b *testing.B) {
	e, another := testkit.Must(New(Config{})), testkit.Must(New(Config{}))
	e.HandleDefault(func(c *Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	gc := &memoryConn{}
	gc.in, _ = protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: 1, Body: make([]byte, 48)})
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: &loop{engine: e}, userID: "alice", binding: &memoryBinding{}, userBound: true}
	c.state.Store(stateBound)

	var shared struct {
		_     cacheLine
		busy  atomic.Pointer[loop]
		stop  atomic.Bool
		_     cacheLine
		taken atomic.Int64
		_     cacheLine
	}
	loops := [2]*loop{{engine: another}, {engine: e}}
	shared.busy.Store(loops[0])
	var arrivals sync.WaitGroup
	arrivals.Go(func() {
		for !shared.stop.Load() {
			takeIn(shared.busy.Load())
			shared.taken.Add(1)
		}
	})
	const reads = 500
	var took [2][]float64
	for i := 0; b.Loop(); i++ {
		shared.busy.Store(loops[i%2])
		before, began := shared.taken.Load(), time.Now()
		for range reads {
			c.loop.read(c)
		}
		d := time.Since(began)
		if n := shared.taken.Load() - before; time.Duration(n)*250 >= d {
			took[i%2] = append(took[i%2], float64(d)/reads)
		}
	}
	shared.stop.Store(true)
	arrivals.Wait()
	if len(took[0]) < 100 || len(took[1]) < 100 {
		b.Logf("of %d windows %d and %d had arrivals: too few to tell", b.N, len(took[0]), len(took[1]))
		return
	}
	for i := range took {
		slices.Sort(took[i])
	}
	others, own := took[0][len(took[0])/4], took[1][len(took[1])/4]
	b.ReportMetric(own, "ns/read")
	b.ReportMetric(own/others, "of-another-engine's")
	b.ReportMetric(float64(min(len(took[0]), len(took[1]))), "windows")
}

// takeIn does for a connection what the engine does when it comes and goes, apart from its socket.
func takeIn(l *loop) {
	e := l.engine
	e.accepted.Add(1)
	if !e.conns.takePlace(1 << 30) {
		return
	}
	c := &Conn{setup: e.newSetup(nil), loop: l, id: lastConnID.Add(1)}
	e.opened.Add(1)
	e.states[stateAccepted].Add(1)
	e.conns.add(c)
	c.setState(stateEnded)
	e.conns.remove(c)
	e.conns.open.Add(-1)
}
