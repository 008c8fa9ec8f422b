package engine

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpSocket is the socket of a connection over UDP: a session that its client's datagrams name. Only its event loop uses it, but for the
// fields that never change.
//
// Each datagram has whole frames, and what the kernel does not take at once is lost, as anything may be on the way. So nothing ever waits
// in front of it.
type udpSocket struct {
	socket *udpReader // of the socket that answers
	conn   *Conn
	layers layers
	id     uint64
	addr   netip.AddrPort // where the client has proved to be
	local  *netip.Addr    // see udpPeer; nil for none

	early    *udpEarly // in the beginning
	window   udpwire.Window[uint32]
	sequence uint32
	over     bool
	told     bool // the client has sent a Close: it knows of the end
}

// udpEarly is what a session has in the beginning. Later an idle one is smaller without it.
type udpEarly struct {
	peer    *udpPeer // until the Welcome is sent; of a client that is not let in until the end
	refused int      // bytes that were sent to a client that is not let in
	in      []byte   // frames that wait until the client is let in
}

var (
	errUDPAnswer = errors.New("rollcall: the answer to the first frame is larger than a datagram")
	errUDPGone   = errors.New("rollcall: a session over UDP has ended")
)

// listener returns the session's listener.
func (s *udpSocket) listener() *udpListener { return s.socket.listener }

// loop returns what the session's loop has for UDP.
func (s *udpSocket) loop() *udpLoop { return s.conn.loop.udp }

// datagram is called with a Data datagram of the session.
func (s *udpSocket) datagram(d *datagram) {
	if d.from != s.addr {
		s.challenge(d)
		return
	}
	isNew, skipped := s.window.Take(udpwire.Sequence(d.b))
	s.conn.engine.udpLost.Add(uint64(skipped))
	if !isNew {
		return
	}
	s.setLocal(d.local)
	s.frames(d.b[udpwire.DataHeader:])
}

// setLocal remembers to which address of ours the client has sent.
func (s *udpSocket) setLocal(local netip.Addr) {
	if local.IsValid() && (s.local == nil || *s.local != local) {
		own := local // so that local itself stays on the stack
		s.local = &own
	}
}

// from returns the address of ours that the client has sent to.
func (s *udpSocket) from() netip.Addr {
	if s.local == nil {
		return netip.Addr{}
	}
	return *s.local
}

// frames delivers frames of the client.
func (s *udpSocket) frames(b []byte) {
	c := s.conn
	if s.over || c.gone {
		return
	}
	n, closes := udpwire.Look(b, protocol.TypeClose)
	s.told = s.told || closes
	if n != len(b) {
		c.closeBy(protocol.InvalidMessage, "a datagram has a part of a frame")
	}
	if c.state.Load() >= stateClosing {
		if s.told && c.is(isShut) {
			_ = s.end(io.EOF)
		} else if !s.told && c.is(isShut) { // the notice was lost
			s.answerGone(c.closeCode())
		}
		return
	}
	if len(b) == 0 {
		return
	}
	if s.early != nil && len(s.early.in) > 0 {
		s.early.in = append(s.early.in, b...)
		c.guardOnLoop(s.deliver)
		return
	}
	l := s.loop()
	l.current, l.in = s, b
	c.guardOnLoop(s.deliver)
	rest := l.in
	l.current, l.in = nil, nil
	if len(rest) > 0 && s.early != nil { // they wait until the client is let in
		s.early.in = bytes.Clone(rest)
	}
}

func (s *udpSocket) deliver() { s.conn.loop.read(s.conn) }

// in returns where the frames are that have come and were not taken; nil for none.
func (s *udpSocket) in() *[]byte {
	if l := s.loop(); l.current == s {
		return &l.in
	}
	if s.early != nil {
		return &s.early.in
	}
	return nil
}

// challenge asks an address that a datagram of the session has come from to prove that the client is there. What came is not delivered.
func (s *udpSocket) challenge(d *datagram) {
	if len(d.b) < udpwire.ChallengeSize { // an answer must not be longer than what came
		return
	}
	challenge := s.listener().prover.Challenge(time.Now(), s.id, d.from)
	out := s.out()
	out.end(udpwire.AppendChallenge(out.begin(d.from, d.local), s.id, challenge))
}

// response is called with a Response: the client is at another address, if the answer is right.
func (s *udpSocket) response(d *datagram) {
	c := s.conn
	if d.from == s.addr || s.over ||
		!s.listener().prover.IsAnswer(time.Now(), s.id, d.from, s.key(), udpwire.Answered(d.b)) {
		return
	}
	if d.from.Addr() != s.addr.Addr() && !c.moveOrigin(d.from.Addr()) {
		return
	}
	s.addr = d.from
	s.setLocal(d.local)
}

