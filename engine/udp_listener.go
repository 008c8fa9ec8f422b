package engine

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpListener is a listener for datagrams. It has a socket for each event loop where the system spreads datagrams over the sockets of one
// address, and otherwise one. A goroutine reads from each socket: see udpReader. A client becomes a connection as on TCP: Accept returns
// its first frame as a udpPeer, once its address has proved that it can receive.
type udpListener struct {
	engine  *Engine
	sealed  bool // it takes sealed datagrams alone, of clients that have logged on over TLS
	sockets []*udpReader
	prover  *udpwire.Prover
	came    chan *udpPeer // for Accept

	closing chan struct{} // closed by Close: no client comes in any more
	ended   chan struct{} // closed by end
	readers sync.WaitGroup

	mu      sync.Mutex // a leaf
	closed  bool
	reading bool
	peers   map[udpClient]*udpPeer // by the first frame, until it is no longer repeated
	order   []*udpPeer             // the same, the oldest first
}

// udpClient names a client that has no session yet.
type udpClient struct {
	addr  netip.AddrPort
	nonce uint64
}

const (
	udpBacklog = 256     // clients that wait for Accept; more are left out: they try again
	udpPeers   = 1 << 17 // clients whose first frame is remembered: some 10,000 a second
	// udpRepeats is how long a first frame is remembered: longer than its cookie is valid, which so makes one session.
	udpRepeats = udpwire.CookieLife + 2*time.Second
	// udpUnanswered is how long one is remembered that was not answered.
	udpUnanswered = 2 * time.Minute
)

// listenUDP opens a listener for datagrams.
func (e *Engine) listenUDP(l Listener) (*udpListener, error) {
	addr := l.Addr
	u := &udpListener{engine: e, sealed: !l.Cleartext, prover: udpwire.NewProver(time.Now()), came: make(chan *udpPeer, udpBacklog),
		closing: make(chan struct{}), ended: make(chan struct{}), peers: make(map[udpClient]*udpPeer)}
	n := 1
	if reusesPorts {
		n = e.cfg.Loops
	}
	for i := range n {
		pc, err := (&net.ListenConfig{Control: controlUDP(n > 1)}).ListenPacket(context.Background(), "udp", addr)
		if err != nil {
			u.closeSockets()
			return nil, err
		}
		nc := pc.(*net.UDPConn)
		_ = nc.SetReadBuffer(udpBuffer) // as much as the system allows
		_ = nc.SetWriteBuffer(udpBuffer)
		r, err := newUDPReader(u, i, nc)
		if err != nil {
			_ = nc.Close()
			u.closeSockets()
			return nil, err
		}
		u.sockets = append(u.sockets, r)
		addr = nc.LocalAddr().String() // port 0 took a free one
	}
	return u, nil
}

// udpBuffer is the size of the kernel's buffers that a socket asks for.
const udpBuffer = 4 << 20

// Addr implements net.Listener.
func (u *udpListener) Addr() net.Addr { return u.sockets[0].nc.LocalAddr() }

