package engine

import (
	"crypto/tls"
	"errors"
	"io"
)

// A socket moves a connection's bytes; a stream is what the codec's bytes go through on their way to it, such as TLS. The
// rest of the package knows neither gnet nor TLS. Only the connection's event loop calls their methods, but for
// stream.security.

// socket is the lowest layer of a connection.
type socket interface {
	// peek returns all that has come. It may be changed in place, and is valid until discard, or until the loop goes on.
	peek() []byte
	// discard drops n bytes of what has come, or all where n is negative.
	discard(n int)
	// buffered returns how many bytes have come and were not discarded.
	buffered() int
	// write returns how many bytes of b the network has taken, and keeps none of b's memory: the connection keeps the rest. A
	// failure closes the connection inside the call. alone says that the scheduler need not hear of the write: see Conn.write.
	write(b []byte, alone bool) (taken int)
	// awaitRoom has the loop told of the connection, once, when the network takes more. It reports false where that is not
	// to be learnt: the loop looks then.
	awaitRoom(c *Conn) bool
	// shutdown ends our side: nothing is written any more.
	shutdown() error
	// unacknowledged returns how many bytes the network has taken and the peer has not; 0 where that cannot be known.
	unacknowledged() int
	// close closes the socket, which leads to Conn.onClose inside the call. reset has the network forget what it holds.
	close(reset bool) error
}

// stream stands between the codec and the socket.
type stream interface {
	// arrived is called when the socket has got bytes: it unwraps them and has them delivered. It reports whether the peer
	// has ended its side and the socket is to be closed.
	arrived() (over bool)
	// peek, discard and buffered are those of a socket, of what was unwrapped; buffered counts what has come of a piece that
	// is not whole, too.
	peek() []byte
	discard(n int)
	buffered() int
	// wrap wraps the beginning of frames, or all. It returns what is to be written, valid until the loop goes on, and how many
	// bytes of frames that is. An error says that the stream is broken: nothing more can be written, but for what it returns.
	wrap(frames []byte) (wire []byte, n int, err error)
	// finish has the connection tell the peer, in the stream's words, that nothing more will be sent.
	finish()
	// ended is called when the socket has ended with err, before the connection hears of it. It returns what the end means
	// for the connection.
	ended(err error) error
	// security returns what is known of the peer, nil where nothing is encrypted. Any goroutine may call it.
	security() *tls.ConnectionState
}

// layers are the socket and the stream of a connection that is more than plain TCP on gnet. They never change: a connection
// gets others instead.
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

// peek returns the codec's bytes that have come and were not taken, nor gathered.
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

// discard takes n of them, or all where n is negative.
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

// buffered returns how many there are, those that were gathered too, and with what has come of a piece of the stream that is not
// whole.
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
