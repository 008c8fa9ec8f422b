package engine

import (
	"bytes"
	"testing"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// bufferingConn is gnet's side of a connection, with gnet's two buffers: what a read has brought, and what was left of those
// before it. It counts the bytes that it copies.
type bufferingConn struct {
	gnet.Conn
	left, read []byte
	copied     int
}

func (c *bufferingConn) Fd() int                     { return -1 }
func (c *bufferingConn) InboundBuffered() int        { return len(c.left) + len(c.read) }
func (c *bufferingConn) OutboundBuffered() int       { return 0 }
func (c *bufferingConn) Write(p []byte) (int, error) { return len(p), nil }

func (c *bufferingConn) Peek(n int) ([]byte, error) {
	if len(c.left) == 0 {
		return c.read, nil
	}
	c.copied += c.InboundBuffered()
	return append(bytes.Clone(c.left), c.read...), nil
}

func (c *bufferingConn) Discard(n int) (int, error) {
	if n <= 0 || n >= c.InboundBuffered() {
		c.left, c.read = nil, nil
		return n, nil
	}
	m := min(n, len(c.left))
	c.left, c.read = c.left[m:], c.read[n-m:]
	return n, nil
}

// brings is one read.
func (c *bufferingConn) brings(l *loop, conn *Conn, b []byte) {
	c.read = b
	l.read(conn)
	c.copied += len(c.read)
	c.left, c.read = append(c.left, c.read...), nil
}

// countingCodec counts the bytes that a codec looks at.
type countingCodec struct {
	protocol.Codec
	looked *int
}

func (c countingCodec) Decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (int, int, error) {
	*c.looked += len(src) - o.Seen
	return c.Codec.Decode(src, m, o)
}

// prefixed is a frame with a length before it; it wants a byte at a time, whatever the length says.
type prefixed struct{}

func (prefixed) Decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (n, need int, err error) {
	if len(src) < 4 || len(src) < 4+int(src[0])<<16+int(src[1])<<8+int(src[2]) {
		return 0, len(src) + 1, nil
	}
	n = 4 + int(src[0])<<16 + int(src[1])<<8 + int(src[2])
	*m = protocol.Message{Type: 1, Body: src[4:n]}
	return n, 0, nil
}

func (prefixed) Append(dst []byte, m *protocol.Message) ([]byte, error) { return dst, nil }

func line(size int) []byte { return append(bytes.Repeat([]byte{'x'}, size), '\n') }

// A message that comes a byte at a time takes work in proportion to its size: twice the size, twice the bytes that are looked
// at and copied. The frame is the second of a read, and another begins behind it.
func TestAFrameThatComesInPiecesTakesLinearWork(t *testing.T) {
	for name, tc := range map[string]struct {
		codec protocol.Codec
		frame func(size int) []byte
		first bool
	}{
		"lines":          {protocol.Line, line, false},
		"the first line": {protocol.Line, func(size int) []byte { return append([]byte("ann\tk="), line(size)...) }, true},
		"a length before": {prefixed{}, func(size int) []byte {
			return append([]byte{byte(size >> 16), byte(size >> 8), byte(size), 0}, make([]byte, size)...)
		}, false},
		"the binary format": {protocol.Binary, func(size int) []byte {
			b, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, Body: make([]byte, size)})
			return b
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			work := func(size int) int {
				e := testkit.Must(New(Config{Logger: zap.NewNop(), Limits: Limits{MaxFirstFrame: 1 << 20}}))
				var sizes []int
				e.HandleDefault(func(_ *Conn, m *protocol.Message) error { sizes = append(sizes, len(m.Body)); return nil })
				looked := 0
				gc := &bufferingConn{}
				l := &loop{engine: e}
				c := &Conn{setup: e.newSetup(countingCodec{tc.codec, &looked}), tcp: gnetSocket{gc}, loop: l, binding: noBinding{}}
				c.state.Store(stateBound)
				if tc.first {
					c.state.Store(stateAccepted)
					e.handlers.pages = [256]*[256]Handler{}
				}
				f := tc.frame(size)
				if !tc.first {
					gc.brings(l, c, append(tc.frame(10), f[:1]...))
				}
				for i := 1; i < len(f); i++ {
					if tc.first && i == 1 {
						gc.brings(l, c, f[:1])
					}
					piece := f[i : i+1]
					if i == len(f)-1 {
						piece = append(bytes.Clone(piece), tc.frame(20)[:10]...)
					}
					gc.brings(l, c, piece)
				}
				if tc.first {
					return looked + gc.copied
				}
				if len(sizes) != 2 || sizes[1] != size {
					t.Fatalf("messages of %v bytes were delivered, want the second of %d", sizes, size)
				}
				if c.buffered() != 10 {
					t.Errorf("%d bytes wait, want the 10 of the next frame", c.buffered())
				}
				if g := c.gathering(); g != nil && cap(g.b) > 1000 {
					t.Errorf("10 bytes keep %d", cap(g.b))
				}
				return looked + gc.copied
			}
			once, twice := work(8_000), work(16_000)
			if twice > once*22/10 || once > 20*8_000 {
				t.Errorf("%d bytes of work for a message of 8,000 bytes, %d for one of 16,000", once, twice)
			}
		})
	}
}
