package engine

import (
	"bytes"
	"fmt"
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
