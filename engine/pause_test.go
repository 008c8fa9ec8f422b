package engine_test

import (
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// typeStuck is a message that blocks the event loop.
const typeStuck = 0x7000

// stuckLoop is an engine whose only event loop can be stuck: in a handler, or with Workers in a codec.
type stuckLoop struct {
	*running
	t       *testing.T
	blocked chan struct{}
	release chan struct{}
	free    sync.Once
}

func serveStuckLoop(t *testing.T, cfg engine.Config, h engine.Handler) *stuckLoop {
	cfg.Loops = 1
	s := &stuckLoop{t: t, blocked: make(chan struct{}), release: make(chan struct{})}
	if cfg.Workers > 0 {
		cfg.Listeners = []engine.Listener{{Codec: stuckCodec{protocol.Binary, s.stick}}}
	}
	e := newEngine(cfg)
	e.Handle(typeStuck, func(*engine.Conn, *protocol.Message) error { s.stick(); return nil })
	e.HandleDefault(h)
	t.Cleanup(s.goOn)
	s.running = serve(t, e)
	t.Cleanup(s.goOn) // before the engine stops
	return s
}

func (s *stuckLoop) stick() {
	select {
	case <-s.release: // with Workers the handler comes behind the codec
	default:
		close(s.blocked)
		<-s.release
	}
}

func (s *stuckLoop) goOn() { s.free.Do(func() { close(s.release) }) }

// whileStuck has f run while the loop is stuck, for d in all.
func (s *stuckLoop) whileStuck(d time.Duration, f func()) {
	s.t.Helper()
	dial(s.t, s.addr).send(protocol.Message{Type: typeStuck})
	receive(s.t, "the handler that blocks", s.blocked)
	began := time.Now()
	f()
	time.Sleep(d - time.Since(began)) // is what is tested
	s.goOn()
}

type stuckCodec struct {
	protocol.Codec
	stick func()
}

func (c stuckCodec) Decode(buf []byte, m *protocol.Message, opts protocol.DecodeOptions) (n, need int, err error) {
	n, need, err = c.Codec.Decode(buf, m, opts)
	if n > 0 && m.Type == typeStuck {
		c.stick()
	}
	return n, need, err
}

// dialAll returns clients whose connections the engine has opened.
func (s *stuckLoop) dialAll(n int) (peers []*peer) {
	s.t.Helper()
	for range n {
		peers = append(peers, dial(s.t, s.addr))
	}
	eventually(s.t, "all are open", func() bool { return s.Stats().Conns.Accepted >= n })
	return peers
}

// wantAll wants each of the clients to get the reply to the request that has this ID next.
func (s *stuckLoop) wantAll(peers []*peer, id uint32) {
	s.t.Helper()
	answered := 0
	for _, p := range peers {
		if m, err := p.next(); err == nil && m.ID == id && m.IsReply() {
			answered++
		}
	}
	if answered != len(peers) {
		s.t.Errorf("%d of %d were answered; closed: %v", answered, len(peers), s.Stats().Closed)
	}
}

func acknowledge(c *engine.Conn, m *protocol.Message) error {
	if m.ID != 0 {
		_ = c.Reply(m, nil)
	}
	return nil
}

// Rule 25: the first messages of 200 clients wait in the sockets while the loop is stuck for longer than Timeouts.FirstMessage. All are
// answered, and one that says nothing is closed.
func TestFirstMessagesThatWaitAreLookedAtBeforeTheLogonTimeout(t *testing.T) {
	for name, workers := range map[string]int{"on the loop": 0, "with Workers": 2} {
		t.Run(name, func(t *testing.T) {
			const timeout = 1500 * time.Millisecond
			s := serveStuckLoop(t, engine.Config{Timeouts: engine.Timeouts{FirstMessage: timeout}, Workers: workers}, acknowledge)
			peers := s.dialAll(201)
			silent, peers := peers[0], peers[1:]
			s.whileStuck(timeout+200*time.Millisecond, func() {
				for _, p := range peers {
					p.send(protocol.Message{Type: 1, ID: 7})
				}
			})
			s.wantAll(peers, 7)
			silent.wantClose(protocol.LogonTimeout)
		})
	}
}

// Rule 25: 100 clients send half of what they may, while the loop is stuck. No client is closed for what has piled up.
// One that sends too much on top of it is closed, but its address is not banned.
func TestWhatPilesUpWhileTheLoopIsStuckIsNoFlood(t *testing.T) {
	const rate, stuck = 400, 2 * time.Second
	body := make([]byte, 100)
	for name, cfg := range map[string]engine.Config{
		"messages":               {Limits: engine.Limits{MaxMessageRate: rate, MessageBurst: rate / 4}},
		"messages, with Workers": {Limits: engine.Limits{MaxMessageRate: rate, MessageBurst: rate / 4}, Workers: 2},
		"bytes":                  {Limits: engine.Limits{MaxByteRate: rate * 120, ByteBurst: rate * 120 / 4}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Bans = engine.Bans{Flaps: 3}
			s := serveStuckLoop(t, cfg, acknowledge)
			peers := s.dialAll(100)
			for _, p := range peers {
				p.ask(1, 1, "")
			}
			var piledUp []protocol.Message
			for range int(rate / 2 * stuck.Seconds()) {
				piledUp = append(piledUp, protocol.Message{Type: 1, Body: body})
			}
			piledUp[len(piledUp)-1].ID = 7
			s.whileStuck(stuck, func() {
				for _, p := range peers {
					p.send(piledUp...)
				}
			})
			s.wantAll(peers, 7)
			for _, p := range peers[:4] {
				for range 10 {
					_, _ = p.Write(frames(t, piledUp)) // the end may come in between
				}
				for {
					m, err := p.next()
					if err != nil {
						t.Fatalf("got %v, want a Close notice", err)
					}
					if m.Type == protocol.TypeClose {
						wantNotice(t, m, protocol.RateLimited)
						break
					}
				}
				_ = p.Close()
			}
			eventually(t, "they are gone", func() bool { return s.Stats().Closed[protocol.RateLimited] == 4 })
			if bans := s.Bans(); len(bans) != 0 {
				t.Errorf("banned: %v", bans)
			}
		})
	}
}

