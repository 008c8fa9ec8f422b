package engine

import (
	"crypto/tls"
	"errors"
	"io"
)

// A socket moves a connection's bytes. A stream, such as TLS, wraps and unwraps the codec's bytes above the socket. The
// rest of the package knows neither gnet nor TLS. Only the connection's event loop calls the methods of both, except
// stream.security.

// socket is the lowest layer of a connection.
type socket interface {
	// peek returns all bytes that have come. They may be changed in place, and are valid until discard, or until the
	// loop's next step.
	peek() []byte
	// discard drops n of the bytes that have come, or all when n is negative.
	discard(n int)
	// buffered returns how many bytes have come and were not discarded.
	buffered() int
	// write writes b and returns how many bytes the network has taken. It keeps none of b's memory; the connection
	// keeps the rest. A failure closes the connection inside the call. alone means that the scheduler need not be told
	// of the write: see Conn.write.
	write(b []byte, alone bool) (taken int)
	// awaitRoom has the loop told, once, when the network takes more of the connection's bytes. It reports false where
	// the system cannot tell; then the loop looks from time to time.
	awaitRoom(c *Conn) bool
	// shutdown ends our side: no more bytes are written.
	shutdown() error
	// unacknowledged returns how many bytes the network has taken and the peer has not; 0 where that is unknown.
	unacknowledged() int
	// close closes the socket, and calls Conn.onClose inside the call. With reset the network discards the bytes that
	// it holds.
	close(reset bool) error
}

// stream is a layer between the codec and the socket.
type stream interface {
	// arrived is called when the socket has got bytes: it unwraps them and has them delivered. It reports whether the peer
	// has ended its side and the socket is to be closed.
	arrived() (over bool)
	// peek, discard and buffered are as those of a socket, but for the unwrapped bytes. buffered also counts the bytes
	// of a piece that is not whole.
	peek() []byte
	discard(n int)
	buffered() int
	// wrap wraps the beginning of frames, or all of it. It returns the bytes to be written, valid until the loop's next
	// step, and how many bytes of frames they have. An error means that the stream is broken: after the returned bytes
	// no more can be written.
	wrap(frames []byte) (wire []byte, n int, err error)
	// finish has the connection send the stream's own end, such as close_notify.
	finish()
	// ended is called when the socket has ended with err, before the connection is told. It returns the error for the
	// connection.
	ended(err error) error
	// security returns the state of TLS; nil where nothing is encrypted. Any goroutine may call it.
	security() *tls.ConnectionState
}

// layers holds the socket and the stream of a connection that is not plain TCP on gnet. It never changes: a connection
// gets a new one instead.
type layers struct {
	sock   socket
	stream stream // nil for none
}

// stream returns the connection's stream, or nil.
func (c *Conn) stream() stream {
	if l := c.layers.Load(); l != nil {
		return l.stream
	}
	return nil
}

// sock returns the connection's lowest layer.
func (c *Conn) sock() socket {
	if l := c.layers.Load(); l != nil {
		return l.sock
	}
	return &c.tcp
}

// arrived is called on the loop when the socket has got bytes. It reports whether it is to be closed.
func (c *Conn) arrived() (over bool) {
	if s := c.stream(); s != nil {
		return s.arrived()
	}
	c.loop.read(c)
	return false
}

// peek returns the codec's bytes that have come and were neither taken nor gathered.
func (c *Conn) peek() []byte {
	l := c.layers.Load()
	switch {
	case l == nil:
		return c.tcp.peek()
	case l.stream != nil:
		return l.stream.peek()
	}
	return l.sock.peek()
}

// discard takes n of these bytes, or all when n is negative.
func (c *Conn) discard(n int) {
	if n < 0 {
		c.endGathering()
	}
	l := c.layers.Load()
	switch {
	case l == nil:
		c.tcp.discard(n)
	case l.stream != nil:
		l.stream.discard(n)
	default:
		l.sock.discard(n)
	}
}

// buffered returns how many bytes have come and were not taken, with the gathered bytes and with those of a piece of
// the stream that is not whole.
func (c *Conn) buffered() (n int) {
	if g := c.gathering(); g != nil {
		n = len(g.b)
	}
	l := c.layers.Load()
	switch {
	case l == nil:
		return n + c.tcp.buffered()
	case l.stream != nil:
		return n + l.stream.buffered()
	}
	return n + l.sock.buffered()
}

// ended is called on the loop when the socket has ended with err.
func (c *Conn) ended(err error) {
	s := c.stream()
	if s != nil && !c.is(isPeerEnded) {
		err = s.ended(err)
	}
	if errors.Is(err, io.EOF) && c.peerEnded() {
		return
	}
	c.onClose(err)
	if s != nil {
		s.discard(-1)
	}
}
