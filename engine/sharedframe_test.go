package engine

import (
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// recordingConn is a memoryConn that remembers what was written to it.
type recordingConn struct {
	memoryConn
	written []byte
}

func (c *recordingConn) Write(p []byte) (int, error) {
	c.written = append(c.written, p...)
	return len(p), nil
}

// runAll runs a loop that a test runs itself until it has nothing to do.
func runAll(l *loop) {
	if l.waker == nil {
		l.waker = deafWaker{}
	}
	for left := true; left; {
		l.run()
		l.mu.Lock()
		left = l.woken
		l.woken = true
		l.mu.Unlock()
	}
}

// The frame of a broadcast is the queue of every connection that has none. What is sent to one of them before or after stays
// its own, and in order.
func TestABroadcastsFrameIsNobodysQueue(t *testing.T) {
	e := testkit.Must(New(Config{}))
	l := &loop{engine: e, woken: true} // no wake-up is needed: the test is the loop, too
	conns := make([]*Conn, 3)
	for i := range conns {
		conns[i] = &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&recordingConn{}}, loop: l}
		conns[i].state.Store(stateBound)
	}
	send := func(c *Conn, body string) {
		t.Helper()
		if err := c.Send(1, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	broadcast := func(body string) {
		t.Helper()
		if n, err := e.Broadcast(slices.Values(conns), &protocol.Message{Type: 1, Body: []byte(body)}, nil); n != len(conns) || err != nil {
			t.Fatalf("Broadcast returned %d, %v", n, err)
		}
	}
	flush := func() { runAll(l) }
	for range 3 { // queues are used again
		broadcast("alone") // written to one after the other while the next ones still hold it
		flush()
		send(conns[0], "before")
		broadcast("all")
		send(conns[1], "after")
		broadcast("again")
		flush()
		for i, want := range [][]string{{"alone", "before", "all", "again"}, {"alone", "all", "after", "again"}, {"alone", "all", "again"}} {
			gc := conns[i].tcp.gc.(*recordingConn)
			var got []string
			for m := (protocol.Message{}); len(gc.written) > 0; {
				n, _, err := protocol.Binary.Decode(gc.written, &m, protocol.DecodeOptions{})
				if n == 0 || err != nil {
					t.Fatalf("%x: %v", gc.written, err)
				}
				got, gc.written = append(got, string(m.Body)), gc.written[n:]
			}
			if !slices.Equal(got, want) {
				t.Errorf("connection %d was sent %q, want %q", i, got, want)
			}
		}
	}
}

// slicedCodec is a codec whose values cannot be compared.
type slicedCodec struct {
	protocol.Codec
	_ []int
}

// The frame of a codec that cannot be compared is not kept, because it could not be found again: a broadcast to ten thousand would
// hold as many copies, and go through all of them for each connection.
func TestABroadcastKeepsNoFrameThatCannotBeFound(t *testing.T) {
	var frames []*frame
	m := &protocol.Message{Type: 1}
	for _, codec := range []protocol.Codec{slicedCodec{Codec: protocol.Binary}, protocol.Binary, slicedCodec{Codec: protocol.Binary}, protocol.Line, protocol.Binary, protocol.Line} {
		if f, err := frameOf(&frames, codec, m); err != nil || len(f.b) == 0 {
			t.Fatalf("%T: %v, %v", codec, f, err)
		}
	}
	if len(frames) != 2 {
		t.Errorf("%d frames are kept, want one for each format that is found again", len(frames))
	}
}
