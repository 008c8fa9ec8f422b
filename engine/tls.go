package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/protocol"
)

// A TLS connection goes through its handshake on a goroutine, with the net.Conn that was accepted. Then the event loop has
// its descriptor, and the tls.Conn lives on between two buffers that the loop fills and empties: no goroutine reads for it.

// secureConn is what a Conn has in gc's place when it speaks TLS: Peek, Discard and Write are of what is said in it, all else
// is the socket's. The loop's own, but for tls.ConnectionState.
type secureConn struct {
	gnet.Conn // the socket; nil until it is opened
	conn      *Conn
	tls       *tls.Conn
	wire      wire
	plain     []byte // decrypted and not yet taken; while traffic runs it may lie in the loop's buffer
	ended     bool   // the peer has said that it sends no more
	notified  bool   // so have we
	begun     bool   // traffic has run
}

const (
	// sealSize is how much is encrypted before it is written: four records at least.
	sealSize = 64 << 10
	// openSize is the loop's buffer for what a read brings and what was left of the one before. gnet reads 64 KiB at most.
	openSize = 2 * sealSize
	// maxHollow is how many bytes may come after the handshake without a message's byte in them. A record has less, and the
	// upkeep of TLS a few dozen a time; what a tls.Conn keeps of it, it keeps for as long as it lives.
	maxHollow = 32 << 10
	// recordHeaderLen is how many bytes of a TLS record say how long it is.
	recordHeaderLen = 5
)

// startTLS returns the server's side of a TLS connection, before its handshake.
func startTLS(nc net.Conn, cfg *tls.Config) *secureConn {
	s := &secureConn{wire: wire{nc: newGuest(nc, cfg), local: nc.LocalAddr(), remote: nc.RemoteAddr()}}
	s.tls = tls.Server(&s.wire, cfg)
	return s
}

// secure goes through the TLS handshake, which must end with ctx.
func (a *arrival) secure(ctx context.Context) bool {
	e := a.engine
	s := startTLS(a.nc, a.at.tls)
	g := s.wire.nc
	a.mu.Lock()
	over := a.over || ctx.Err() != nil // the hook has taken all the time there was
	if !over {
		a.guest = g
	}
	a.mu.Unlock()
	if over {
		return false
	}
	defer e.handshakes.host(g, a)()
	if err := e.handshake(ctx, s.tls); err != nil {
		e.log.Debug("a TLS handshake failed", zap.String("remote", a.remote), zapError(err))
		var notTLS tls.RecordHeaderError
		var alert *net.OpError // "remote error", as crypto/tls calls it
		if errors.As(err, &notTLS) || errors.As(err, &alert) {
			g.blame()
		}
		if ctx.Err() == nil && a.turnedDown(refusedHandshake) { // or else giveUp does it
			e.tellStranger(a.nc, lingerTime, func() error { return nil }) // the alert has said it
		}
		return false
	}
	s.wire.nc = nil
	a.tls = s
	return true
}

// handshake ends with the handshake or with ctx. The application's part in it, such as tls.Config.GetCertificate, may panic.
func (e *Engine) handshake(ctx context.Context, tc *tls.Conn) (err error) {
	defer func() {
		if v := recover(); v != nil {
			e.log.Error("a TLS handshake panicked", zap.Any("panic", v), zap.Stack("stack"))
			err = errors.New("the handshake panicked")
		}
	}()
	return tc.HandshakeContext(ctx)
}

// maxTelling is how many connections may be in a handshake that is there only to tell them why they are not let in.
const maxTelling = 8

var errTooManyToTell = errors.New("rollcall: too many connections are told something at the moment")

// tellSecurely tells a connection that is not let in why, in TLS, if it is quick.
func (e *Engine) tellSecurely(nc net.Conn, cfg *tls.Config, notice []byte, code protocol.CloseCode) error {
	select {
	case e.telling <- struct{}{}:
		defer func() { <-e.telling }()
	default:
		return errTooManyToTell
	}
	tc := tls.Server(newGuest(nc, cfg), cfg)
	ctx, cancel := context.WithTimeout(e.untilStop, hurry)
	defer cancel()
	if err := e.handshake(ctx, tc); err != nil {
		return err
	}
	e.closed.Add(code)
	if _, err := tc.Write(notice); err != nil {
		return err
	}
	return tc.CloseWrite()
}

