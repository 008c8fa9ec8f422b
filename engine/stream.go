package engine

import "crypto/tls"

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
	// write takes all of b, and keeps none of its memory. A failure closes the connection inside the call. alone says that
	// the scheduler need not hear of the write: see Conn.write.
	write(b []byte, alone bool)
	// held returns how many bytes of those written the network has not taken.
	held() int
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
	// write wraps frames and writes them to the socket. An error says that the stream is broken.
	write(frames []byte, alone bool) error
	// finish tells the peer that nothing more will be sent, and reports whether the network has taken it.
	finish() (taken bool)
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

// peek returns the codec's bytes that have come and were not taken.
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

// buffered returns how many there are, with what has come of a piece of the stream that is not whole.
func (c *Conn) buffered() int {
	l := c.layers.Load()
	switch {
	case l == nil:
		return c.tcp.buffered()
	case l.stream != nil:
		return l.stream.buffered()
	}
	return l.sock.buffered()
}

// held returns how many bytes the network has not taken.
func (c *Conn) held() int {
	if l := c.layers.Load(); l != nil {
		return l.sock.held()
	}
	return c.tcp.held()
}

// transmit writes whole frames. A failure of the socket closes the connection inside the call; an error is the stream's.
func (c *Conn) transmit(frames []byte, alone bool) error {
	l := c.layers.Load()
	switch {
	case l == nil:
		c.tcp.write(frames, alone)
	case l.stream != nil:
		return l.stream.write(frames, alone)
	default:
		l.sock.write(frames, alone)
	}
	return nil
}

// ended is called on the loop when the socket has ended with err.
func (c *Conn) ended(err error) {
	s := c.stream()
	if s != nil {
		err = s.ended(err)
	}
	c.onClose(err)
	if s != nil {
		s.discard(-1)
	}
}
