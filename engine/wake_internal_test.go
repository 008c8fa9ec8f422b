package engine

import (
	"net"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// eagerWaker is the waker of a loop that runs as soon as it is woken, before the waking goroutine goes on: each connection that
// the loop is told of by itself wakes it once more. Turns that the loop asks for itself do not count.
type eagerWaker struct {
	net.Conn
	loop           *loop
	wakes          int
	running, again bool
}

func (w *eagerWaker) Write(p []byte) (int, error) {
	if w.again = true; w.running {
		return len(p), nil
	}
	w.wakes++
	w.running = true
	for w.again {
		w.again = false
		w.loop.run()
	}
	w.running = false
	return len(p), nil
}

// A broadcast wakes each event loop once, however many of the loop's connections it goes to; over a thousand, once for each
// thousand that it was given. A loop without any of the connections is left alone.
func TestABroadcastWakesEachLoopOnce(t *testing.T) {
	for _, tc := range []struct{ conns, wakes int }{{1, 1}, {2, 1}, {flushEvery, 1}, {flushEvery + 1, 2}, {2*flushEvery + 500, 3}} {
		e := testkit.Must(New(Config{}))
		wakers := make([]*eagerWaker, 3)
		for i := range wakers {
			l := &loop{engine: e}
			wakers[i] = &eagerWaker{loop: l}
			l.waker = wakers[i]
		}
		conns := make([]*Conn, tc.conns)
		for i := range conns {
			conns[i] = &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&recordingConn{}}, loop: wakers[i%2].loop}
			conns[i].state.Store(stateBound)
		}
		m := &protocol.Message{Type: 1, Body: []byte("all")}
		if n, err := e.Broadcast(slices.Values(conns), m, nil); n != tc.conns || err != nil {
			t.Fatalf("Broadcast returned %d, %v", n, err)
		}
		want := []int{tc.wakes, tc.wakes, 0}
		if tc.conns%flushEvery == 1 { // the last is the first loop's
			want[1]--
		}
		for i, w := range wakers {
			if w.wakes != want[i] {
				t.Errorf("%d connections: loop %d was woken %d times, want %d", tc.conns, i, w.wakes, want[i])
			}
		}
		frame, _ := protocol.Binary.Append(nil, m)
		for i, c := range conns {
			if got := c.tcp.gc.(*recordingConn).written; !slices.Equal(got, frame) {
				t.Fatalf("connection %d of %d was written %x, want %x", i, tc.conns, got, frame)
			}
		}
	}
}
