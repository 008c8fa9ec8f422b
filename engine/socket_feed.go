package engine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/contain"
)

// feedSocket is a socket on a net.Conn of any kind. One goroutine reads from the net.Conn and another writes to it, so
// that the event loop never waits for it. The reader hands bytes to the loop; the loop hands bytes to the writer.
//
// The goroutines belong to Engine.ServeConn: its caller's goroutine reads, and it waits for the writer. Closing the
// net.Conn ends both. A third goroutine calls Close, because Close may take long, and a Write may return only when
// Close is called.
type feedSocket struct {
	engine  *Engine
	nc      net.Conn
	network string // of nc's LocalAddr
	conn    *Conn
	loop    *loop
	layers  layers

	// Only the event loop uses these.
	in        []byte // bytes that have come and were not taken
	lent      bool   // in lies in the reader's buffer
	peerEnded bool   // the peer has ended its side, while the writer is still writing
	over      bool   // the connection has ended

	fresh []byte        // bytes that the reader has read; only the loop uses them until taken
	taken chan struct{} // the loop has used fresh. The reader reads no more before that, so backpressure reaches the peer

	mu      sync.Mutex // a leaf
	out     []byte     // bytes to be written
	writing int        // bytes that the writer is writing
	shut    bool       // no more bytes come after out
	awaits  bool       // the loop is to be told when there is room
	failure error      // why reading or writing ended; nil for the peer's end

	kick    chan struct{} // wakes the writer
	quit    chan struct{} // closed when the connection has ended: nothing more is handed to the loop
	written chan struct{} // closed when the writer has ended
	closed  chan struct{} // closed when nc is

	ending, hangingUp sync.Once
}

const (
	// feedHolds is how many unwritten bytes a feedSocket takes. It corresponds to the kernel's send buffer.
	feedHolds = 64 << 10
	// feedPiece is how many bytes are written at a time. A peer that takes so many within Timeouts.Write is not
	// stalled.
	feedPiece = 16 << 10
	// feedLeast and feedMost limit the size of the read buffer. It grows for a peer that fills it, and shrinks again
	// after feedShrinks reads in a row that did not need its size.
	feedLeast, feedMost, feedShrinks = 4 << 10, 64 << 10, 8
	// feedEmpty is how many reads in a row may return no bytes.
	feedEmpty = 100
)

var errCount = errors.New("rollcall: the connection says that it has read or written more than it can have")

func newFeedSocket(e *Engine, nc net.Conn) *feedSocket {
	return &feedSocket{engine: e, nc: nc, taken: make(chan struct{}, 1), kick: make(chan struct{}, 1), quit: make(chan struct{}),
		written: make(chan struct{}), closed: make(chan struct{})}
}

// open gives the connection to the event loop with the fewest feedSockets, and waits until the loop has it.
func (s *feedSocket) open(c *Conn) error {
	e := c.engine
	l := e.loops[0]
	for _, other := range e.loops[1:] {
		if other.feeds.Load() < l.feeds.Load() {
			l = other
		}
	}
	s.conn, s.loop, s.layers.sock = c, l, s
	if web := c.webSocket(); web != nil {
		web.layers.sock = s
	} else {
		c.layers.Store(&s.layers)
	}
	l.feeds.Add(1)
	return l.take(func() { c.opened(l) })
}

// readAll reads and hands the bytes to the loop, until the peer or the connection has ended.
func (s *feedSocket) readAll() { s.contain("Read", s.read) }

func (s *feedSocket) read() {
	buf := make([]byte, feedLeast)
	arrived := s.arrived
	for empty, small := 0, 0; ; {
		n, err := s.nc.Read(buf)
		if n < 0 || n > len(buf) {
			n, err = 0, errCount
		}
		if n > 0 {
			empty = 0
			s.fresh = buf[:n]
			s.loop.post(arrived)
			select {
			case <-s.taken:
			case <-s.quit:
				return
			}
			if small++; n > feedLeast || len(buf) == feedLeast {
				small = 0
			}
			switch {
			case n == len(buf) && n < feedMost:
				buf = make([]byte, 2*n)
			case small == feedShrinks:
				buf = make([]byte, feedLeast)
			}
		} else if empty++; err == nil && empty == feedEmpty {
			err = io.ErrNoProgress
		}
		if err != nil {
			s.ended(err)
			return
		}
	}
}

// ended tells the loop why reading or writing ended.
func (s *feedSocket) ended(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // the latter is a tls.Conn's error for an end without close_notify, which counts like an end of TCP
		err = io.EOF
	}
	if err != io.EOF {
		s.mu.Lock()
		if s.failure == nil {
			s.failure = err
		}
		s.mu.Unlock()
	}
	s.loop.post(func() {
		s.conn.guardOnLoop(func() {
			if err == io.EOF && s.conn.is(isShut) && s.unacknowledged() > 0 { // the writer will find out how much the peer has taken
				s.peerEnded = true
				return
			}
			_ = s.end(err, err != io.EOF)
		})
	})
}

// arrived is called on the loop with the bytes that the reader has read.
func (s *feedSocket) arrived() {
	defer s.tookFresh()
	if s.over || s.conn.gone {
		return
	}
	if s.lent = len(s.in) == 0; s.lent {
		s.in = s.fresh
	} else {
		s.in = append(s.in, s.fresh...)
	}
	s.conn.guardOnLoop(s.deliver)
}

func (s *feedSocket) deliver() {
	if s.conn.arrived() {
		_ = s.close(false)
	}
}

// tookFresh lets the reader continue.
func (s *feedSocket) tookFresh() {
	switch {
	case len(s.in) == 0:
		s.in = nil
	case s.lent:
		s.in = bytes.Clone(s.in)
	}
	s.lent, s.fresh = false, nil
	s.taken <- struct{}{}
}

