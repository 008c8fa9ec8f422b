package engine_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// enterSlow is enter with a peer whose socket takes little before it is read.
func (g *gate) enterSlow(t testing.TB, addr string) (*peer, *binding) {
	t.Helper()
	p := newPeer(t, reach(t, addr, func(fd uintptr) { setReceiveBuffer(fd, 32<<10) }))
	p.send(protocol.Message{Type: 1, UserID: "ann"})
	return p, receive(t, "a connection", g.arrived)
}

// chunk is how long the bodies of these tests are.
const chunk = 8 << 10

// slowBuffers is more than the kernel holds for a slow peer: 4 MiB on our side, unless it is told otherwise.
const slowBuffers = 8 << 20

// numbered is a message of chunk bytes with a number.
func numbered(n int) *protocol.Message {
	b := make([]byte, chunk)
	binary.BigEndian.PutUint32(b, uint32(n))
	return &protocol.Message{Type: 7, Body: b}
}

func numberOf(m protocol.Message) int { return int(binary.BigEndian.Uint32(m.Body)) }

// readUntil reads messages of type 7 until the one with this number, and returns their numbers.
func (p *peer) readUntil(last int) (got []int) {
	p.t.Helper()
	for len(got) == 0 || got[len(got)-1] != last {
		m := p.read()
		if m.Type != 7 {
			p.t.Fatalf("got a message of type %#x after %d of type 7", m.Type, len(got))
		}
		got = append(got, numberOf(m))
	}
	return got
}

func newQuiet(cfg engine.Config) *engine.Engine {
	e := newEngine(cfg)
	e.HandleDefault(func(*engine.Conn, *protocol.Message) {})
	return e
}

// wantCounts wants that all that was accepted was either sent or dropped, and counted.
func (b *binding) wantCounts(t testing.TB, sent, dropped int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the counts of %d sent, %d dropped", sent, dropped), func() bool {
		return b.sent.Load() == int64(sent) && b.dropped.Load() == int64(dropped)
	})
}

// A policy that there is not is no other one: the sender is told, and nothing goes out.
func TestAnUnknownPolicyIsAnError(t *testing.T) {
	e := newQuiet(engine.Config{})
	g := newGate(t, e)
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, UserID: "ann"})
	b := receive(t, "a connection", g.arrived)
	b.conn.Admit(&engine.Admitted{UserID: "ann"})
	o := engine.SendOptions{Policy: engine.SlowLatest + 1}
	for _, m := range []*protocol.Message{numbered(1), {Type: 7, ID: 1}, {Type: protocol.TypePush}} {
		if err := b.conn.SendWith(m, o); err == nil || !strings.Contains(err.Error(), "SlowPolicy 5") {
			t.Errorf("SendWith of type %#x returned %v", m.Type, err)
		}
		n, err := e.BroadcastWith(slices.Values([]*engine.Conn{b.conn}), m, o, nil)
		if n != 0 || err == nil || !strings.Contains(err.Error(), "SlowPolicy 5") {
			t.Errorf("BroadcastWith of type %#x returned %d, %v", m.Type, n, err)
		}
	}
	if err := b.conn.Send(8, nil); err != nil {
		t.Fatal(err)
	}
	if m := p.read(); m.Type != 8 {
		t.Errorf("the first message to arrive is of type %#x", m.Type)
	}
}

