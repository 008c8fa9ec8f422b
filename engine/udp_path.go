package engine

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpPath is a second way to a client that has logged on over TLS: datagrams, encrypted with keys that come from a secret in the answer to
// its Logon. The connection is the same, and its life is that of TLS: it ends with TLS, and datagrams are no signs of life. Messages that
// come by datagram go to the same handlers, on the same loop, between two reads of TLS; what is sent with SendOptions.Unreliable goes out
// here. Only the loop uses the fields that are not said to be others'.
type udpPath struct {
	conn     *Conn
	id       uint64 // the first byte is the loop's number, as with a udpSocket
	ofClient udpwire.Key
	ofServer udpwire.Key
	ciphers  *udpCiphers // nil until they are used, and after a while without use
	window   udpwire.Window[uint64]
	sent     uint64 // the counter of the next datagram

	// Where the client has proved to be.
	reader *udpReader // of the socket that it sends to; nil before
	addr   netip.AddrPort
	local  netip.Addr // see udpPeer

	heard atomic.Int64 // when a datagram last came from there, by the engine's clock; 0 for never

	// Under conn.mu.
	out    *outBuf // messages for the next datagrams
	marked bool    // flush is posted
	post   func()  // flush
}

// udpCiphers are the ciphers of a path's two directions. They take 2.5 KB, so that a path has them only while it uses them.
type udpCiphers struct{ ofClient, ofServer *udpwire.Cipher }

const (
	// udpCiphered is how many paths of a loop have ciphers. Above it the oldest ones are made again when they are needed.
	udpCiphered = 1024
	// pathLife is how long the way to a client counts as open after a datagram of the client. Clients send a Hello every 10 s.
	pathLife = 25 * time.Second
	// pathHolds is how many bytes of messages may wait for the loop. More are dropped.
	pathHolds = 64 << 10
)

// openPath is seam.Conn's Datagrams.
func (c *Conn) openPath() (id uint64, secret [udpwire.SecretSize]byte, ok bool) {
	if t := c.Transport(); !c.engine.hasSealedUDP() || c.codec != protocol.Binary || t != "tls" && t != "wss" {
		return 0, secret, false
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // it cannot fail
	_, _ = rand.Read(secret[:])
	b[0] = byte(c.loop.udp.index)
	p := &udpPath{conn: c, id: binary.BigEndian.Uint64(b[:])}
	p.ofClient, p.ofServer = udpwire.Keys(secret)
	p.post = p.flush
	c.mu.Lock()
	if ok = c.state.Load() == stateVerifying && c.needLazy().path == nil; ok {
		c.lazy.path = p
	}
	c.mu.Unlock()
	if ok {
		c.loop.post(p.enter) // before the client can have the secret
	}
	return p.id, secret, ok
}

// enter has the loop know the path.
func (p *udpPath) enter() {
	u := p.conn.loop.udp
	if _, taken := u.paths[p.id]; taken || p.conn.gone { // taken: never, with 56 random bits. The client would send over TLS
		return
	}
	u.paths[p.id] = p
}

// leavePath is called when the connection has ended. It runs on the loop.
func (c *Conn) leavePath() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy == nil || c.lazy.path == nil {
		return
	}
	p, u := c.lazy.path, c.loop.udp
	c.lazy.path = nil
	if u.paths[p.id] == p {
		delete(u.paths, p.id)
	}
	if i := slices.Index(u.ciphered, p); i >= 0 {
		u.ciphered = slices.Delete(u.ciphered, i, i+1)
	}
	if p.out != nil {
		c.drop(p.out.tally)
		p.out.release()
		p.out = nil
	}
}

// cipher returns the path's ciphers.
func (p *udpPath) cipher() *udpCiphers {
	if p.ciphers == nil {
		u := p.conn.loop.udp
		if len(u.ciphered) == udpCiphered {
			u.ciphered[0].ciphers = nil
			u.ciphered = slices.Delete(u.ciphered, 0, 1)
		}
		u.ciphered = append(u.ciphered, p)
		p.ciphers = &udpCiphers{ofClient: udpwire.NewCipher(p.ofClient), ofServer: udpwire.NewCipher(p.ofServer)}
	}
	return p.ciphers
}

// datagram is called with a datagram for the path. Only what the client has sealed counts, and that once.
func (p *udpPath) datagram(r *udpReader, d *datagram) {
	kind, content, ok := p.cipher().ofClient.Open(d.b)
	if !ok {
		return
	}
	isNew, skipped := p.window.Take(udpwire.Counter(d.b))
	if !isNew {
		return
	}
	p.conn.engine.udpLost.Add(skipped)
	moved := d.from != p.addr || p.reader == nil || r.listener != p.reader.listener
	prover := r.listener.prover
	switch {
	case kind == udpwire.Response:
		if len(content) == 8 && prover.IsChallenge(time.Now(), p.id, d.from, binary.BigEndian.Uint64(content)) {
			p.reader, p.addr, p.local = r, d.from, d.local
			p.hear()
			p.send(udpwire.Welcome, nil)
		}
	case moved:
		if len(content) >= udpwire.SealedHelloSize { // an answer must not be longer than what came
			challenge := prover.Challenge(time.Now(), p.id, d.from)
			p.sendTo(r, d.from, d.local, udpwire.Challenge, binary.BigEndian.AppendUint64(nil, challenge))
		}
	default:
		p.reader, p.local = r, d.local
		p.hear()
		switch kind {
		case udpwire.Hello:
			p.send(udpwire.Welcome, nil)
		case udpwire.Data:
			p.frames(content)
		}
	}
}

