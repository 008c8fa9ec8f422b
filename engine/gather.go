package engine

import (
	"math"
	"slices"
)

// gathering holds the bytes of a frame that was found unfinished twice. gnet and TLS can show their buffers only as a
// whole, and copy them for that. So a frame that comes in many small pieces is taken out of these buffers piece by
// piece. The memory doubles as bytes come, and is freed when the last frame in it is whole. Only the event loop uses
// it.
type gathering struct {
	b    []byte // bytes that have come and were not delivered
	need int    // the length of b at which the codec is asked again; 0 where the codec has not found b unfinished
	seen int    // how much of b the codec has found unfinished
}

// gathers is Conn.need while there is a gathering.
const gathers = math.MaxUint32

// gathering returns the connection's, or nil.
func (c *Conn) gathering() *gathering {
	if c.need != gathers {
		return nil
	}
	return c.lazy.gathering // the loop has set both under c.mu, and no other goroutine changes either
}

func (c *Conn) endGathering() {
	if c.need == gathers {
		c.need, c.lazy.gathering = 0, nil
	}
}

// heldInbound returns the size of the memory that holds the bytes that have come. It runs on the loop.
func (c *Conn) heldInbound() int {
	n := c.buffered()
	if g := c.gathering(); g != nil {
		n += cap(g.b) - len(g.b)
	}
	return n
}

// lookAgain is called where a frame was found unfinished before. It reports whether the codec is to be asked again, and
// returns the gathering, or nil where the bytes are not gathered.
func (c *Conn) lookAgain() (g *gathering, ask bool) {
	if c.need != gathers && c.stream() == nil { // gnet gathers without copying until the bytes are peeked at
		return nil, c.buffered() >= int(c.need)
	}
	g = c.gather()
	return g, len(g.b) >= g.need
}

// gather moves the bytes that have come into the connection's own memory.
func (c *Conn) gather() *gathering {
	g := c.gathering()
	if g == nil {
		g = &gathering{need: int(c.need)}
		c.mu.Lock()
		c.needLazy().gathering = g
		c.mu.Unlock()
		c.need = gathers
	}
	if c.buffered() > len(g.b) {
		if b := c.peek(); len(b) > 0 { // with TLS there may be only a part of a record
			g.b = append(g.b, b...)
			c.discard(len(b))
		}
	}
	return g
}

// looked is called when the codec has looked at g or at the socket's bytes, and used bytes were delivered. again says
// that the frame was found unfinished before.
func (c *Conn) looked(g *gathering, used int, again bool) {
	switch {
	case g != nil:
	case used > 0:
		c.discard(used)
		return
	case again && c.need > 0 && c.state.Load() < stateClosing:
		g = c.gather()
	default:
		return
	}
	g.b = g.b[used:]
	if used > 0 && len(g.b) < cap(g.b)/4 { // so that a few bytes do not keep a large array
		g.b = slices.Clone(g.b)
	}
	g.seen = 0
	if g.need > 0 {
		g.seen = len(g.b)
	}
	if len(g.b) == 0 {
		c.endGathering()
	}
}
