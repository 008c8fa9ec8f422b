//go:build linux

package soak

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// takesUnit is what question.takes counts in.
const takesUnit = 100 * time.Microsecond

// noise is what the bodies of answers and pushes are cut from, each at another place.
var noise = func() []byte {
	b := make([]byte, 1<<20)
	x := uint64(1)
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}()

// cutFrom returns size bytes that belong to a number.
func cutFrom(number uint32, size int) []byte { return noise[number%1021:][:size] }

// frame returns the request with an ID.
func (a question) frame(id uint32) []byte {
	body := binary.BigEndian.AppendUint32([]byte{a.takes}, uint32(a.size))
	return frame(&protocol.Message{Type: echo, ID: id, Body: body})
}

// heard is what a client did on one connection, and what came of it.
type heard struct {
	call   *call
	remote string // its address, by which the server knows it
	asked  []question
	sent   int  // bytes of requests
	cut    bool // the server took no more
	frames []heardFrame
	left   int   // bytes of a frame that is not whole
	err    error // what reading ended with
}

type heardFrame struct {
	protocol.Message
	size int
}

// guest is a connection while it lasts.
type guest struct {
	*peer
	heard
	stress *stress
	first  chan struct{} // closed when the first frame is there, or there will be none
	read   chan struct{} // closed when reading has ended
}

// come makes one call.
func (s *stress) come(v *call) {
	p, err := dialIn(s.at, patience, func(fd int) {
		if v.buffer > 0 {
			_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, v.buffer)
		}
	})
	if err != nil {
		if !s.stopping.Load() {
			s.trouble("a client cannot connect: %v", err)
		}
		return
	}
	g := &guest{peer: p, heard: heard{call: v, remote: p.LocalAddr().String()}, stress: s, first: make(chan struct{}), read: make(chan struct{})}
	go g.listen()
	g.talk()
	g.end()
	<-g.read
	p.reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guests = append(s.guests, &g.heard)
}

// talk sends the Logon and all requests.
func (g *guest) talk() {
	v := g.call
	var fields []string
	if id := g.stress.session(v.user, v.back); id != "" {
		fields = []string{protocol.FieldSession, id}
	}
	out := logonFrameOn(v.user, v.device, fields...)
	if !v.together || v.waits && len(v.volleys) == 0 {
		g.say(out, nil)
		out = nil
		if v.waits {
			<-g.first
		}
	}
	for i, y := range v.volleys {
		if out == nil {
			takes(y.pause)
		}
		for k, q := range y.questions {
			out = append(out, q.frame(uint32(2+len(g.asked)+k))...)
		}
		if i == len(v.volleys)-1 && v.linger == 0 {
			out = append(out, v.end.last()...)
		}
		g.say(out, y.questions)
		out = nil
	}
	if v.linger > 0 {
		g.say(out, nil)
		takes(v.linger)
		out = nil
	}
	if v.linger > 0 || len(v.volleys) == 0 {
		g.say(append(out, v.end.last()...), nil)
	}
}

// last is what is sent before the end.
func (e ending) last() []byte {
	switch {
	case e.how == byStaying:
		return nil
	case e.closes:
		return frame(&protocol.Message{Type: protocol.TypeClose})
	case e.begins:
		f := question{}.frame(1 << 20)
		return f[:len(f)-1]
	}
	return nil
}

// say sends b, in which there are requests.
func (g *guest) say(b []byte, asks []question) {
	if g.cut || len(b) == 0 {
		return
	}
	if err := g.write(b); err != nil {
		g.cut = true
		if errors.Is(err, os.ErrDeadlineExceeded) {
			g.stress.trouble("the server takes nothing from %s", g.remote)
		}
		return
	}
	for _, a := range asks {
		g.asked = append(g.asked, a)
		g.sent += len(a.frame(0))
	}
}

// end ends the connection.
func (g *guest) end() {
	how := g.call.end.how
	switch how {
	case byClosing:
		_ = g.tcp.Close()
	case byReset:
		g.reset()
	case byStaying:
		select {
		case <-g.stress.over:
		case <-g.read:
		}
		_ = g.CloseWrite()
	case byFIN:
		_ = g.CloseWrite()
	case byNotice:
		_ = g.Conn.(*tls.Conn).CloseWrite()
	case byFINBeneath:
		_ = g.tcp.CloseWrite()
	}
}

// listen reads until the server has ended its side.
func (g *guest) listen() {
	defer close(g.read)
	first := sync.OnceFunc(func() { close(g.first) })
	defer first()
	takes(g.call.late)
	var in []byte
	buf := make([]byte, 16<<10)
	for {
		_ = g.SetReadDeadline(time.Now().Add(patience))
		n, err := g.Read(buf)
		in = append(in, buf[:n]...)
		for {
			var m protocol.Message
			n, _, err := protocol.Binary.Decode(in, &m, protocol.DecodeOptions{})
			if err != nil {
				g.stress.trouble("%s got what cannot be read: %v", g.remote, err)
				in = nil
			}
			if n <= 0 {
				break
			}
			in = in[n:]
			g.hear(m, n)
			first()
		}
		if err != nil {
			g.left, g.err = len(in), err
			return
		}
	}
}

// hear keeps a frame. Of the body it keeps what will be checked.
func (g *guest) hear(m protocol.Message, n int) {
	switch {
	case m.Type == protocol.TypeLogon && m.Flags == protocol.FlagReply:
		if reply, err := protocol.ParseLogonReply(m.Body); err == nil {
			g.stress.told(g.call.user, reply[protocol.FieldSession])
		}
	case m.Type == push:
		if len(m.Body) < 4 || !bytes.Equal(m.Body[4:], cutFrom(binary.BigEndian.Uint32(m.Body), len(m.Body)-4)) {
			g.stress.trouble("%s got a push with another body than was sent", g.remote)
			return
		}
		m.Body = bytes.Clone(m.Body[:4])
	case m.Type == echo && m.Flags == protocol.FlagReply:
		if !bytes.Equal(m.Body, cutFrom(m.ID, len(m.Body))) {
			g.stress.trouble("%s got another answer to %d than was sent, of %d bytes", g.remote, m.ID, len(m.Body))
		}
		m.Body = m.Body[:len(m.Body):len(m.Body)]
	}
	g.frames = append(g.frames, heardFrame{m, n})
}

// logonFrameOn is logonFrame for a device.
func logonFrameOn(userID string, device uint16, fields ...string) []byte {
	b := logonFrame(userID, fields...)
	var m protocol.Message
	if n, _, err := protocol.Binary.Decode(b, &m, protocol.DecodeOptions{}); err != nil || n != len(b) {
		panic(fmt.Sprint("a Logon cannot be read: ", err))
	}
	m.Device = device
	return frame(&m)
}
