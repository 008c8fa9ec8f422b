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
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// enterSlow is enter with a peer whose socket takes little before it is read.
func (g *gate) enterSlow(t testing.TB, addr string) (*peer, *binding) {
	t.Helper()
	p := newPeer(t, reach(t, addr, func(fd uintptr) { setReceiveBuffer(fd, 32<<10) }))
	p.send(protocol.Message{Type: 1, UserID: "ann"})
	b := receive(t, "a connection", g.arrived)
	b.awaitAdmission(t)
	return p, b
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
	e.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
	return e
}

// wantCounts wants that all that was accepted was either sent or dropped, and counted.
func (b *binding) wantCounts(t testing.TB, sent, dropped int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%d were counted as sent, and %d as dropped", b.sent.Load(), b.dropped.Load())
		}
	}()
	eventually(t, fmt.Sprintf("the counts of %d sent, %d dropped", sent, dropped), func() bool {
		return b.sent.Load() == int64(sent) && b.dropped.Load() == int64(dropped)
	})
}

// An undefined policy is an error: the sender is told, and nothing goes out.
func TestAnUnknownPolicyIsAnError(t *testing.T) {
	e := newQuiet(engine.Config{})
	g := newGate(t, e)
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, UserID: "ann"})
	b := receive(t, "a connection", g.arrived)
	b.Admit(&engine.Admitted{UserID: "ann"})
	o := engine.SendOptions{Policy: engine.SlowLatest + 1}
	for _, m := range []*protocol.Message{numbered(1), {Type: 7, ID: 1}, {Type: protocol.TypePush}} {
		if err := b.conn.SendMessage(m, &o); err == nil || !strings.Contains(err.Error(), "SlowPolicy 5") {
			t.Errorf("SendMessage of type %#x returned %v", m.Type, err)
		}
		n, err := e.Broadcast(slices.Values([]*engine.Conn{b.conn}), m, &o)
		if n != 0 || err == nil || !strings.Contains(err.Error(), "SlowPolicy 5") {
			t.Errorf("Broadcast of type %#x returned %d, %v", m.Type, n, err)
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
	eachLayer(t, slowDropNewestDropsWhatIsSentAndTellsTheSender)
}

func slowDropNewestDropsWhatIsSentAndTellsTheSender(t *testing.T) {
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
			for n := 0; dropped < 100 || n < transportOf(t).fills(slowBuffers)/chunk; n++ {
				switch err := b.conn.SendMessage(numbered(n), &o); {
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
			if err := b.conn.SendMessage(numbered(1), &o); err != nil {
				t.Errorf("with room again: %v", err)
			}
			p.readUntil(1)
		})
	}
}

// SlowDropOldest: what comes is in order, and the newest is there. SlowLatest: the newest of each key is there.
func TestSlowDropOldestAndLatestKeepTheNewest(t *testing.T) {
	eachLayer(t, slowDropOldestAndLatestKeepTheNewest)
}

func slowDropOldestAndLatestKeepTheNewest(t *testing.T) {
	const keys = 10
	n := 3 * transportOf(t).fills(slowBuffers) / chunk
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
					if err := b.conn.SendMessage(numbered(i), &o); err != nil {
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
	eachLayer(t, whatMayNotBeDroppedClosesASlowConnection)
}

func whatMayNotBeDroppedClosesASlowConnection(t *testing.T) {
	for name, send := range map[string]func(c *engine.Conn, m *protocol.Message) error{
		"override": func(c *engine.Conn, _ *protocol.Message) error {
			return c.SendMessage(numbered(1), &engine.SendOptions{Policy: engine.SlowClose})
		},
		"reply": func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, chunk)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}, SlowPolicy: engine.SlowDropOldest,
				Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}, Workers: 1})
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
				for i := 0; m.ID != 0 && send(c, m) == nil; i++ {
					if i > 2*slowBuffers/chunk {
						t.Error("there is no end")
						return nil
					}
				}
				return nil
			})
			g := newGate(t, e)
			r := serve(t, e)
			p, b := g.enterSlow(t, r.addr)
			p.send(protocol.Message{Type: 1, ID: 1})
			b.wantEnd(t, protocol.SlowConsumer)
		})
	}
}

// Messages with an ID, which a client waits for, and pushes are dropped only by the message's own policy. For them the
// engine's policy closes the connection.
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
					if err := b.conn.SendMessage(&m, &o); err != nil {
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

// Rule 15: no policy drops a system message other than a push. A message of an optional package, such as a notice of presence, says what has changed
// since the last one.
func TestNoPolicyDropsMessagesOfOptionalPackages(t *testing.T) {
	for _, typ := range []uint16{0xFF06, 0xFF09} {
		for name, policy := range map[string]engine.SlowPolicy{"newest": engine.SlowDropNewest, "oldest": engine.SlowDropOldest, "latest": engine.SlowLatest} {
			t.Run(fmt.Sprintf("%#x %s", typ, name), func(t *testing.T) {
				e := newQuiet(engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}, SlowPolicy: policy, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}})
				g := newGate(t, e)
				r := serve(t, e)
				_, b := g.enterSlow(t, r.addr)
				m := protocol.Message{Type: typ, Body: make([]byte, chunk)}
				var err error
				for i := 0; err == nil && i < 2*slowBuffers/chunk; i++ {
					err = b.conn.SendMessage(&m, &engine.SendOptions{Policy: policy})
				}
				if !errors.Is(err, engine.ErrClosed) {
					t.Errorf("the error is %v", err)
				}
				b.wantEnd(t, protocol.SlowConsumer)
			})
		}
	}
}

// OnDropped is told at most once a second, of everything, on no loop: it may block, and call the connection. So it is over each transport.
func TestOnDroppedIsToldAtMostOnceASecond(t *testing.T) {
	t.Parallel() // it mostly waits
	type report struct {
		at time.Time
		protocol.Traffic
	}
	var mu sync.Mutex
	reports := map[*engine.Conn][]report{}
	all := transports(t)
	e := newQuiet(onAll(t, all, engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 10}, SlowPolicy: engine.SlowDropNewest,
		OnDropped: func(c *engine.Conn, d protocol.Traffic) {
			seam.ConnOf(c).Look(func(bool) {}) // a message could be dropped too, and be told
			mu.Lock()
			reports[c] = append(reports[c], report{time.Now(), d})
			mu.Unlock()
			if len(reports[c]) == 1 {
				panic("in OnDropped")
			}
			if len(reports[c]) == 2 {
				runtime.Goexit()
			}
		}}))
	g := newGate(t, e)
	r := serve(t, e)
	var conns []*engine.Conn
	for _, w := range waysTo(r.Engine, all) {
		_, b := g.enterOn(t, w.dialSlow(t))
		b.awaitAdmission(t)
		conns = append(conns, b.conn)
	}
	dropped := map[*engine.Conn]int{}
	told := func(c *engine.Conn) (n, sum int) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range reports[c] {
			sum += int(r.Messages)
			if r.LastType != 7 || r.Bytes != r.Messages*(chunk+layout.HeaderLen) {
				t.Errorf("a report of %+v", r.Traffic)
			}
		}
		return len(reports[c]), sum
	}
	eventually(t, "three reports", func() bool {
		few := false
		for _, c := range conns {
			for range 100 {
				if errors.Is(c.SendMessage(numbered(1), &engine.SendOptions{}), engine.ErrDropped) {
					dropped[c]++
				}
			}
			n, _ := told(c)
			few = few || n < 3
		}
		return !few
	})
	for _, c := range conns {
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