// checkTLS says what is wrong with a listener's TLS that would make every handshake fail, or let strangers in.
func checkTLS(l Listener) error {
	c := l.TLS
	switch {
	case c == nil || c.GetConfigForClient != nil:
		return nil
	case len(c.Certificates) == 0 && c.GetCertificate == nil:
		return fmt.Errorf("rollcall: the TLS of listener %q has no certificate", l.Addr)
	case c.ClientAuth >= tls.VerifyClientCertIfGiven && c.ClientCAs == nil: // whoever the system trusts would be believed
		return fmt.Errorf("rollcall: the TLS of listener %q verifies client certificates, but has no ClientCAs", l.Addr)
	}
	return nil
}

// TLS returns what the handshake has found: version, protocol, the client's certificates. Nil means that the connection does
// not speak TLS. Any goroutine may call it.
func (c *Conn) TLS() *tls.ConnectionState {
	if s := c.secure(); s != nil {
		state := s.tls.ConnectionState()
		return &state
	}
	return nil
}

// secure returns the connection's TLS, or nil. gc is set before anybody can see the connection.
func (c *Conn) secure() *secureConn {
	s, _ := c.gc.(*secureConn)
	return s
}

// socket returns gnet's own side of the connection.
func (c *Conn) socket() gnet.Conn {
	if s := c.secure(); s != nil {
		return s.Conn
	}
	return c.gc
}

// opened is called on the loop when gnet has the connection. The handshake may have read more than its own.
func (s *secureConn) opened(gc gnet.Conn) {
	s.Conn = gc
	s.conn.opened(s)
	s.conn.loop.post(func() {
		s.conn.guard(func() {
			if s.traffic() {
				_ = s.EventLoop().Close(s.Conn)
			}
		})
	})
}

