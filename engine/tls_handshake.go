package engine

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

const (
	// maxHandshake is how many bytes a client may send in its handshake. A tls.Conn never shrinks the buffers that its
	// handshake needed, and Limits.MaxMemory does not count them. A hello has some 2 KB.
	maxHandshake = 16 << 10
	// maxHandshakeCerts is that for clients that may send certificates.
	maxHandshakeCerts = 64 << 10
)

var errHandshakeTooLarge = errors.New("rollcall: the client sends too much in its handshake")

// handshakeConn is the net.Conn that the stages of an arrival read from, TLS included. It knows how many bytes the peer
// may still send in the current stage, and how long the peer has kept all stages waiting.
type handshakeConn struct {
	net.Conn
	clock *clock.Clock
	most  int // bytes that may be read in the stage
	left  int // how many of them may still be read

	mu      sync.Mutex // a leaf
	waited  time.Duration
	waiting bool  // it is the client's turn
	since   int64 // when the client's turn began, by the clock
	wrong   bool  // the client has left, kept the handshake waiting too long, does not speak TLS, or has sent an alert
}

func newHandshakeConn(nc net.Conn, clock *clock.Clock) *handshakeConn {
	return &handshakeConn{Conn: nc, clock: clock}
}

// allow begins a stage in which so many bytes may come.
func (g *handshakeConn) allow(most int) { g.most, g.left = most, most }

// allowTLS begins TLS.
func (g *handshakeConn) allowTLS(cfg *tls.Config) {
	if cfg.ClientAuth != tls.NoClientCert || cfg.GetConfigForClient != nil {
		g.allow(maxHandshakeCerts)
		return
	}
	g.allow(maxHandshake)
}

// Read may return more bytes than are left, when they came together: messages may follow the handshake's last byte.
func (g *handshakeConn) Read(p []byte) (int, error) {
	if g.left <= 0 {
		g.blame()
		return 0, errHandshakeTooLarge
	}
	g.mu.Lock()
	g.waiting, g.since = true, g.clock.Now()
	g.mu.Unlock()
	n, err := g.Conn.Read(p)
	g.left -= n
	g.mu.Lock()
	g.waited += g.sofar()
	g.waiting = false
	g.wrong = g.wrong || err != nil
	g.mu.Unlock()
	return n, err
}

// blame records that the handshake failed by the client's fault.
func (g *handshakeConn) blame() {
	g.mu.Lock()
	g.wrong = true
	g.mu.Unlock()
}

// silent reports whether the client has ended its side, or the connection, before it sent a byte. Only the handshake's
// goroutine may call it, after the handshake.
func (g *handshakeConn) silent() bool { return g.left == g.most && g.atFault() }

// atFault reports whether the handshake failed by the client's fault, and not because of the server's settings. Any
// goroutine may call it.
func (g *handshakeConn) atFault() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wrong || g.waiting
}

// awaited returns how long the client has kept the handshake waiting in total, if it keeps it waiting now, and
// otherwise 0. Any goroutine may call it.
func (g *handshakeConn) awaited() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.waiting {
		return 0
	}
	return g.waited + g.sofar()
}

// sofar returns how long the client's current turn has lasted. g.mu is held on entry.
func (g *handshakeConn) sofar() time.Duration { return time.Duration(g.clock.Now() - g.since) }
