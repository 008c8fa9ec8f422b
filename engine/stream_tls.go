package engine

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// tlsStream is the stream of a connection that speaks TLS, after its handshake: the tls.Conn stands between two buffers that
// the loop fills and empties, so that no goroutine reads for it.
type tlsStream struct {
	conn     *Conn
	layers   layers // this, and the socket below
	tls      *tls.Conn
	wire     wire
	plain    []byte    // decrypted and not yet taken; while arrived runs it may lie in the loop's buffer
	closed   bool      // the peer has said that it sends no more
	notified bool      // we have said so too
	begun    bool      // arrived has run
	above    *wsStream // takes the decrypted bytes; nil for none
}

const (
	// sealSize is how many bytes are encrypted before they are written: four records at least.
	sealSize = 64 << 10
	// openSize is the size of the loop's buffer for the bytes of a read and the rest of the read before. gnet reads 64
	// KiB at most.
	openSize = 2 * sealSize
	// maxHollow is how many bytes may come after the handshake without any byte of a message. A record has fewer, and
	// the upkeep of TLS a few dozen at a time. The limit is needed because a tls.Conn never frees memory that it took
	// for such bytes.
	maxHollow = 32 << 10
	// smallRecords is how many bytes of records a tls.Conn is given at a time, unless a single record is larger.
	smallRecords = 4 << 10
	// recordHeaderLen is the length of a TLS record's header, which has the record's length.
	recordHeaderLen = 5
)

// join makes s the stream of a connection on gnet.
func (s *tlsStream) join(c *Conn) {
	s.conn, s.wire.conn = c, c
	s.layers = layers{sock: &c.tcp, stream: s}
	c.layers.Store(&s.layers)
}

// sock returns the socket below.
func (s *tlsStream) sock() socket { return s.conn.sock() }

// arrived decrypts all bytes that have come, and has them delivered.
func (s *tlsStream) arrived() (over bool) {
	c, l := s.conn, s.conn.loop
	switch {
	case c.gone, c.is(isPeerEnded):
		return false
	case c.state.Load() >= stateClosing, c.quiet.Load(): // the bytes of a closing or quiet connection are not decrypted
		s.sock().discard(-1)
		s.plain, s.wire.got = nil, 0
		if s.above != nil {
			s.above.forget()
		}
		c.noteInbound()
		return false
	}
	s.begun = true
	own := len(s.plain) >= sealSize // a large message gets memory of its own
	buf := s.plain
	if !own {
		buf = append(l.takeOpenBuf(), s.plain...)
	}
	s.wire.in = s.sock().peek()
	buf, err := s.decrypt(buf)
	s.wire.in = nil
	s.sock().discard(-1)
	rest := s.plain[:0]
	s.plain = buf
	s.send() // a reply to a key update, or an alert
	switch {
	case c.gone:
	case s.above != nil:
		s.above.take()
	default:
		l.read(c)
	}
	switch {
	case len(s.plain) == 0 || c.gone:
		s.plain = nil // an idle connection keeps no buffer
	case !own:
		s.plain = append(rest, s.plain...)
	}
	if !own {
		l.openBuf = buf
	}
	return s.afterwards(err)
}

// decrypt decrypts the bytes of the wire and appends them to buf. The error is errNothingMore, or the end of the
// connection.
func (s *tlsStream) decrypt(buf []byte) ([]byte, error) {
	for {
		if cap(buf)-len(buf) < 512 {
			buf = append(buf, make([]byte, sealSize)...)[:len(buf)]
		}
		n, err := s.tls.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n > 0 {
			s.wire.hollow = 0
		}
		if err != nil {
			return buf, err
		}
	}
}

// afterwards handles the error that ended reading, after the bytes before it were delivered.
func (s *tlsStream) afterwards(err error) (over bool) {
	c := s.conn
	if c.gone || c.state.Load() >= stateClosing {
		return false
	}
	var oe *net.OpError
	switch {
	case err == errNothingMore && s.wire.hollow > maxHollow:
		c.closeBy(protocol.InvalidMessage, "so many TLS records with nothing in them")
	case err == errNothingMore:
		if int(c.unsent) > c.engine.cfg.Limits.MaxOutbound { // replies to key updates, which nothing else counts
			c.closeBy(protocol.SlowConsumer, tooMuchWaits)
		}
	case errors.Is(err, io.EOF): // close_notify
		s.closed, s.wire.got = true, 0
		return true
	case errors.As(err, &oe) && oe.Op == "remote error": // an alert: the peer has broken off
		c.closeBy(protocol.NetworkError, "")
	default: // the peer was told by an alert, and no notice can be sent any more
		c.closeBy(protocol.InvalidMessage, "the TLS connection is broken: "+err.Error())
	}
	return false
}

// takeOpenBuf takes the loop's buffer for decrypted bytes, empty.
func (l *loop) takeOpenBuf() []byte {
	b := l.openBuf
	l.openBuf = nil
	if b == nil || cap(b) > 2*openSize {
		b = make([]byte, 0, openSize)
	}
	return b[:0]
}

// ended is called when the socket has ended. A peer that ends TCP without close_notify counts like a plain TCP peer
// that has ended its side. That is safe: every message has its length, so one that was cut short is noticed.
func (s *tlsStream) ended(err error) error {
	if s.closed && err == nil {
		err = io.EOF
	}
	if !s.begun && errors.Is(err, io.EOF) { // the peer came and left at once: the bytes that the handshake had read are delivered first
		s.conn.loop.apart(func() { s.arrived() })
	}
	return err
}