// Accept implements net.Listener. It returns a *udpPeer.
func (u *udpListener) Accept() (net.Conn, error) {
	select {
	case p := <-u.came:
		return p, nil
	case <-u.closing:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections that have come in go on until end.
func (u *udpListener) Close() error {
	u.mu.Lock()
	first, reading := !u.closed, u.reading
	u.closed = true
	u.mu.Unlock()
	if first {
		close(u.closing)
	}
	if first && !reading {
		u.closeSockets()
	}
	return nil
}

// read starts to read, when the event loops run.
func (u *udpListener) read() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	u.reading = true
	for _, r := range u.sockets {
		u.readers.Add(1)
		go func() {
			defer u.readers.Done()
			r.run()
		}()
	}
}

// end closes the sockets, and waits for the goroutines that read. The event loops have ended.
func (u *udpListener) end() {
	close(u.ended)
	u.closeSockets()
	u.readers.Wait()
}

func (u *udpListener) closeSockets() {
	for _, r := range u.sockets {
		_ = r.nc.Close()
	}
}

// logon is called with a client's first frame, in a datagram with a valid cookie.
func (u *udpListener) logon(r *udpReader, d *datagram) {
	client := udpClient{d.from, udpwire.ID(d.b)}
	u.mu.Lock()
	if p := u.peers[client]; p != nil {
		same := bytes.Equal(p.logon, d.b)
		answer, s := p.answer, p.session
		u.mu.Unlock()
		switch {
		case !same:
		case answer != nil:
			r.send(d, answer)
		case s != nil: // it was let in, and nothing was sent to it
			s.conn.loop.post(s.welcome)
		}
		return
	}
	if u.closed || len(u.peers) >= udpPeers {
		u.mu.Unlock()
		return
	}
	now := time.Now()
	p := &udpPeer{listener: u, reader: r, client: client, local: d.local, logon: bytes.Clone(d.b), since: now, came: now}
	select {
	case u.came <- p:
		u.peers[client] = p
		u.order = append(u.order, p)
	default:
	}
	u.mu.Unlock()
}

// sweep forgets first frames that are not repeated any more. One that is not answered yet, because the authenticator takes long, say, is
// kept for longer: otherwise a client that comes with a new cookie would have two sessions.
func (u *udpListener) sweep(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for n < len(u.order) && now.Sub(u.order[n].since) > udpRepeats {
		p := u.order[n]
		if u.order[n] = nil; p.answer == nil && now.Sub(p.came) < udpUnanswered {
			p.since = now
			u.order = append(u.order, p)
		} else {
			delete(u.peers, p.client)
		}
		n++
	}
	if u.order = u.order[n:]; len(u.order) == 0 {
		u.order = nil
		if n > 0 {
			u.peers = make(map[udpClient]*udpPeer) // a map does not shrink
		}
	}
}

// udpPeer is a client whose address has proved that it can receive, with its first frame. As a net.Conn it can be told why it is not let
// in.
type udpPeer struct {
	listener *udpListener
	reader   *udpReader // of the socket that its datagrams come to
	client   udpClient
	local    netip.Addr // the address of ours that it has sent to; invalid where the socket has one alone
	logon    []byte     // the datagram
	came     time.Time
	since    time.Time // when it came, or was last kept by sweep; under listener.mu

	answer  []byte     // the Welcome, once sent; under listener.mu
	session *udpSocket // once it is let in; under listener.mu
}

// welcome sends the Welcome, and keeps it for repeats of the first frame.
func (p *udpPeer) welcome(id uint64, key [udpwire.KeySize]byte, frames []byte) {
	answer := udpwire.AppendWelcome(nil, p.client.nonce, id, key, frames)
	p.listener.mu.Lock()
	p.answer = answer
	p.listener.mu.Unlock()
	p.reader.send(&datagram{from: p.client.addr, local: p.local}, answer)
}

// Write tells the client why it is not let in: b is a Close frame.
func (p *udpPeer) Write(b []byte) (int, error) {
	if frames := fitRefusal(b, p.mostRefused(), udpwire.WelcomeHeader); len(frames) > 0 {
		p.welcome(0, [udpwire.KeySize]byte{}, frames)
	}
	return len(b), nil
}

// The other methods of net.Conn.

func (p *udpPeer) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (p *udpPeer) Close() error                     { return nil }
func (p *udpPeer) CloseWrite() error                { return nil }
func (p *udpPeer) RemoteAddr() net.Addr             { return net.UDPAddrFromAddrPort(p.client.addr) }
func (p *udpPeer) SetDeadline(time.Time) error      { return nil }
func (p *udpPeer) SetReadDeadline(time.Time) error  { return nil }
func (p *udpPeer) SetWriteDeadline(time.Time) error { return nil }

// LocalAddr implements net.Conn: the address of ours that the client has sent to.
func (p *udpPeer) LocalAddr() net.Addr {
	local := p.reader.nc.LocalAddr().(*net.UDPAddr).AddrPort()
	if p.local.IsValid() {
		local = netip.AddrPortFrom(p.local.Unmap(), local.Port())
	}
	return net.UDPAddrFromAddrPort(local)
}

// open gives the client to an event loop, with its first frame, and waits until the loop has it.
func (p *udpPeer) open(c *Conn) error {
	l := p.reader.loopForNew()
	s := &udpSocket{socket: p.reader, conn: c, addr: p.client.addr, early: &udpEarly{peer: p}}
	s.setLocal(p.local)
	s.layers.sock = s
	c.layers.Store(&s.layers)
	return l.take(func() {
		l.udp.enter(s)
		c.opened(l)
		p.listener.mu.Lock()
		p.session = s
		p.listener.mu.Unlock()
		l.post(func() { s.frames(p.logon[udpwire.LogonHeader:]) }) // a handler may block: take waits for none
	})
}

// goneCode is told to a client whose session is not known: the server has been restarted.
const goneCode = protocol.ServerStopping

// checkUDP returns an error for settings that a listener for datagrams cannot have.
func checkUDP(l Listener) error {
	switch {
	case l.Network != "udp" && l.Cleartext:
		return fmt.Errorf("rollcall: the listener %q has Cleartext, which is for the Network udp", l.Addr)
	case l.Network != "udp":
		return nil
	case l.Codec != nil && l.Codec != protocol.Binary, l.NewCodec != nil:
		return fmt.Errorf("rollcall: the listener %q is for datagrams, whose codec is protocol.Binary", l.Addr)
	case l.TLS != nil, l.WebSocket != nil, len(l.ProxyProtocol) > 0:
		return fmt.Errorf("rollcall: the listener %q is for datagrams, without TLS, WebSocket and ProxyProtocol", l.Addr)
	}
	return nil
}

// checkSealed returns an error for a listener for sealed datagrams where no client can log on over TLS.
func checkSealed(all []Listener) error {
	sealed := slices.IndexFunc(all, func(l Listener) bool { return l.Network == "udp" && !l.Cleartext })
	if sealed < 0 || slices.ContainsFunc(all, func(l Listener) bool { return l.TLS != nil }) {
		return nil
	}
	return fmt.Errorf("rollcall: the listener %q is for datagrams beside TLS, and there is no listener with TLS to log on at: add one, "+
		"or set Cleartext for sessions over datagrams alone, which are not encrypted", all[sealed].Addr)
}

// hasUDP reports whether a listener is for datagrams.
func (e *Engine) hasUDP() bool {
	return slices.ContainsFunc(e.cfg.Listeners, func(l Listener) bool { return l.Network == "udp" })
}

// hasSealedUDP reports whether a listener is for sealed datagrams.
func (e *Engine) hasSealedUDP() bool {
	return slices.ContainsFunc(e.cfg.Listeners, func(l Listener) bool { return l.Network == "udp" && !l.Cleartext })
}

// newUDPLoop returns what a loop has for connections over UDP.
func (e *Engine) newUDPLoop(l *loop, index int) *udpLoop {
	if !e.hasUDP() {
		return nil
	}
	return &udpLoop{loop: l, index: index, answers: udpAnswersMost, sessions: make(map[uint64]*udpSocket), paths: make(map[uint64]*udpPath),
		gone: make(map[uint64]protocol.CloseCode)}
}

// eachUDP calls f with every listener for datagrams.
func (e *Engine) eachUDP(f func(*udpListener)) {
	e.mu.Lock()
	listeners := e.listeners
	e.mu.Unlock()
	for _, ln := range listeners {
		if u, ok := ln.(*udpListener); ok {
			f(u)
		}
	}
}
