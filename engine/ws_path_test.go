package engine

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// webPath is a connection that speaks WebSocket, without a socket.
type webPath struct {
	*Conn
	gc     *recordingConn
	ws     *wsStream
	masked []byte // what the client sends
	plain  []byte // what it gets back
	in     []byte // memory for masked, which a read changes
}

// newWebPath returns a connection on a loop whose client sends messages of these sizes, headers included, in each read.
func newWebPath(l *loop, sizes ...int) *webPath {
	gc := &recordingConn{}
	c := &Conn{setup: l.engine.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l, userID: "alice", binding: &memoryBinding{}, userBound: true}
	c.state.Store(stateBound)
	p := &webPath{Conn: c, gc: gc, ws: &wsStream{place: -1}}
	p.ws.join(c, nil)
	for i, size := range sizes {
		m := protocol.Message{Type: 1, ID: uint32(i + 1), Body: bytes.Repeat([]byte{byte('a' + i%26)}, size-16)}
		frame, _ := protocol.Binary.Append(nil, &m)
		p.masked = wsframe.AppendMasked(p.masked, wsframe.Binary, frame, uint32(i+1)*0x9E3779B9)
		m.Flags = protocol.FlagReply
		p.plain, _ = protocol.Binary.Append(p.plain, &m)
	}
	p.in = slices.Clone(p.masked)
	return p
}

// read has the loop read what the client sends.
func (p *webPath) read() {
	copy(p.in, p.masked)
	p.gc.in, p.gc.written = p.in, p.gc.written[:0]
	p.ws.arrived()
}

// newEchoLoop returns a loop that a test runs itself, of an engine that answers each message with its body.
func newEchoLoop() *loop {
	e := testkit.Must(New(Config{}))
	e.HandleDefault(func(c *Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	return &loop{engine: e}
}

// The replies of a read are one message of whole frames, however much the loop's other connections had to say before, and however
// the memory for replies grows.
func TestRepliesOverWebSocketAreWholeWhateverTheirSize(t *testing.T) {
	l := newEchoLoop()
	var paths []*webPath
	for _, sizes := range [][]int{{20}, {64, 64, 64}, {16}, {5000, 20}, {100, 70_000, 30}, {126 + 16}, {17, 300_000}, {125, 125}} {
		paths = append(paths, newWebPath(l, sizes...))
	}
	inFront := 0
	for round := range 4 {
		for i, p := range paths {
			p.read()
			if b := l.batch.b; cap(b) > 0 && l.isInFront(b[:1]) {
				inFront++
			}
			var r wsframe.Reader
			var f wsframe.Found
			r.FromServer = true
			n, used, err := r.Unwrap(p.gc.written, &f)
			if err != nil || used != len(p.gc.written) || r.MidMessage() || !bytes.Equal(p.gc.written[:n], p.plain) {
				t.Fatalf("round %d, connection %d: %d bytes of %d are a message with %d of %d bytes: %v", round, i, used, len(p.gc.written), n, len(p.plain), err)
			}
		}
	}
	if inFront == 0 || inFront == 4*len(paths) {
		t.Errorf("after %d of %d reads the batch had room for a header before it: the others are not tested", inFront, 4*len(paths))
	}
}

// In a PingInterval 8 KiB of control frames may come, and in the next one again; they are not among the frames with nothing in them. So a page that
// only answers Pings stays.
func TestControlFramesAreCountedAnew(t *testing.T) {
	p := newWebPath(newEchoLoop(), 64)
	p.setup.web = &webListener{looks: 1}
	pong := wsframe.AppendMasked(nil, wsframe.Pong, nil, 1)
	p.masked = bytes.Repeat(pong, wsMostControls/len(pong))
	p.in = slices.Clone(p.masked)
	for i := range 100 {
		p.read()
		if state := p.state.Load(); state != stateBound {
			t.Fatalf("after %d PingIntervals the connection is in state %d", i, state)
		}
		for range 2 { // looks in a PingInterval
			p.loop.webs.pass++
			p.ws.look()
		}
	}
}

// countedConn counts what is asked of it.
type countedConn struct {
	recordingConn
	peeks, discards, used int
}

func (c *countedConn) Peek(n int) ([]byte, error) {
	c.peeks++
	return c.recordingConn.Peek(n)
}

func (c *countedConn) Discard(n int) (int, error) {
	c.discards++
	c.used += n
	return n, nil
}

// The bytes of a read are asked for once and dropped once, and all of them are unmasked before the first message is delivered. Where the
// connection ends within the read, what is left of them is neither read, nor kept, nor written to: gnet may have given the memory to another.
func TestAReadIsUnwrappedInPlace(t *testing.T) {
	for _, ends := range []uint32{0, 2} { // at a message
		l := newEchoLoop()
		l.woken = true // no wake-up is needed
		p := newWebPath(l, 64, 200, 64, 100)
		p.setup.web = new(webListener)
		gc := &countedConn{}
		p.tcp = gnetSocket{gc}
		masked := p.masked[:len(p.masked)-20] // of the last frame a part has come
		p.in = slices.Clone(masked)
		gc.in = p.in
		var handled []uint32
		l.engine.HandleDefault(func(c *Conn, m *protocol.Message) error {
			if handled = append(handled, m.ID); m.ID == 1 && !bytes.Contains(p.in, bytes.Repeat([]byte("c"), 48)) {
				t.Error("the third message is not unmasked when the first is delivered")
			}
			if m.ID == ends {
				c.ended(net.ErrClosed)
				for i := range p.in {
					p.in[i] = 0xEE
				}
				gc.peeks, gc.discards = 0, 0
			}
			return nil
		})
		p.ws.arrived()
		if ends == 0 {
			if gc.peeks != 1 || gc.discards != 1 || gc.used != len(masked) || !slices.Equal(handled, []uint32{1, 2, 3}) {
				t.Errorf("%d Peek, %d Discard of %d bytes of %d, messages %v", gc.peeks, gc.discards, gc.used, len(masked), handled)
			}
			continue
		}
		if gc.peeks > 0 || gc.discards > 0 || !slices.Equal(handled, []uint32{1, 2}) {
			t.Errorf("after the end there were %d Peek and %d Discard; messages %v", gc.peeks, gc.discards, handled)
		}
		if bytes.Count(p.in, []byte{0xEE}) != len(p.in) {
			t.Error("after the end the memory was written to")
		}
		if p.ws.peek() != nil || p.ws.rare != nil && p.ws.rare.plain != nil {
			t.Error("after the end there are bytes that wait")
		}
	}
}

// BenchmarkWebSocketPath is BenchmarkMessagePath with frames that are taken off and put on. Each read's bytes are copied first, because
// unwrapping changes them.
func BenchmarkWebSocketPath(b *testing.B) {
	for _, c := range []struct{ n, size int }{{32, 64}, {8, 4096}, {1, 64}} {
		b.Run(fmt.Sprintf("%dx%d", c.n, c.size), func(b *testing.B) {
			p := newWebPath(newEchoLoop(), slices.Repeat([]int{c.size}, c.n)...)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				p.read()
				n += c.n
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
		})
	}
}