// hear notes that the way is open.
func (p *udpPath) hear() {
	if now := max(p.conn.engine.clock.Coarse(), 1); p.heard.Load() != now {
		p.heard.Store(now)
	}
}

// frames delivers frames of the client.
func (p *udpPath) frames(b []byte) {
	c := p.conn
	if n, _ := udpwire.Look(b, 0); n != len(b) {
		c.closeBy(protocol.InvalidMessage, "a datagram has a part of a frame")
		return
	}
	c.guardOnLoop(func() { c.loop.deliverApart(c, b) })
}

// deliverApart delivers whole frames that have come beside the connection's bytes. It is process for them, but they are no sign of life.
func (l *loop) deliverApart(c *Conn, frames []byte) {
	if c.gone || c.quiet.Load() || c.state.Load() != stateBound || len(frames) == 0 {
		return
	}
	if lease := l.engine.lease; lease != nil && c.pastLease(lease) {
		return
	}
	var in tally
	l.working = true
	if l.messages.lent == nil {
		l.messages.init()
	}
	defer l.processed(c, &in)
	l.current = c
	used := l.deliverAll(c, nil, &gathering{b: frames}, &in)
	l.count(c, &in)
	l.answer(c, used, &in)
	l.working = false
}

// send seals something for the client, where it has proved to be.
func (p *udpPath) send(kind byte, content []byte) {
	p.sendTo(p.reader, p.addr, p.local, kind, content)
}

func (p *udpPath) sendTo(r *udpReader, to netip.AddrPort, local netip.Addr, kind byte, content []byte) {
	out := p.conn.loop.udp.outOf(r)
	out.end(p.cipher().ofServer.AppendSealed(out.begin(to, local), p.id, p.sent, kind, content))
	p.sent++
}

// openWay returns the connection's path, if datagrams get through to the client. c.mu is held on entry.
func (c *Conn) openWay() *udpPath {
	if c.lazy == nil || c.lazy.path == nil || c.state.Load() != stateBound {
		return nil
	}
	p := c.lazy.path
	if heard := p.heard.Load(); heard == 0 || c.engine.clock.Coarse()-heard > int64(pathLife) {
		return nil
	}
	return p
}

// sendApart queues a message for a datagram. sent is false where it is to be sent like any other.
func (c *Conn) sendApart(m *protocol.Message) (sent bool, err error) {
	if frameSize(m) > udpwire.MaxSealedFrame {
		return false, nil
	}
	c.mu.Lock()
	p := c.openWay()
	if p == nil {
		c.mu.Unlock()
		return false, nil
	}
	b, err := protocol.Binary.Append(p.waiting().b, m)
	if err != nil { // the ordinary way says so
		c.mu.Unlock()
		return false, nil
	}
	return p.queue(b, m.Type)
}

// queueApart is sendApart for a frame.
func (c *Conn) queueApart(frame []byte, typ uint16) (sent bool, err error) {
	if len(frame) > udpwire.MaxSealedFrame {
		return false, nil
	}
	c.mu.Lock()
	p := c.openWay()
	if p == nil {
		c.mu.Unlock()
		return false, nil
	}
	return p.queue(append(p.waiting().b, frame...), typ)
}

// waiting returns the messages for the next datagrams. conn.mu is held on entry.
func (p *udpPath) waiting() *outBuf {
	if p.out == nil {
		p.out = outBufs.Get().(*outBuf)
	}
	return p.out
}

// queue takes b, which has one message more than the waiting ones. conn.mu is held on entry, and queue releases it.
func (p *udpPath) queue(b []byte, typ uint16) (sent bool, err error) {
	c, o := p.conn, p.out
	n := len(b) - len(o.b)
	if len(b) > pathHolds {
		c.drop(tally{messages: 1, bytes: n, typ: typ})
		c.mu.Unlock()
		return true, ErrDropped
	}
	o.b = b
	o.add(typ, n)
	mark := !p.marked
	p.marked = true
	c.mu.Unlock()
	if mark {
		c.loop.post(p.post)
	}
	return true, nil
}

// flush puts what waits into datagrams. It runs on the loop.
func (p *udpPath) flush() {
	c := p.conn
	c.mu.Lock()
	o := p.out
	p.out, p.marked = nil, false
	c.mu.Unlock()
	if o == nil || c.gone {
		return
	}
	c.countSent(o)
	for b := o.b; len(b) > 0; {
		n := udpwire.Fill(b, udpwire.MaxSealedFrame)
		p.send(udpwire.Data, b[:n])
		b = b[n:]
	}
	o.release()
}
