package engine

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpLoop is what an event loop has for connections over UDP. Only the loop uses it.
type udpLoop struct {
	loop     *loop
	index    int // of the loop: the first byte of its sessions' IDs
	sessions map[uint64]*udpSocket
	paths    map[uint64]*udpPath
	ciphered []*udpPath // those of paths with ciphers, the oldest first
	outs     []*udpOut  // one for each socket that the loop has sent through

	current *udpSocket // whose frames are being delivered, or nil
	in      []byte     // those of them that were not taken

	gone    map[uint64]protocol.CloseCode // of sessions that have ended
	goneIDs []udpGone                     // the same, the oldest first

	answers int   // datagrams for unknown sessions that may still be answered
	since   int64 // when they were counted anew, by the loop's clock
}

// udpGone is a session that has ended.
type udpGone struct {
	id uint64
	at int64 // by the loop's clock
}

const (
	udpGoneLife    = time.Minute
	udpGoneMost    = 1 << 14
	udpAnswersMost = 256 // to unknown sessions, in each of the loop's looks at its clock
)

// enter adds a session. Its ID is drawn; the first byte is the loop's number.
func (u *udpLoop) enter(s *udpSocket) {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // it cannot fail
		b[0] = byte(u.index)
		s.id = binary.BigEndian.Uint64(b[:])
		if _, taken := u.sessions[s.id]; !taken && s.id != 0 {
			break
		}
	}
	u.sessions[s.id] = s
}

// leave removes a session.
func (u *udpLoop) leave(s *udpSocket, code protocol.CloseCode) {
	delete(u.sessions, s.id)
	now := u.loop.clock.Coarse()
	for len(u.goneIDs) > 0 && (len(u.goneIDs) >= udpGoneMost || now-u.goneIDs[0].at > int64(udpGoneLife)) {
		delete(u.gone, u.goneIDs[0].id)
		u.goneIDs = u.goneIDs[1:]
	}
	u.gone[s.id] = code
	u.goneIDs = append(u.goneIDs, udpGone{s.id, now})
}

// datagram is called with a datagram for one of the loop's sessions.
func (u *udpLoop) datagram(r *udpReader, d *datagram) {
	if r.listener.sealed {
		if p := u.paths[udpwire.ID(d.b)]; p != nil {
			p.datagram(r, d)
		}
		return
	}
	s := u.sessions[udpwire.ID(d.b)]
	switch {
	case s == nil:
		u.unknown(r, d)
	case s.listener() != r.listener:
	case d.b[0] == udpwire.Data:
		s.datagram(d)
	case d.b[0] == udpwire.Response:
		s.response(d)
	}
}

// unknown answers Data for a session that is over, or was never there.
func (u *udpLoop) unknown(r *udpReader, d *datagram) {
	if d.b[0] != udpwire.Data {
		return
	}
	if now := u.loop.clock.Coarse(); now != u.since {
		u.since, u.answers = now, udpAnswersMost
	}
	if u.answers == 0 {
		return
	}
	u.answers--
	id := udpwire.ID(d.b)
	code, known := u.gone[id]
	if !known {
		code = goneCode
	}
	out := u.outOf(r)
	out.end(udpwire.AppendGone(out.begin(d.from, d.local), id, uint16(code)))
}

// outOf returns where datagrams through a socket wait for the end of the turn.
func (u *udpLoop) outOf(r *udpReader) *udpOut {
	for _, out := range u.outs { // one for each listener
		if out.reader == r {
			return out
		}
	}
	out := newUDPOut(r)
	u.outs = append(u.outs, out)
	return out
}

// flush sends what waits.
func (u *udpLoop) flush() {
	for _, out := range u.outs {
		out.flush()
	}
}