// SlowDropNewest: what there is no room for is dropped, the sender is told, and the connection stays.
func TestSlowDropNewestDropsWhatIsSentAndTellsTheSender(t *testing.T) {
	for _, override := range []bool{false, true} {
		t.Run(fmt.Sprintf("override %t", override), func(t *testing.T) {
			cfg, o := engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}}, engine.SendOptions{Policy: engine.SlowDropNewest}
			if !override {
				cfg.SlowPolicy, o.Policy = o.Policy, 0
			}
			e := newQuiet(cfg)
			g := newGate(t, e)
			r := serve(t, e)
			p, b := g.enterSlow(t, r.addr)
			var accepted []int
			dropped := 0
			for n := 0; dropped < 100 || n < slowBuffers/chunk; n++ {
				switch err := b.conn.SendWith(numbered(n), o); {
				case err == nil:
					accepted = append(accepted, n)
				case errors.Is(err, engine.ErrDropped):
					dropped++
				default:
					t.Fatal(err)
				}
			}
			if got := p.readUntil(accepted[len(accepted)-1]); !slices.Equal(got, accepted) {
				t.Errorf("%d messages came, others than the %d that were accepted", len(got), len(accepted))
			}
			b.wantCounts(t, len(accepted), dropped)
			if err := b.conn.SendWith(numbered(1), o); err != nil {
				t.Errorf("with room again: %v", err)
			}
			p.readUntil(1)
		})
	}
}

// SlowDropOldest: what comes is in order, and the newest is there. SlowLatest: the newest of each key is there.
func TestSlowDropOldestAndLatestKeepTheNewest(t *testing.T) {
	const n, keys = 3 * slowBuffers / chunk, 10
	for name, policy := range map[string]engine.SlowPolicy{"oldest": engine.SlowDropOldest, "latest": engine.SlowLatest} {
		for _, override := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, override %t", name, override), func(t *testing.T) {
				cfg, o := engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}}, engine.SendOptions{Policy: policy}
				if !override {
					cfg.SlowPolicy, o.Policy = policy, 0
				}
				e := newQuiet(cfg)
				g := newGate(t, e)
				r := serve(t, e)
				p, b := g.enterSlow(t, r.addr)
				for i := range n {
					o.Key = fmt.Sprint(i % keys)
					if err := b.conn.SendWith(numbered(i), o); err != nil {
						t.Fatal(err)
					}
				}
				got := p.readUntil(n - 1)
				if !slices.IsSorted(got) {
					t.Error("the messages came out of order")
				}
				if len(got) == n {
					t.Error("nothing was dropped")
				}
				for i, number := range got[len(got)-keys:] {
					if number != n-keys+i {
						t.Errorf("the last messages are %d", got[len(got)-keys:])
						break
					}
				}
				b.wantCounts(t, len(got), n-len(got))
			})
		}
	}
}

// A message under SlowClose closes the connection also where the engine's policy is another, and replies are never dropped:
// they close it, too.
func TestWhatMayNotBeDroppedClosesASlowConnection(t *testing.T) {
	for name, send := range map[string]func(c *engine.Conn, m *protocol.Message) error{
		"override": func(c *engine.Conn, _ *protocol.Message) error {
			return c.SendWith(numbered(1), engine.SendOptions{Policy: engine.SlowClose})
		},
		"reply": func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, chunk)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}, SlowPolicy: engine.SlowDropOldest,
				Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}, Workers: 1})
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) {
				for i := 0; m.ID != 0 && send(c, m) == nil; i++ {
					if i > 2*slowBuffers/chunk {
						t.Error("there is no end")
						return
					}
				}
			})
			g := newGate(t, e)
			r := serve(t, e)
			p, b := g.enterSlow(t, r.addr)
			p.send(protocol.Message{Type: 1, ID: 1})
			b.wantEnd(t, protocol.SlowConsumer)
		})
	}
}

