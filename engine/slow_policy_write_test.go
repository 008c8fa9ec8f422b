package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Timeouts.Write: a client that takes nothing is a SlowConsumer; one that reads what its receive buffer holds within the time is not
// (here 64 KiB, as Linux doubles what is asked for, and three times that), nor one for which nothing waits. So it is over each transport.
func TestWriteTimeoutClosesWhoTakesNothing(t *testing.T) {
	t.Parallel()                    // it mostly waits
	const timeout = 4 * time.Second // filling the buffers may take a second
	all := transports(t)
	e := newQuiet(onAll(t, all, engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 20},
		Timeouts: engine.Timeouts{Write: timeout, Close: 200 * time.Millisecond}}))
	g := newGate(t, e)
	r := serve(t, e)
	enter := func(w way) (*peer, *binding) {
		p, b := g.enterOn(t, w.dialSlow(t))
		b.awaitAdmission(t)
		return p, b
	}
	var frozen, slow, idle []*binding
	var idlers []*peer
	var readers sync.WaitGroup
	for _, w := range waysTo(r.Engine, all) {
		p, i := enter(w)
		_, f := enter(w)
		reader, s := enter(w)
		idlers, idle, frozen, slow = append(idlers, p), append(idle, i), append(frozen, f), append(slow, s)
		readers.Go(func() {
			buf := make([]byte, 2<<10)
			for began := time.Now(); time.Since(began) < 3*timeout; time.Sleep(10 * time.Millisecond) { // it reads slowly
				if _, err := reader.Read(buf); err != nil {
					t.Errorf("%s: the slow client's connection: %v", w.name, err)
					return
				}
			}
		})
		for _, c := range []*engine.Conn{f.conn, s.conn} {
			for n := range slowBuffers / chunk {
				if err := c.SendMessage(numbered(n), &engine.SendOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	readers.Wait()
	for i, tr := range all {
		frozen[i].wantEnd(t, protocol.SlowConsumer)
		for name, c := range map[string]*engine.Conn{"slow": slow[i].conn, "idle": idle[i].conn} {
			if c.Context().Err() != nil {
				t.Errorf("%s: the %s connection was closed", tr.name, name)
			}
		}
		_ = idle[i].conn.SendMessage(numbered(1), &engine.SendOptions{})
		idlers[i].readUntil(1)
	}
}

// With SlowDropNewest a client that takes nothing for Timeouts.Write stays, and what is sent to it is dropped even where there
// is room; when it takes something again, what is sent reaches it.
func TestWriteTimeoutDropsWithSlowDropNewest(t *testing.T) {
	eachLayer(t, writeTimeoutDropsWithSlowDropNewest)
}

func writeTimeoutDropsWithSlowDropNewest(t *testing.T) {
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 20}, Timeouts: engine.Timeouts{Write: 200 * time.Millisecond}, SlowPolicy: engine.SlowDropNewest})
	g := newGate(t, e)
	r := serve(t, e)
	p, b := g.enterSlow(t, r.addr)
	last := -1
	send := func() error {
		err := b.conn.SendMessage(numbered(last+1), &engine.SendOptions{})
		if err == nil {
			last++
		}
		return err
	}
	for last < 2*slowBuffers/chunk && send() == nil { // far from the limit
	}
	eventually(t, "a drop", func() bool { return errors.Is(send(), engine.ErrDropped) })
	p.readUntil(last)
	eventually(t, "an end of the drops", func() bool { return send() == nil })
	p.readUntil(last)
}

// Rule 15: frozen clients neither hold a broadcast up nor lose the connection under a policy that drops, and each client's
// messages come in order.
func TestABroadcastPassesFrozenClients(t *testing.T) {
	eachTransportThat(t, func(tr *transport) bool { return tr.secure == nil && !tr.piped }, aBroadcastPassesFrozenClients)
}