// key returns the key that answers challenges.
func (s *udpSocket) key() [udpwire.KeySize]byte { return s.listener().prover.Key(s.id) }

// moveOrigin takes the place among the connections of another address of the client, and gives the old one back. It reports false where
// the new address may have none.
func (c *Conn) moveOrigin(to netip.Addr) bool {
	o, r := c.engine.gate.enter(to)
	if r != letIn {
		return false
	}
	c.mu.Lock()
	var old *origin
	if c.lazy != nil || o != nil {
		old, c.needLazy().origin = c.needLazy().origin, o
	}
	c.mu.Unlock()
	c.engine.gate.leave(old, false)
	return true
}

// closeCode returns why the connection is closing.
func (c *Conn) closeCode() protocol.CloseCode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}

// welcome sends a Welcome without a frame, if none was sent and the client was let in.
func (s *udpSocket) welcome() {
	if s.early != nil && s.early.peer != nil && !s.over && s.conn.state.Load() >= stateBound && s.conn.wasLetIn() {
		s.sendWelcome(nil)
	}
}

func (s *udpSocket) sendWelcome(frames []byte) {
	s.early.peer.welcome(s.id, s.key(), frames)
	s.early.peer = nil
	s.forgetEarly()
}

// forgetEarly is called when the beginning may be over.
func (s *udpSocket) forgetEarly() {
	if s.early != nil && s.early.peer == nil && len(s.early.in) == 0 {
		s.early = nil
	}
}

func (s *udpSocket) peek() []byte {
	if in := s.in(); in != nil {
		return *in
	}
	return nil
}

func (s *udpSocket) discard(n int) {
	in := s.in()
	switch {
	case in == nil:
		return
	case n < 0 || n >= len(*in):
		*in = nil
	default:
		*in = (*in)[n:]
	}
	s.forgetEarly()
}

func (s *udpSocket) buffered() int { return len(s.peek()) }

// write puts whole frames into datagrams. It leaves a part of a frame at the end, of which the rest comes with the next call.
func (s *udpSocket) write(b []byte, _ bool) (taken int) {
	if s.early != nil && s.early.peer != nil && !s.conn.wasLetIn() {
		return s.refuse(b)
	}
	if s.early != nil && s.early.peer != nil {
		if taken = udpwire.Fill(b, udpwire.MaxDatagram-udpwire.WelcomeHeader); taken == 0 {
			s.endUnanswered()
			return len(b)
		}
		s.sendWelcome(b[:taken])
	}
	out := s.out()
	for taken < len(b) {
		n := udpwire.Fill(b[taken:], udpwire.MaxFrame)
		if n == 0 {
			if n = udpwire.FrameLen(b[taken:]); n == 0 {
				break
			}
			taken += n // an error reply with a long text
			continue
		}
		d := udpwire.AppendData(out.begin(s.addr, s.from()), s.id, s.sequence)
		s.sequence++
		out.end(append(d, b[taken:taken+n]...))
		taken += n
	}
	return taken
}

// endUnanswered ends a session whose client cannot be answered.
func (s *udpSocket) endUnanswered() {
	s.conn.engine.log.Warn("the answer to a client's first frame does not fit into a datagram", zapConn(s.conn))
	_ = s.end(errUDPAnswer)
}

// out returns where the loop's datagrams through the session's socket wait for the end of the turn.
func (s *udpSocket) out() *udpOut { return s.loop().outOf(s.socket) }

// awaitRoom is called where a part of a frame was left.
func (s *udpSocket) awaitRoom(c *Conn) bool {
	s.conn.loop.markOutput(c)
	return true
}

// shutdown ends our side. A client that has sent a Close needs no more.
func (s *udpSocket) shutdown() error {
	if s.told {
		s.conn.loop.post(func() { _ = s.end(io.EOF) })
	}
	return nil
}

// unacknowledged is 1 as long as it is not known that the client has got the notice.
func (s *udpSocket) unacknowledged() int {
	if s.told || !s.conn.is(isShut) {
		return 0
	}
	return 1
}

func (s *udpSocket) close(bool) error {
	if s.told {
		return s.end(io.EOF)
	}
	return s.end(errUDPGone)
}

// end ends the session. Its ID is answered with the code for a while.
func (s *udpSocket) end(err error) error {
	if s.over {
		return nil
	}
	s.conn.ended(err)
	if !s.conn.gone { // what the client has asked for is still answered
		return nil
	}
	s.over, s.early = true, nil
	s.loop().leave(s, s.conn.closeCode())
	if s.told {
		s.answerGone(s.conn.closeCode())
	}
	return nil
}

// answerGone tells the client that the session is over.
func (s *udpSocket) answerGone(code protocol.CloseCode) {
	out := s.out()
	out.end(udpwire.AppendGone(out.begin(s.addr, s.from()), s.id, uint16(code)))
}
