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

// feedSocket is a net.Conn of any kind. One goroutine reads from it and one writes to it, so that the event loop never waits for
// it: the loop is handed what has come, and hands over what is to be written.
//
// The goroutines belong to Engine.ServeConn: its caller's reads, and it waits for the one that writes. Closing the net.Conn ends
// both; that happens on a third one, since Close may take its time too, and a Write may never return by itself.
type feedSocket struct {
	engine *Engine
	nc     net.Conn
	conn   *Conn
	loop   *loop
	layers layers

	// Only the event loop uses these.
	in        []byte // has come and was not taken
	lent      bool   // in lies in the reader's buffer
	peerEnded bool   // the peer has ended its side, while the writer still has something in hand
	over      bool   // the connection has ended

	fresh []byte        // what the reader has read. It is the loop's until taken
	taken chan struct{} // the loop has dealt with fresh: backpressure reaches the peer, since nothing is read before that

	mu      sync.Mutex // a leaf
	out     []byte     // is to be written
	writing int        // bytes that the writer has in hand
	shut    bool       // nothing comes after out
	awaits  bool       // the loop is to be told when there is room
	failure error      // why reading or writing came to an end, but for the peer's end

	kick    chan struct{} // the writer has something to do
	quit    chan struct{} // closed when the connection has ended: nothing more is handed to the loop
	written chan struct{} // closed when the writer has ended
	closed  chan struct{} // closed when nc is

	ending, hangingUp sync.Once
}

const (
	// feedHolds is how many bytes a feedSocket takes that are not yet written: it stands for the kernel's buffer.
	feedHolds = 64 << 10
	// feedPiece is how many bytes are written at a time. A peer that takes so many within Timeouts.Write takes something.
	feedPiece = 16 << 10
	// feedLeast and feedMost are the sizes of what is read into, which grows for a peer that fills it, and shrinks again when so many
	// reads in a row would not have needed it.
	feedLeast, feedMost, feedShrinks = 4 << 10, 64 << 10, 8
	// feedEmpty is how many reads may bring nothing, one after another.
	feedEmpty = 100
)

var errCount = errors.New("rollcall: the connection says that it has read or written more than it can have")

func newFeedSocket(e *Engine, nc net.Conn) *feedSocket {
	return &feedSocket{engine: e, nc: nc, taken: make(chan struct{}, 1), kick: make(chan struct{}, 1), quit: make(chan struct{}),
		written: make(chan struct{}), closed: make(chan struct{})}
}

// open gives the connection to the event loop that has the fewest of its kind, and waits until the loop has it.
func (s *feedSocket) open(c *Conn) error {
	e := c.engine
	l := e.loops[0]
	for _, other := range e.loops[1:] {
		if other.feeds.Load() < l.feeds.Load() {
			l = other
		}
	}
	s.conn, s.loop, s.layers.sock = c, l, s
	c.layers.Store(&s.layers)
	opened := make(chan bool, 1)
	l.feeds.Add(1)
	l.post(func() {
		if l.over.Load() {
			opened <- false
			return
		}
		c.opened(l)
		opened <- true
	})
	select {
	case ok := <-opened:
		if ok {
			return nil
		}
	case <-e.ended: // the loop is stuck in a handler, and was given up on
	}
	return ErrNotRunning
}

// readAll hands what comes to the loop, until the peer or the connection has ended.
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

// ended tells the loop why reading or writing came to an end.
func (s *feedSocket) ended(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // the latter is a tls.Conn's word for an end without close_notify, which is as one of TCP's
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
			if err == io.EOF && s.conn.is(isShut) && s.unacknowledged() > 0 { // the writer will know how much the peer has taken
				s.peerEnded = true
				return
			}
			_ = s.end(err, err != io.EOF)
		})
	})
}

// arrived is called on the loop with what the reader has read.
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

// tookFresh lets the reader go on.
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

// hasRoom reports whether it is worth while to write more. s.mu is held on entry.
func (s *feedSocket) hasRoom() bool { return len(s.out)+s.writing <= feedHolds/2 }

// writeAll writes what the loop hands over, until that has ended the connection, or our side of it.
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

// drains reports whether the writer, when the connection has ended, still has something to write.
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

// unacknowledged counts what is not yet written: of what was nothing is known.
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
	return s.end(err, reset || s.conn.is(isForced)) // what the peer did not take in time is not kept for it any longer
}

// end ends the connection. It runs on the loop. What was taken is still written, as the kernel would, but not after a reset.
func (s *feedSocket) end(err error, reset bool) error {
	if s.over {
		return nil
	}
	if s.peerEnded && err != nil {
		err = io.EOF
	}
	s.conn.ended(err)
	if !s.conn.gone { // it goes on without its peer's side
		return nil
	}
	s.over, s.in = true, nil
	s.loop.feeds.Add(-1)
	s.release(reset)
	return nil
}

// release ends the goroutines, and closes the net.Conn: when all is written, or a while later, or at once with reset.
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

// security returns what a tls.Conn knows of its peer.
func (s *feedSocket) security() *tls.ConnectionState {
	if t, ok := s.nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := t.ConnectionState()
		return &state
	}
	return nil
}

// closeWrite ends our side of a connection that can end one side: the error is errors.ErrUnsupported for others.
func closeWrite(nc net.Conn) error {
	if w, ok := nc.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