// Messages with an ID, which somebody waits for, and pushes are dropped only where the message's own policy says so: the
// engine's closes the connection.
func TestTheEnginesPolicyDropsNoRequestsAndNoPushes(t *testing.T) {
	for name, m := range map[string]protocol.Message{
		"a request": {Type: 7, ID: 1, Body: make([]byte, chunk)},
		"a push":    {Type: protocol.TypePush, Body: make([]byte, chunk)},
	} {
		t.Run(name, func(t *testing.T) {
			e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}, SlowPolicy: engine.SlowDropNewest, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}})
			g := newGate(t, e)
			r := serve(t, e)
			_, b := g.enterSlow(t, r.addr)
			send := func(o engine.SendOptions) error {
				for range 2 * slowBuffers / chunk {
					if err := b.conn.SendWith(&m, o); err != nil {
						return err
					}
				}
				return nil
			}
			if err := send(engine.SendOptions{Policy: engine.SlowDropNewest}); !errors.Is(err, engine.ErrDropped) {
				t.Errorf("with its own policy: %v", err)
			}
			if err := send(engine.SendOptions{}); !errors.Is(err, engine.ErrClosed) {
				t.Errorf("with the engine's policy: %v", err)
			}
			b.wantEnd(t, protocol.SlowConsumer)
		})
	}
}

// OnDropped is told at most once a second, of everything, on no loop: it may block, and call the connection.
func TestOnDroppedIsToldAtMostOnceASecond(t *testing.T) {
	type report struct {
		at time.Time
		engine.DropReport
	}
	var mu sync.Mutex
	reports := map[*engine.Conn][]report{}
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}, SlowPolicy: engine.SlowDropNewest,
		OnDropped: func(c *engine.Conn, d engine.DropReport) {
			_ = c.Send(9, nil)
			mu.Lock()
			reports[c] = append(reports[c], report{time.Now(), d})
			mu.Unlock()
			if len(reports[c]) == 1 {
				panic("in OnDropped")
			}
			if len(reports[c]) == 2 {
				runtime.Goexit()
			}
		}})
	g := newGate(t, e)
	r := serve(t, e)
	_, b := g.enterSlow(t, r.addr)
	_, other := g.enterSlow(t, r.addr)
	dropped := map[*engine.Conn]int{}
	told := func(c *engine.Conn) (n, sum int) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range reports[c] {
			sum += r.Messages
			if r.LastType != 7 || r.Bytes != r.Messages*(chunk+layout.HeaderLen) {
				t.Errorf("a report of %+v", r.DropReport)
			}
		}
		return len(reports[c]), sum
	}
	eventually(t, "three reports", func() bool {
		for _, c := range []*engine.Conn{b.conn, other.conn} {
			for range 100 {
				if errors.Is(c.SendWith(numbered(1), engine.SendOptions{}), engine.ErrDropped) {
					dropped[c]++
				}
			}
		}
		n, _ := told(b.conn)
		return n >= 3
	})
	for _, c := range []*engine.Conn{b.conn, other.conn} {
		eventually(t, "everything to be told", func() bool { _, sum := told(c); return sum == dropped[c] })
		mu.Lock()
		for i, r := range reports[c][1:] {
			if d := r.at.Sub(reports[c][i].at); d < 900*time.Millisecond {
				t.Errorf("told again after %v", d)
			}
		}
		mu.Unlock()
	}
	if e.Stats().HandlerPanics == 0 {
		t.Error("the panic was not counted")
	}
}

