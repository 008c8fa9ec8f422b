package engine

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/udpwire"
)

// udpBatch is how many datagrams are read, or written, with one system call.
const udpBatch = 64

// datagram is a datagram that has come.
type datagram struct {
	b     []byte
	from  netip.AddrPort
	local netip.Addr // the address of ours that it was sent to; invalid where the socket has one alone
}

// udpReader reads the datagrams of a socket, on a goroutine of its own. It answers those that begin a session, and gives the others to
// the event loops of their sessions. It reads no more before its own loop has used what it has read: what the loop does not keep up with is
// lost in the kernel, not kept here. Meanwhile the loop itself reads what has come, a few times, because each hand-over costs as much as
// several datagrams.
type udpReader struct {
	listener *udpListener
	index    int // of the socket, and of its event loop
	nc       *net.UDPConn
	in       *udpIn // reads
	answers  *udpOut

	mine  []*datagram // for the reader's own loop; it and in are the loop's until taken
	run1  func()      // gives them to the loop
	taken chan struct{}

	elsewhere atomic.Int32 // datagrams on their way to other loops
	turn      atomic.Uint32
}

// udpRounds is how many times in a row a loop reads datagrams itself before it looks at its other connections.
const udpRounds = 16

// udpElsewhere is how many datagrams of a socket may wait for other loops than its own. More are lost.
const udpElsewhere = 1024

func newUDPReader(u *udpListener, index int, nc *net.UDPConn) (*udpReader, error) {
	r := &udpReader{listener: u, index: index, nc: nc, taken: make(chan struct{}, 1)}
	in, err := newUDPIn(nc)
	if err != nil {
		return nil, err
	}
	r.in, r.answers, r.run1 = in, newUDPOut(r), r.deliver
	return r, nil
}

// loop returns the reader's own event loop.
func (r *udpReader) loop() *loop { return r.listener.engine.loops[r.index] }

// loopForNew returns the event loop for a new session.
func (r *udpReader) loopForNew() *loop {
	if len(r.listener.sockets) > 1 {
		return r.loop()
	}
	loops := r.listener.engine.loops
	return loops[int(r.turn.Add(1))%len(loops)]
}

// run reads until the socket is closed.
func (r *udpReader) run() {
	for {
		all, err := r.in.read()
		if err != nil {
			select {
			case <-r.listener.ended:
				return
			default:
			}
			if r.in.isOver(err) {
				r.listener.engine.askToStop(err)
				return
			}
			continue // an answer could not be delivered: the system tells it so
		}
		if r.sort(all); len(r.mine) == 0 {
			continue
		}
		r.loop().post(r.run1)
		select {
		case <-r.taken:
		case <-r.listener.ended:
			return
		}
	}
}

// sort routes datagrams. Those for the reader's own loop are in mine afterwards.
func (r *udpReader) sort(all []datagram) {
	r.mine = r.mine[:0]
	for i := range all {
		r.route(&all[i])
	}
	r.answers.flush()
}

// route answers a datagram that begins a session, or finds its loop.
func (r *udpReader) route(d *datagram) {
	if !udpwire.IsWhole(d.b) || d.from.Port() == 0 {
		return
	}
	u := r.listener
	if u.sealed != (d.b[0] == udpwire.Sealed) {
		return
	}
	switch d.b[0] {
	case udpwire.Hello:
		select {
		case <-u.closing:
			return
		default:
		}
		nonce := udpwire.ID(d.b)
		r.answers.end(udpwire.AppendCookie(r.answers.begin(d.from, d.local), nonce, u.prover.Cookie(time.Now(), d.from, nonce)))
	case udpwire.Logon:
		frame := d.b[udpwire.LogonHeader:]
		if n, _ := udpwire.Look(frame, 0); n != len(frame) || !u.prover.IsCookie(time.Now(), d.from, udpwire.ID(d.b), udpwire.Proof(d.b)) {
			return
		}
		u.logon(r, d)
	case udpwire.Data, udpwire.Response, udpwire.Sealed:
		of := int(udpwire.ID(d.b) >> 56)
		if of == r.index {
			r.mine = append(r.mine, d)
			return
		}
		r.passOn(of, d)
	}
}

// passOn gives a datagram to another loop.
func (r *udpReader) passOn(of int, d *datagram) {
	loops := r.listener.engine.loops
	if of >= len(loops) || r.elsewhere.Load() >= udpElsewhere {
		return
	}
	r.elsewhere.Add(1)
	p, _ := passedOns.Get().(*passedOn)
	if p == nil {
		p = new(passedOn)
		p.run = p.deliver
	}
	p.reader, p.to, p.d = r, loops[of], datagram{b: p.b[:copy(p.b[:], d.b)], from: d.from, local: d.local}
	p.to.post(p.run)
}

// passedOn is a datagram on its way to another loop.
type passedOn struct {
	reader *udpReader
	to     *loop
	d      datagram
	b      [udpwire.MaxDatagram]byte
	run    func() // deliver
}

var passedOns sync.Pool

// deliver is called on the other loop.
func (p *passedOn) deliver() {
	p.reader.elsewhere.Add(-1)
	p.to.udp.datagram(p.reader, &p.d)
	p.reader, p.to = nil, nil
	passedOns.Put(p)
}

// deliver is called on the reader's own loop.
func (r *udpReader) deliver() {
	defer func() { r.taken <- struct{}{} }() // also when a handler ends the goroutine
	u := r.loop().udp
	for range udpRounds {
		for _, d := range r.mine {
			u.datagram(r, d)
		}
		u.flush()
		all := r.in.poll()
		if len(all) == 0 {
			return
		}
		r.sort(all)
	}
	for _, d := range r.mine {
		u.datagram(r, d)
	}
}

// send sends a datagram at once, from any goroutine: an answer to d.
func (r *udpReader) send(d *datagram, b []byte) { r.in.send(r.nc, d, b) }
