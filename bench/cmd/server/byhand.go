//go:build linux

package main

import (
	"encoding/binary"
	"sync"

	"github.com/panjf2000/gnet/v2"

	"github.com/rollcall-go/rollcall/internal/layout"
)

// handwritten is the baseline: what an expert writes with gnet for this wire format, without users. It parses all frames
// of a read in gnet's own buffer, and writes their answers at once. It parses an unfinished frame again when all of it
// has come.
type handwritten struct {
	gnet.BuiltinEventEngine
	addr string

	mu    sync.Mutex
	loops map[gnet.EventLoop]*answers
}

// answers gathers what one event loop writes at a time.
type answers struct{ b []byte }

// progress is a connection's.
type progress struct {
	out  *answers // of its loop
	need int      // bytes that must have come before it parses again
}

func byHand(o options) error {
	s := &handwritten{addr: o.addr, loops: make(map[gnet.EventLoop]*answers)}
	return gnet.Run(s, "tcp://"+o.addr, gnet.WithNumEventLoop(o.loops))
}

func (s *handwritten) OnBoot(gnet.Engine) gnet.Action {
	listening(s.addr)
	return gnet.None
}

func (s *handwritten) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.loops[c.EventLoop()]
	if out == nil {
		out = new(answers)
		s.loops[c.EventLoop()] = out
	}
	c.SetContext(&progress{out: out})
	return nil, gnet.None
}

const (
	firstByte   = 0x52
	versionBits = 1 << 4
	replyFlag   = 1
	maxBody     = 1 << 20
)

func (s *handwritten) OnTraffic(c gnet.Conn) gnet.Action {
	p := c.Context().(*progress)
	if c.InboundBuffered() < p.need {
		return gnet.None
	}
	in, _ := c.Peek(-1)
	out, used := p.out.b[:0], 0
	p.need = 0
	for {
		b := in[used:]
		if len(b) < layout.HeaderLen {
			p.need = layout.HeaderLen
			break
		}
		length := binary.BigEndian.Uint32(b[4:])
		ids := uint32(b[12]) + uint32(b[13])
		if b[0] != firstByte || b[1] != versionBits || length < ids || length-ids > maxBody {
			return gnet.Close
		}
		total := layout.HeaderLen + int(length)
		if len(b) < total {
			p.need = total
			break
		}
		out = appendAnswer(out, b, b[layout.HeaderLen+int(ids):total])
		used += total
	}
	p.out.b = out
	if used > 0 {
		_, _ = c.Write(out)
		_, _ = c.Discard(used)
	}
	return gnet.None
}

// appendAnswer appends the answer to a frame, whose header and body are given.
func appendAnswer(dst, header, body []byte) []byte {
	return append(appendAnswerHeader(dst, header, len(body)), body...)
}

// appendAnswerHeader appends a header with the type and the ID of another, and without user IDs.
func appendAnswerHeader(dst, header []byte, body int) []byte {
	dst = append(dst, firstByte, versionBits|replyFlag, header[2], header[3])
	dst = binary.BigEndian.AppendUint32(dst, uint32(body))
	return append(dst, header[8], header[9], header[10], header[11], 0, 0, 0, 0)
}