// Timeouts.Write: a client that takes nothing is a SlowConsumer; one that reads what its receive buffer holds within the time is not
// (here 64 KiB, as Linux doubles what is asked for, and three times that), nor one for which nothing waits.
func TestWriteTimeoutClosesWhoTakesNothing(t *testing.T) {
	const timeout = time.Second
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 20}, Timeouts: engine.Timeouts{Write: timeout, Close: 200 * time.Millisecond}})
	g := newGate(t, e)
	r := serve(t, e)
	idle, i := g.enterSlow(t, r.addr)
	_, frozen := g.enterSlow(t, r.addr)
	slow, s := g.enterSlow(t, r.addr)
	for _, c := range []*engine.Conn{frozen.conn, s.conn} {
		for n := range 2 * slowBuffers / chunk {
			if err := c.SendWith(numbered(n), engine.SendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	buf := make([]byte, 2<<10)
	for time.Since(began) < 3*timeout {
		if _, err := slow.Read(buf); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // slowly
	}
	frozen.wantEnd(t, protocol.SlowConsumer)
	for name, c := range map[string]*engine.Conn{"slow": s.conn, "idle": i.conn} {
		if c.Context().Err() != nil {
			t.Errorf("the %s connection was closed", name)
		}
	}
	_ = i.conn.SendWith(numbered(1), engine.SendOptions{})
	idle.readUntil(1)
}

// With SlowDropNewest a client that takes nothing for Timeouts.Write stays, and what is sent to it is dropped even where there
// is room; when it takes something again, what is sent reaches it.
func TestWriteTimeoutDropsWithSlowDropNewest(t *testing.T) {
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 20}, Timeouts: engine.Timeouts{Write: 200 * time.Millisecond}, SlowPolicy: engine.SlowDropNewest})
	g := newGate(t, e)
	r := serve(t, e)
	p, b := g.enterSlow(t, r.addr)
	last := -1
	send := func() error {
		err := b.conn.SendWith(numbered(last+1), engine.SendOptions{})
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
				eventually(t, "the admission", func() bool { return len(slices.Collect(e.Conns())) == len(bindings) })
				all = append(all, b.conn)
			}
			missed := map[*engine.Conn]int{}
			for i := range n {
				sent, err := e.BroadcastWith(slices.Values(all), numbered(i), engine.SendOptions{Policy: policy},
					func(c *engine.Conn, _ error) { missed[c]++ })
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
					err := bindings[i].conn.SendWith(numbered(end), engine.SendOptions{Policy: engine.SlowDropNewest})
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
func TestSlowPoliciesRaceWithClose(t *testing.T) {
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 10, MaxMemory: 1 << 20}, Timeouts: engine.Timeouts{Close: 50 * time.Millisecond}})
	g := newGate(t, e)
	r := serve(t, e)
	for range 10 {
		_, b := g.enterSlow(t, r.addr)
		var wg sync.WaitGroup
		for _, policy := range []engine.SlowPolicy{engine.SlowDropNewest, engine.SlowDropOldest, engine.SlowLatest} {
			wg.Go(func() {
				m := numbered(1)
				for i := 0; ; i++ {
					o := engine.SendOptions{Policy: policy, Key: fmt.Sprint(i % 3)}
					if i%2 == 0 {
						_, _ = e.BroadcastWith(slices.Values([]*engine.Conn{b.conn}), m, o, func(*engine.Conn, error) {})
					}
					if err := b.conn.SendWith(m, o); errors.Is(err, engine.ErrClosed) {
						return
					}
				}
			})
		}
		time.Sleep(20 * time.Millisecond) // let them fill the queue, or not
		b.conn.Close(protocol.KickedOut, "")
		wg.Wait()
		b.wantEnd(t, protocol.KickedOut)
	}
}

// Rule 12: what was dropped is counted before End, also while nobody reports because OnDropped blocks.
func TestDropsAreCountedBeforeTheEnd(t *testing.T) {
	blocked, release := make(chan struct{}, 10), make(chan struct{})
	e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}, SlowPolicy: engine.SlowDropNewest, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond},
		OnDropped: func(*engine.Conn, engine.DropReport) { blocked <- struct{}{}; <-release }})
	g := newGate(t, e)
	r := serve(t, e)
	defer close(release)
	_, b := g.enterSlow(t, r.addr)
	dropped := 0
	drop := func() {
		for want := dropped + 10; dropped < want; {
			if errors.Is(b.conn.SendWith(numbered(1), engine.SendOptions{}), engine.ErrDropped) {
				dropped++
			}
		}
	}
	drop()
	receive(t, "a report", blocked)
	drop()
	b.conn.Close(protocol.KickedOut, "")
	b.wantEnd(t, protocol.KickedOut)
	if n := b.dropped.Load(); n != int64(dropped) {
		t.Errorf("%d drops were counted before the end, want %d", n, dropped)
	}
}