// finish sends close_notify.
func (s *tlsStream) finish() {
	if !s.notified {
		s.notified = true
		_ = s.tls.CloseWrite()
		s.send()
	}
}

// buffered counts the bytes that wait to be delivered, and those of a record that is not whole.
func (s *tlsStream) buffered() int { return len(s.plain) + s.wire.got }

func (s *tlsStream) peek() []byte { return s.plain }

func (s *tlsStream) discard(n int) {
	if n < 0 || n >= len(s.plain) {
		s.plain = nil
		return
	}
	s.plain = s.plain[n:]
}

// wrap encrypts some records.
func (s *tlsStream) wrap(frames []byte) (wire []byte, n int, err error) {
	n, err = s.tls.Write(frames[:min(sealSize, len(frames))])
	return s.sealed(), n, err
}

func (s *tlsStream) security() *tls.ConnectionState {
	state := s.tls.ConnectionState()
	return &state
}

// send has the connection write the encrypted bytes that are not part of a frame.
func (s *tlsStream) send() {
	if b := s.sealed(); len(b) > 0 && !s.conn.gone {
		s.conn.writeBetween(b)
	}
}

// sealed takes the encrypted bytes. They are valid until more are encrypted.
func (s *tlsStream) sealed() []byte {
	b := s.wire.out
	if s.wire.out = nil; b != nil {
		s.conn.loop.sealBuf = b[:0]
	}
	return b
}

// wire is the net.Conn below a tls.Conn: during the handshake it uses the accepted net.Conn, and then two buffers.
type wire struct {
	nc            *handshakeConn // nil after the handshake
	conn          *Conn          // set after the handshake
	in            []byte         // bytes that the tls.Conn has not read yet; gnet's memory
	out           []byte         // bytes that wait for gnet
	got           int            // bytes that have come of the current record, 0 between two
	size          int32          // its length, as far as it is known
	hollow        int32          // bytes that the tls.Conn has read since it last returned a byte
	local, remote net.Addr
}

// errNothingMore is temporary: after it a tls.Conn can be read from again.
var errNothingMore net.Error = nothingMore{}

type nothingMore struct{}

func (nothingMore) Error() string   { return "rollcall: no more has come yet" }
func (nothingMore) Timeout() bool   { return true }
func (nothingMore) Temporary() bool { return true }

func (w *wire) Read(p []byte) (n int, err error) {
	switch {
	case w.nc != nil:
		n, err = w.nc.Read(p)
	case len(w.in) == 0:
		return 0, errNothingMore
	default:
		n = copy(p, w.in[:w.portion()])
		w.in = w.in[n:]
		w.hollow += int32(n)
	}
	w.follow(p[:n])
	return n, err
}

// portion returns how many of the waiting bytes a tls.Conn is given at a time: the rest of the current record, or
// several small records. With the beginning of a large record behind them the tls.Conn would double its buffer, and
// never shrink it.
func (w *wire) portion() int {
	whole := func(at int) int { // the length of the record at this position, or of the part of its header that has come
		if len(w.in)-at < recordHeaderLen {
			return len(w.in) - at
		}
		return recordHeaderLen + int(binary.BigEndian.Uint16(w.in[at+recordHeaderLen-2:]))
	}
	switch {
	case w.got == 0:
		n := whole(0)
		for n < len(w.in) && n+whole(n) <= smallRecords {
			n += whole(n)
		}
		return min(n, len(w.in))
	case w.got < recordHeaderLen:
		return min(recordHeaderLen-w.got, len(w.in))
	}
	return min(recordHeaderLen+int(w.size)-w.got, len(w.in))
}

// follow keeps count of the current record.
func (w *wire) follow(b []byte) {
	for len(b) > 0 {
		n := 1
		switch {
		case w.got < recordHeaderLen-2: // type and version
			w.size = 0
		case w.got < recordHeaderLen:
			w.size = w.size<<8 | int32(b[0])
		default:
			n = min(recordHeaderLen+int(w.size)-w.got, len(b))
		}
		w.got += n
		b = b[n:]
		if w.got == recordHeaderLen+int(w.size) && w.got >= recordHeaderLen {
			w.got = 0
		}
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if w.nc != nil {
		return w.nc.Write(p)
	}
	if w.out == nil {
		w.out = w.conn.loop.takeSealBuf()
	}
	w.out = append(w.out, p...)
	return len(p), nil
}

// takeSealBuf takes the loop's buffer for encrypted bytes, empty.
func (l *loop) takeSealBuf() []byte {
	b := l.sealBuf
	l.sealBuf = nil
	if b == nil || cap(b) > 4*sealSize {
		b = make([]byte, 0, sealSize+sealSize/8)
	}
	return b
}

func (w *wire) LocalAddr() net.Addr  { return w.local }
func (w *wire) RemoteAddr() net.Addr { return w.remote }

// Close is called when a handshake has taken too long.
func (w *wire) Close() error {
	if w.nc != nil {
		return w.nc.Close()
	}
	return nil
}

// A tls.Conn sets deadlines when it closes. They have no effect here, because writing to a buffer takes no time.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