func frames(t *testing.T, ms []protocol.Message) (b []byte) {
	for _, m := range ms {
		b = append(b, frame(t, m)...)
	}
	return b
}

// Rule 25: what piles up in the sockets of 20 clients while the loop is stuck is more than may wait for Workers, and comes at
// once. They stay; without a pause such a client is closed.
func TestWhatPilesUpWhileTheLoopIsStuckMayWaitForWorkers(t *testing.T) {
	const limit = 64 << 10
	open := make(chan struct{})
	s := serveStuckLoop(t, engine.Config{Workers: 2, Limits: engine.Limits{MaxInbound: limit}}, func(c *engine.Conn, m *protocol.Message) error {
		if m.Type == 2 {
			<-open
		}
		acknowledge(c, m)
		return nil
	})
	t.Cleanup(sync.OnceFunc(func() {
		select {
		case <-open:
		default:
			close(open)
		}
	}))
	var bulk []protocol.Message
	for range 20 {
		bulk = append(bulk, protocol.Message{Type: 2, Body: make([]byte, limit/4)})
	}
	bulk[len(bulk)-1].ID = 7
	b := frames(t, bulk)
	peers := s.dialAll(21)
	for _, p := range peers {
		p.ask(1, 1, "")
	}
	greedy, peers := peers[0], peers[1:]
	_, _ = greedy.Write(b)
	greedy.wantClose(protocol.RateLimited)
	var writers sync.WaitGroup
	s.whileStuck(time.Second, func() {
		for _, p := range peers {
			writers.Go(func() { _, _ = p.Write(b) })
		}
	})
	eventually(t, "all waits for the workers, or is thrown away", func() bool {
		st := s.Stats()
		return st.InboundQueue >= int64(len(peers)*len(b)*9/10) || st.Closed[protocol.RateLimited] > 1
	})
	writers.Wait()
	close(open)
	s.wantAll(peers, 7)
}

// A request to a client is not over while the reply may wait, unread.
func TestAReplyThatWaitsIsLookedAtBeforeTheRequestIsOver(t *testing.T) {
	conns := make(chan *engine.Conn, 1)
	s := serveStuckLoop(t, engine.Config{}, func(c *engine.Conn, m *protocol.Message) error {
		select {
		case conns <- c:
		default:
		}
		acknowledge(c, m)
		return nil
	})
	p := dial(t, s.addr)
	p.ask(1, 1, "")
	c := receive(t, "the connection", conns)
	outcome := make(chan error, 1)
	const timeout = 700 * time.Millisecond
	if err := c.RequestFunc(2, nil, timeout, func(_ *protocol.Message, err error) { outcome <- err }); err != nil {
		t.Fatal(err)
	}
	m := p.read()
	s.whileStuck(timeout+200*time.Millisecond, func() {
		p.send(protocol.Message{Type: 2, ID: m.ID, Flags: protocol.FlagReply})
	})
	if err := receive(t, "the outcome", outcome); err != nil {
		t.Errorf("the request ended with %v", err)
	}
}
