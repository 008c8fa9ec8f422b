package engine

import (
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpRefusalTimes is how many times as long as its first datagram the answer to a client that is not let in may be.
const udpRefusalTimes = 3

// fitRefusal returns as much of frames, which say why the client is not let in, as may be sent in a datagram of most bytes with a header: where
// that is not all, the codes alone.
func fitRefusal(frames []byte, most, header int) []byte {
	most = min(most, udpwire.MaxDatagram) - header
	if len(frames) > most {
		frames = onlyCodes(frames)
	}
	return frames[:udpwire.Fill(frames, most)]
}

// mostRefused returns how many bytes the client may be sent while it is not let in.
func (p *udpPeer) mostRefused() int { return udpRefusalTimes * len(p.logon) }

// refuse is write for a client that is not let in. What tells it why may come in parts, where it is long: the first one is the Welcome.
func (s *udpSocket) refuse(b []byte) (taken int) {
	e := s.early
	taken, _ = udpwire.Look(b, 0)
	if taken == 0 { // the answer is larger than what a socket is offered: the code has to do
		code := system.AppendClose(nil, &protocol.CloseError{Code: s.conn.closeCode()})
		notice, _ := protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeClose, Body: code})
		s.refuse(notice)
		s.endUnanswered()
		return len(b)
	}
	most := e.peer.mostRefused() - e.refused
	if e.refused == 0 {
		frames := fitRefusal(b[:taken], most, udpwire.WelcomeHeader)
		e.peer.welcome(s.id, s.key(), frames)
		e.refused = udpwire.WelcomeHeader + len(frames)
		return taken
	}
	if frames := fitRefusal(b[:taken], most, udpwire.DataHeader); len(frames) > 0 {
		out := s.out()
		out.end(append(udpwire.AppendData(out.begin(s.addr, s.from()), s.id, s.sequence), frames...))
		s.sequence++
		e.refused += udpwire.DataHeader + len(frames)
	}
	return taken
}

// onlyCodes returns the frames that have a code and a text, without their texts.
func onlyCodes(frames []byte) (codes []byte) {
	for len(frames) > 0 {
		var m protocol.Message
		n, _, err := protocol.Binary.Decode(frames, &m, protocol.DecodeOptions{MaxBody: len(frames)})
		if n == 0 || err != nil {
			break
		}
		frames = frames[n:]
		if why, err := protocol.ParseClose(m.Body); err == nil && (m.Type == protocol.TypeClose || m.Flags&protocol.FlagError != 0) {
			m.Body = system.AppendClose(nil, &protocol.CloseError{Code: why.Code})
			codes, _ = protocol.Binary.Append(codes, &m) // what was decoded can be encoded
		}
	}
	return codes
}

// wasLetIn reports whether an Admission has let the client in.
func (c *Conn) wasLetIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has(isLetIn)
}
