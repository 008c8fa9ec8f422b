package engine

import (
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpRefusalTimes is how many times as long as its first datagram the answer to a client that is not let in may be.
const udpRefusalTimes = 3

// refusal returns as much of frames, which say why the client is not let in, as may be sent: the texts are left out where they make it too
// long.
func (p *udpPeer) refusal(frames []byte) []byte {
	most := min(udpRefusalTimes*len(p.logon), udpwire.MaxDatagram) - udpwire.WelcomeHeader
	if len(frames) > most {
		frames = withoutTexts(frames)
	}
	return frames[:udpwire.Fill(frames, most)]
}

// withoutTexts returns whole frames with their codes alone, where they have a code and a text.
func withoutTexts(frames []byte) (codes []byte) {
	for len(frames) > 0 {
		var m protocol.Message
		n, _, err := protocol.Binary.Decode(frames, &m, protocol.DecodeOptions{MaxBody: len(frames)})
		if n == 0 || err != nil {
			break
		}
		if why, err := protocol.ParseClose(m.Body); err == nil && (m.Type == protocol.TypeClose || m.Flags&protocol.FlagError != 0) {
			m.Body = system.AppendClose(nil, &protocol.CloseError{Code: why.Code})
		}
		codes, _ = protocol.Binary.Append(codes, &m) // what was decoded can be encoded
		frames = frames[n:]
	}
	return codes
}

// wasLetIn reports whether an Admission has let the client in.
func (c *Conn) wasLetIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has(isLetIn)
}