func (s *feedSocket) peek() []byte { return s.in }

func (s *feedSocket) discard(n int) {
	if n < 0 || n >= len(s.in) {
		s.in = nil
		return
	}
	s.in = s.in[n:]
}

func (s *feedSocket) buffered() int { return len(s.in) }

func (s *feedSocket) write(b []byte, _ bool) (taken int) {
	s.mu.Lock()
	taken = max(min(len(b), feedHolds-len(s.out)-s.writing), 0)
	s.out = append(s.out, b[:taken]...)
	s.mu.Unlock()
	s.kickWriter()
	return taken
}

func (s *feedSocket) kickWriter() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *feedSocket) awaitRoom(c *Conn) bool {
	s.mu.Lock()
	room := s.hasRoom()
	s.awaits = !room
	s.mu.Unlock()
	if room {
		s.loop.markOutput(c)
	}
	return true
}

// hasRoom reports whether there is enough room to hand over more. s.mu is held on entry.
func (s *feedSocket) hasRoom() bool { return len(s.out)+s.writing <= feedHolds/2 }

// writeAll writes the bytes that the loop hands over, until the loop has ended the connection or our side of it.
func (s *feedSocket) writeAll() {
	defer close(s.written)
	s.contain("Write", s.writeOn)
}

func (s *feedSocket) writeOn() {
	var spare []byte
	for {
		s.mu.Lock()
		b, shut := s.out, s.shut
		if len(b) > 0 {
			s.out, s.writing, spare = spare, len(b), nil
		}
		s.mu.Unlock()
		switch {
		case len(b) > 0:
			if err := s.writePieces(b); err != nil {
				s.ended(err)
				return
			}
			if cap(b) <= feedLeast { // an idle connection keeps little
				spare = b[:0]
			}
			continue
		case shut:
			if err := closeWrite(s.nc); err == nil || !errors.Is(err, errors.ErrUnsupported) {
				s.loop.post(func() { s.conn.guardOnLoop(s.finished) })
			} else {
				s.loop.post(func() { s.conn.guardOnLoop(s.conn.closeNow) }) // only the end of the whole connection tells the peer
			}
			return
		}
		select {
		case <-s.kick:
		case <-s.quit:
			if !s.drains() {
				return
			}
		}
	}
}

// drains reports whether the writer still has bytes to write after the connection has ended.
func (s *feedSocket) drains() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) > 0
}

func (s *feedSocket) writePieces(b []byte) error {
	for len(b) > 0 {
		piece := b[:min(len(b), feedPiece)]
		n, err := s.nc.Write(piece)
		if n < 0 || n > len(piece) {
			n, err = 0, errCount
		} else if n == 0 && err == nil {
			err = io.ErrShortWrite
		}
		b = b[n:]
		s.mu.Lock()
		s.writing = len(b)
		tell := s.awaits && err == nil && s.hasRoom()
		s.awaits = s.awaits && !tell
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if tell {
			s.loop.markOutput(s.conn)
		}
	}
	return nil
}

// finished is called on the loop when all is written, and our side has ended.
func (s *feedSocket) finished() {
	switch {
	case s.peerEnded:
		_ = s.end(io.EOF, false)
	case s.conn.is(isPeerEnded):
		s.conn.closeNow()
	}
}

func (s *feedSocket) shutdown() error {
	s.mu.Lock()
	s.shut = true
	s.mu.Unlock()
	s.kickWriter()
	return nil
}

// unacknowledged counts the bytes that are not written yet. How many of the written ones the peer has taken is unknown.
func (s *feedSocket) unacknowledged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) + s.writing
}

func (s *feedSocket) close(reset bool) error {
	var err error
	if s.conn.is(isPeerEnded) && s.conn.state.Load() < stateClosing { // it ends because its peer has
		err = io.EOF
	}
	return s.end(err, reset || s.conn.is(isForced)) // bytes that the peer did not take in time are discarded
}

// end ends the connection. It runs on the loop. The bytes that feedSocket has taken are still written, as a kernel
// would do, but not after a reset.
func (s *feedSocket) end(err error, reset bool) error {
	if s.over {
		return nil
	}
	if s.peerEnded && err != nil {
		err = io.EOF
	}
	s.conn.ended(err)
	if !s.conn.gone { // the connection continues after the end of its peer's side
		return nil
	}
	s.over, s.in = true, nil
	s.loop.feeds.Add(-1)
	s.release(reset)
	return nil
}

// release ends the goroutines and closes the net.Conn: when all is written, or after a time limit, or at once with
// reset.
func (s *feedSocket) release(reset bool) {
	s.ending.Do(func() {
		if reset {
			s.mu.Lock()
			s.out = nil
			s.mu.Unlock()
		}
		close(s.quit)
		go func() {
			if !reset {
				t := time.NewTimer(lingerTime)
				defer t.Stop()
				select {
				case <-s.written:
				case <-t.C:
				}
			}
			_ = s.hangUp()
		}()
	})
}

// hangUp closes the net.Conn, once.
func (s *feedSocket) hangUp() (err error) {
	s.hangingUp.Do(func() {
		defer close(s.closed)
		contain.Apart(func() { err = s.nc.Close() }, func(v any) { s.panicked("Close", v) })
	})
	return err
}

// security returns the state of a tls.Conn.
func (s *feedSocket) security() *tls.ConnectionState {
	if t, ok := s.nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := t.ConnectionState()
		return &state
	}
	return nil
}

// closeWrite ends our side of a connection. The error is errors.ErrUnsupported for a connection that cannot end one
// side.
func closeWrite(nc net.Conn) error {
	if w, ok := nc.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