// traffic is called when bytes have come: it decrypts them all and delivers. It reports whether the peer has ended its
// side and the socket is to be closed.
func (s *secureConn) traffic() (over bool) {
	c, l := s.conn, s.conn.loop
	switch {
	case c.gone:
		return false
	case c.state.Load() >= stateClosing, c.quiet.Load(): // from here on nothing is decrypted any more
		_, _ = s.Conn.Discard(-1)
		s.plain, s.wire.got = nil, 0
		c.noteInbound()
		return false
	}
	s.begun = true
	own := len(s.plain) >= sealSize // a large message gathers in memory of its own
	buf := s.plain
	if !own {
		buf = append(l.takeOpenBuf(), s.plain...)
	}
	s.wire.in, _ = s.Conn.Peek(-1)
	buf, err := s.decrypt(buf)
	s.wire.in = nil
	_, _ = s.Conn.Discard(-1)
	rest := s.plain[:0]
	s.plain = buf
	s.send() // a reply to a key update, or an alert
	if !c.gone && !c.attended {
		c.holds()
	}
	if !c.gone {
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

// decrypt appends to buf what the wire has brought. The error says why it ends: errNothingMore, or the connection's end.
func (s *secureConn) decrypt(buf []byte) ([]byte, error) {
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

// afterwards looks at how reading ended, when what came before has been delivered.
func (s *secureConn) afterwards(err error) (over bool) {
	c := s.conn
	if c.gone || c.state.Load() >= stateClosing {
		return false
	}
	var oe *net.OpError
	switch {
	case err == errNothingMore && s.wire.hollow > maxHollow:
		c.Close(protocol.InvalidMessage, "so many TLS records with nothing in them")
	case err == errNothingMore:
		if s.OutboundBuffered() > c.engine.cfg.OutboundLimit { // key updates, for want of anything that is counted
			c.Close(protocol.SlowConsumer, "more waits to be sent than the outbound limit allows")
		}
	case errors.Is(err, io.EOF): // close_notify
		s.ended, s.wire.got = true, 0
		return true
	case errors.As(err, &oe) && oe.Op == "remote error": // an alert: the peer has broken off
		c.Close(protocol.NetworkError, "")
	default: // the peer has been told by an alert, and no notice can be sent any more
		c.Close(protocol.InvalidMessage, "the TLS connection is broken: "+err.Error())
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

// onClose is called by gnet when the connection is over. A peer that ends TCP without close_notify has ended its side as one
// that does not speak TLS: a message has its length, so that one that was cut short is noticed.
func (s *secureConn) onClose(err error) {
	if s.ended && err == nil {
		err = io.EOF
	}
	if !s.begun && errors.Is(err, io.EOF) { // it came and went at once: what the handshake had read is delivered first
		s.traffic()
	}
	s.conn.onClose(err)
	s.plain = nil
}

// finish says that nothing more will be sent, and reports whether the socket has taken it.
func (s *secureConn) finish() bool {
	if !s.notified {
		s.notified = true
		_ = s.tls.CloseWrite()
		s.send()
	}
	if s.conn.gone {
		return false
	}
	if s.OutboundBuffered() > 0 {
		s.conn.loop.attend(s.conn)
		return false
	}
	return true
}

// InboundBuffered counts what waits to be delivered, and what has come of a record that is not whole.
func (s *secureConn) InboundBuffered() int { return len(s.plain) + s.wire.got }

// Peek returns all that was decrypted, whatever n is.
func (s *secureConn) Peek(int) ([]byte, error) { return s.plain, nil }

// Discard drops n bytes that were decrypted, or all when n is not positive.
func (s *secureConn) Discard(n int) (int, error) {
	if n <= 0 || n >= len(s.plain) {
		n = len(s.plain)
	}
	s.plain = s.plain[n:]
	if len(s.plain) == 0 {
		s.plain = nil
	}
	return n, nil
}

// Write encrypts and sends. A write that fails closes the connection inside the call, as gnet's.
func (s *secureConn) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := s.tls.Write(p[n:min(n+sealSize, len(p))])
		s.send()
		n += m
		if err != nil {
			return n, err
		}
		if s.conn.gone {
			return n, net.ErrClosed
		}
	}
	return n, nil
}

// send hands to gnet what was encrypted.
func (s *secureConn) send() {
	b := s.wire.out
	s.wire.out = nil
	if len(b) == 0 || s.conn.gone {
		return
	}
	_, _ = s.Conn.Write(b) // a failure closes the connection, which shows in gone
	s.conn.loop.sealBuf = b[:0]
}

// wire is the net.Conn that a tls.Conn stands on: during the handshake the one that was accepted, then two buffers.
type wire struct {
	nc            *guest // nil after the handshake
	conn          *Conn  // set after the handshake
	in            []byte // has come and is not yet with the tls.Conn; gnet's memory
	out           []byte // waits for gnet
	got           int    // bytes that have come of the record at hand, 0 between two
	size          int    // its length, as far as got tells
	hollow        int    // bytes that the tls.Conn has taken since it gave any
	local, remote net.Addr
}

// errNothingMore is temporary: a tls.Conn that meets it can be read from again.
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
		n = copy(p, w.in)
		w.in = w.in[n:]
		w.hollow += n
	}
	w.follow(p[:n])
	return n, err
}

// follow keeps count of the record at hand.
func (w *wire) follow(b []byte) {
	for len(b) > 0 {
		n := 1
		switch {
		case w.got < recordHeaderLen-2: // type and version
			w.size = 0
		case w.got < recordHeaderLen:
			w.size = w.size<<8 | int(b[0])
		default:
			n = min(recordHeaderLen+w.size-w.got, len(b))
		}
		w.got += n
		b = b[n:]
		if w.got == recordHeaderLen+w.size && w.got >= recordHeaderLen {
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

// The deadlines are a tls.Conn's own, around its closing: writing to a buffer takes no time.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
