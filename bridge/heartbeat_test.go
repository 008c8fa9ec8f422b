package bridge_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// beats is a Checker that counts signs of life, and finds a session silent when the test says so. So the test of what
// counts as life need not wait.
type beats struct {
	mu      sync.Mutex
	watches []*beatWatch
}

type beatWatch struct {
	silent           func()
	count            atomic.Int64
	isSilent, isOver atomic.Bool
}

func (b *beats) Watch(silent func()) heartbeat.Watch {
	w := &beatWatch{silent: silent}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watches = append(b.watches, w)
	return w
}

func (*beats) Timeout() time.Duration { return time.Minute }
func (*beats) Close()                 {}
func (w *beatWatch) Beat()            { w.count.Add(1) }
func (w *beatWatch) Silent() bool     { return w.isSilent.Load() && !w.isOver.Load() }
func (w *beatWatch) Stop()            { w.isOver.Store(true) }

// of returns the watch of the nth session.
func (b *beats) of(n int) *beatWatch {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.watches[n-1]
}

// heardIn reports whether the client shows a sign of life in what f does.
func (w *beatWatch) heardIn(f func()) bool {
	before := w.count.Load()
	f()
	return w.count.Load() != before
}

// Rule 8: a client of which nothing is heard gets TimedOut, while it is still online, then Disconnected, and is told and
// closed; not before the timeout.
func TestSilentClientIsTimedOut(t *testing.T) {
	const timeout = 200 * time.Millisecond
	s := newServer(t, options{users: usermgr.Config{HeartbeatTimeout: timeout, HeartbeatCheckInterval: 20 * time.Millisecond}})
	s.users.Subscribe(usermgr.Events{TimedOut: func(usermgr.SessionInfo) {
		if !s.users.IsOnline("ann") {
			t.Error("TimedOut: ann is offline already")
		}
		_ = s.bridge.Send("ann", push, []byte("are you there?"))
	}})
	s.start()
	began := time.Now()
	c := s.logOn("ann")
	c.expect(push, "are you there?")
	if silence := time.Since(began); silence < timeout {
		t.Errorf("timed out after %v", silence)
	}
	c.expectClose(protocol.HeartbeatTimeout)
	s.expectEnd("Connected ann@1", "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
}

// Rule 8: a client that sends now and then is not timed out.
func TestLivelyClientStays(t *testing.T) {
	s := serve(t, options{users: usermgr.Config{HeartbeatTimeout: 500 * time.Millisecond, HeartbeatCheckInterval: 50 * time.Millisecond}})
	c := s.logOn("ann")
	for began := time.Now(); time.Since(began) < 1200*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		c.send(&protocol.Message{Type: protocol.TypeHeartbeat})
	}
	c.ask("still here")
	s.expectEnd("Connected ann@1", "Disconnected ann@1 ServerStopping")
}

// watchedByBeats is a server with one event loop on which ann and bob are logged on. When a barrier of bob's has
// returned, all that ann sent before it has been read.
func watchedByBeats(t *testing.T, o options) (s *server, watch *beatWatch, ann, bob *rawClient) {
	b := new(beats)
	o.engine.Loops, o.users.HeartbeatChecker = 1, b
	s = serve(t, o)
	ann, bob = s.logOn("ann"), s.logOn("bob")
	barrier(ann)
	return s, b.of(1), ann, bob
}

// Rule 8: bytes of any kind are a sign of life: heartbeats, messages without a handler, each piece of a frame.
func TestBytesOfAnyKindCount(t *testing.T) {
	s, watch, ann, bob := watchedByBeats(t, options{})
	long := frame(t, &protocol.Message{Type: say, Body: []byte("in pieces")})
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"heartbeat", frame(t, &protocol.Message{Type: protocol.TypeHeartbeat})},
		{"unknown type", frame(t, &protocol.Message{Type: 0x4242})},
		{"the first byte of a frame", long[:1]},
		{"more of its header", long[1:10]},
		{"the end of its header", long[10:layout.HeaderLen]},
		{"a piece of its body", long[layout.HeaderLen : len(long)-1]},
		{"its last byte", long[len(long)-1:]},
	} {
		if !watch.heardIn(func() {
			ann.sendBytes(c.bytes)
			barrier(bob)
		}) {
			t.Errorf("%s: it did not count", c.name)
		}
	}
	s.journal.expect(t, "Connected ann@1", "Connected bob@2", "say ann@1 in pieces")
}

// Rule 8: nothing that the server sends is a sign of life, nor what other clients do.
func TestServersSendsDoNotCount(t *testing.T) {
	s, watch, ann, bob := watchedByBeats(t, options{})
	if watch.heardIn(func() {
		for range 20 {
			if err := s.bridge.Send("ann", push, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			ann.expect(push, "hello")
			barrier(bob)
		}
	}) {
		t.Error("it counted")
	}
	watch.isSilent.Store(true)
	watch.silent()
	ann.expectClose(protocol.HeartbeatTimeout)
	s.journal.expect(t, "Connected ann@1", "Connected bob@2", "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
}

// Rule 8: silence is checked again when the user's turn has come.
func TestSilenceThatIsOverIsForgiven(t *testing.T) {
	s, watch, ann, _ := watchedByBeats(t, options{})
	watch.silent() // a report that comes too late
	ann.ask("here")
	s.expectEnd("Connected ann@1", "Connected bob@2", "Disconnected ann@1 ServerStopping", "Disconnected bob@2 ServerStopping")
}

// Rule 8: the bytes of one unfinished frame count for Timeouts.UnfinishedFrame at most; a frame that follows counts again.
func TestUnfinishedFrameCountsForAWhile(t *testing.T) {
	const (
		unfinished = 500 * time.Millisecond
		coarse     = 250 * time.Millisecond // so exact is the engine's clock
	)
	s, watch, ann, bob := watchedByBeats(t, options{engine: engine.Config{Timeouts: engine.Timeouts{UnfinishedFrame: unfinished}}})
	whole := frame(t, &protocol.Message{Type: say, Body: make([]byte, 1<<16)})
	sent := 0
	piece := func() (counts bool) {
		return watch.heardIn(func() {
			ann.sendBytes(whole[sent : sent+1])
			sent++
			barrier(bob)
		})
	}
	began := time.Now()
	for piece() {
		if time.Since(began) > patience {
			t.Fatal("it counts for ever")
		}
	}
	if counted := time.Since(began); counted < unfinished-coarse {
		t.Errorf("it counted for %v only", counted)
	}
	for range 10 {
		if piece() {
			t.Error("it counts again")
		}
	}
	if !watch.heardIn(func() {
		ann.sendBytes(whole[sent:])
		ann.ask("finished")
	}) {
		t.Error("its end did not count")
	}
	_, _ = s.users.Kick("bob", nil)
	s.journal.expect(t, "Connected ann@1", "Connected bob@2", "say ann@1 "+string(make([]byte, 1<<16)), "Disconnected bob@2 KickedOut")
}
