package engine

import (
	"io"
	"net"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// A peer that ends its sending side (a FIN, or TLS's close_notify) sends no more requests; it may still read. What it sent
// before is handled and answered, and then the connection closes. gnet closes the descriptor of such a peer at once, so
// the connection continues on a duplicate: a tailSocket. All of this runs on the loop.

// peerEnded continues a connection whose peer has ended its sending side, if something is still to be sent. It reports
// false where nothing is, or where the system has no descriptor left: then the connection is over. It is called while
// the descriptor is still open.
func (c *Conn) peerEnded() bool {
	if c.gone || c.is(isPeerEnded) || !c.owed() {
		return false
	}
	if c.isOnGnet() { // a feedSocket needs no duplicate
		sock := newTailSocket(c)
		if sock == nil {
			return false
		}
		c.layers.Store(&layers{sock: sock, stream: c.stream()})
	}
	c.flags |= isPeerEnded
	c.mu.Lock()
	if state := c.state.Load(); state < stateClosing {
		if state == stateBound {
			c.setState(stateHalfClosed)
		}
		c.needLazy().closeBegan = c.loop.clock.Now()
		c.stopTimer()
		c.needLazy().timer = c.loop.clock.AfterFunc(c.engine.cfg.Timeouts.Close, func() { c.loop.post(c.closeNow) })
	}
	c.mu.Unlock()
	if c.state.Load() == stateHalfClosed {
		c.halfClosed()
	}
	if c.isEnding() {
		c.loop.post(func() { c.guardOnLoop(c.drain) })
	}
	return true
}

// halfClosed is called when a bound connection becomes half-closed: from now on it gets replies only.
func (c *Conn) halfClosed() {
	c.failRequests()
	if p, ok := c.binding.(seam.PeerEnder); ok && c.userBound {
		c.callBinding(c.binding, p.PeerEnded)
	}
}

// owed reports whether something is still to be sent to a peer that has ended its sending side.
func (c *Conn) owed() bool {
	switch c.state.Load() {
	case stateVerifying: // at least the answer to the first message
		return true
	case stateBound: // while the session is being replaced, the notice too
		return c.queued.Load() || c.quiet.Load() || c.box != nil && c.box.pending() || c.isHandledApart()
	case stateClosing:
		return !c.is(isShut)
	}
	return false
}

// isEnding reports whether the connection stays open only to send its remaining output.
func (c *Conn) isEnding() bool {
	s := c.state.Load()
	return s == stateHalfClosed || s == stateClosing
}

// pending reports whether a handler runs or will run.
func (b *mailbox) pending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.scheduled
}

// finishHalfClosed ends a half-closed connection when its handlers have returned and their answers are taken. While its
// session is being replaced the manager closes it.
func (c *Conn) finishHalfClosed() {
	if c.box != nil && c.box.pending() || c.quiet.Load() || c.isHandledApart() {
		return
	}
	if c.queued.Load() { // output calls finishHalfClosed again when all is written
		c.output()
		return
	}
	c.close(nil, &protocol.CloseError{Code: c.endCode(io.EOF)})
}

// failRequests fails the requests that the peer has not answered.
func (c *Conn) failRequests() {
	c.mu.Lock()
	var requests map[uint32]*request
	if x := c.lazy; x != nil {
		requests, x.requests = x.requests, nil
	}
	c.mu.Unlock()
	for _, r := range requests {
		switch {
		case r.inline:
			r.finish(nil, ErrClosed)
		case c.box != nil:
			c.box.put(c, item{request: r, err: ErrClosed})
		default: // on the loop, like a reply: the caller of Close may hold the application's locks
			c.loop.post(func() { c.call(func() { r.finish(nil, ErrClosed) }) })
		}
	}
}

// endTail closes the connection if gnet does not know it, or has forgotten it.
func (c *Conn) endTail() {
	if !c.isOnGnet() {
		c.closeNow()
	}
}

// tailSocket is the socket of a peer that has ended its sending side: a duplicate of the descriptor that gnet closes. Nothing
// is read from it.
type tailSocket struct {
	conn *Conn
	fd   int
	unix bool
	in   []byte // bytes that have come and were not taken
}

// newTailSocket returns nil where no descriptor is left.
func newTailSocket(c *Conn) *tailSocket {
	fd, err := c.tcp.duplicate()
	if err != nil {
		c.engine.log.Debug("a peer that has ended its side is not answered any more", zapConn(c), zapError(err))
		return nil
	}
	_, unix := c.sock().(unixSocket)
	return &tailSocket{conn: c, fd: fd, unix: unix, in: append([]byte(nil), c.tcp.peek()...)}
}

func (s *tailSocket) peek() []byte { return s.in }

func (s *tailSocket) discard(n int) {
	if n < 0 || n >= len(s.in) {
		s.in = nil
		return
	}
	s.in = s.in[n:]
}

func (s *tailSocket) buffered() int { return len(s.in) }

// write fails when the peer has stopped reading too.
func (s *tailSocket) write(b []byte, alone bool) (taken int) {
	n, ok := writeNow(s.fd, b, alone)
	if !ok {
		_ = s.end(net.ErrClosed)
		return len(b)
	}
	return n
}

func (s *tailSocket) awaitRoom(c *Conn) bool {
	w := c.engine.writable
	return w != nil && w.watch(s.fd, c.id)
}

func (s *tailSocket) shutdown() error     { return shutdownWrite(s.fd) }
func (s *tailSocket) unacknowledged() int { return unacknowledged(s.fd) }

func (s *tailSocket) close(reset bool) error {
	if reset {
		resetOnClose(s.fd)
	} else {
		readAway(s.fd)
	}
	return s.end(nil)
}

// end closes the socket. A connection that has not begun to close ends because its peer has ended.
func (s *tailSocket) end(err error) error {
	if s.conn.gone {
		return nil
	}
	if s.conn.state.Load() < stateClosing {
		err = io.EOF
	}
	s.conn.ended(err)
	fd := s.fd
	s.fd, s.in = -1, nil
	return closeDescriptor(fd)
}