func aBroadcastPassesFrozenClients(t *testing.T) {
	const n = 2 * slowBuffers / chunk
	for name, policy := range map[string]engine.SlowPolicy{
		"newest": engine.SlowDropNewest, "oldest": engine.SlowDropOldest, "latest": engine.SlowLatest} {
		t.Run(name, func(t *testing.T) {
			e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 128 << 10}})
			g := newGate(t, e)
			r := serve(t, e)
			var peers []*peer
			var bindings []*binding
			for range 4 {
				p, b := g.enterSlow(t, r.addr)
				peers, bindings = append(peers, p), append(bindings, b)
			}
			var all []*engine.Conn
			for _, b := range bindings {
				all = append(all, b.conn)
			}
			missed := map[*engine.Conn]int{}
			for i := range n {
				sent, err := e.Broadcast(slices.Values(all), numbered(i), &engine.SendOptions{Policy: policy, Report: func(c *engine.Conn, _ error) { missed[c]++ }})
				if err != nil || sent > len(all) {
					t.Fatal(sent, err)
				}
			}
			const end = 1 << 20
			var dropped, came []int
			for i, p := range peers {
				if bindings[i].conn.Context().Err() != nil {
					t.Fatal("a frozen client was closed")
				}
				ended := make(chan []int)
				go func() {
					var got []int
					for len(got) == 0 || got[len(got)-1] != end {
						m, err := p.next()
						if err != nil {
							t.Errorf("after %d messages: %v", len(got), err)
							break
						}
						got = append(got, numberOf(m))
					}
					ended <- got
				}()
				tries := 0
				eventually(t, "room", func() bool {
					err := bindings[i].conn.SendMessage(numbered(end), &engine.SendOptions{Policy: engine.SlowDropNewest})
					if err != nil {
						tries++
					}
					return err == nil
				})
				got := receive(t, "the last message", ended)
				if !slices.IsSorted(got) {
					t.Error("the messages came out of order")
				}
				came, dropped = append(came, len(got)), append(dropped, n+1+tries-len(got))
				if policy == engine.SlowDropNewest && missed[bindings[i].conn] != n+1-len(got) {
					t.Errorf("%d were missed, %d of %d came", missed[bindings[i].conn], len(got)-1, n)
				}
			}
			for i, b := range bindings {
				b.wantCounts(t, came[i], dropped[i])
			}
		})
	}
}

// Rule 14: nothing breaks where senders of all policies meet the close.
func TestSlowPoliciesRaceWithClose(t *testing.T) { eachTransport(t, slowPoliciesRaceWithClose) }

func slowPoliciesRaceWithClose(t *testing.T) {
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 10, MaxMemory: 1 << 20}, Timeouts: engine.Timeouts{Close: 50 * time.Millisecond}})
	g := newGate(t, e)
	r := serve(t, e)
	for round := range 10 {
		_, b := g.enterSlow(t, r.addr)
		var wg sync.WaitGroup
		for _, policy := range []engine.SlowPolicy{engine.SlowDropNewest, engine.SlowDropOldest, engine.SlowLatest} {
			wg.Go(func() {
				m := numbered(1)
				for i := 0; ; i++ {
					o := engine.SendOptions{Policy: policy, Key: fmt.Sprint(i % 3)}
					if i%2 == 0 {
						_, _ = e.Broadcast(slices.Values([]*engine.Conn{b.conn}), m, &o)
					}
					if err := b.conn.SendMessage(m, &o); errors.Is(err, engine.ErrClosed) {
						return
					}
				}
			})
		}
		if dropped := e.Stats().Dropped.Messages; round%2 == 1 { // the queue is full, or most likely not yet
			eventually(t, "the queue is full", func() bool { return e.Stats().Dropped.Messages > dropped })
		}
		b.conn.Close(protocol.KickedOut)
		wg.Wait()
		b.wantEnd(t, protocol.KickedOut)
	}
}

// Rule 12: drops are counted before End, also while no report can be made because OnDropped blocks.
func TestDropsAreCountedBeforeTheEnd(t *testing.T) { eachTransport(t, dropsAreCountedBeforeTheEnd) }

func dropsAreCountedBeforeTheEnd(t *testing.T) {
	blocked, release := make(chan struct{}, 10), make(chan struct{})
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}, SlowPolicy: engine.SlowDropNewest, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond},
		OnDropped: func(*engine.Conn, protocol.Traffic) { blocked <- struct{}{}; <-release }})
	g := newGate(t, e)
	r := serve(t, e)
	defer close(release)
	_, b := g.enterSlow(t, r.addr)
	dropped := 0
	drop := func() {
		for want := dropped + 10; dropped < want; {
			if errors.Is(b.conn.SendMessage(numbered(1), &engine.SendOptions{}), engine.ErrDropped) {
				dropped++
			}
		}
	}
	drop()
	receive(t, "a report", blocked)
	drop()
	b.conn.Close(protocol.KickedOut)
	b.wantEnd(t, protocol.KickedOut)
	if n := b.dropped.Load(); n != int64(dropped) {
		t.Errorf("%d drops were counted before the end, want %d", n, dropped)
	}
}
