//go:build linux

// Package minimal is a server on gnet that does for its users what Rollcall does in the benchmark, without code of Rollcall:
// it imports only gnet and the standard library. Where Rollcall misses a target, this server shows the rate of a server that
// has only the necessary parts: it has one package, one wire format, no configuration, no authenticator, no events, no
// workers, and no way to stop.
//
// What it does: it turns frames into messages, finds a handler by the message's type, and calls the handler with the
// connection and the message. The handler replies, and the replies to one read go out in one write. The first message binds
// a user. After that, the user can be found by ID, by session and by connection; a second logon pushes the user out; and the
// user is watched for silence. Traffic is counted. A panic in a handler closes its connection and no other. The bytes that
// wait for a client are limited. Any goroutine can send, and can end a connection so that no further message is handled.
package minimal

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// Handler is told of a message, on the event loop of its connection.
type Handler func(c *Conn, m *Message)

// Server is the server. Handle and HandleDefault come before Run.
type Server struct {
	gnet.BuiltinEventEngine
	addr   string
	loops  int
	onBoot func()
	onUser func(*Conn)

	handlers [1 << 16]Handler // all of them, so that a call needs no check

	clock      atomic.Int64 // Unix nanoseconds, coarse
	lastNumber atomic.Uint64
	users      table[string, *user]
	sessions   table[sessionID, *Conn]
	conns      table[uint64, *Conn]
	watch      watch

	mu     sync.Mutex
	byGnet map[gnet.EventLoop]*loop
}

// loop is an event loop of gnet, with our data for it.
type loop struct {
	gnet gnet.EventLoop

	// The loop's own.
	msg     Message // the one being handled
	replies buffer  // to the messages of the present read
	spare   []*Conn

	mu     sync.Mutex
	output []*Conn // connections with output
	woken  bool
}

// New returns a server. onBoot is called when it listens; onUser, which may be nil, when a user is bound.
func New(addr string, loops int, onBoot func(), onUser func(*Conn)) *Server {
	s := &Server{addr: addr, loops: loops, onBoot: onBoot, onUser: onUser, byGnet: make(map[gnet.EventLoop]*loop)}
	s.users.init()
	s.sessions.init()
	s.conns.init()
	s.watch.init()
	for typ := range s.handlers {
		s.handlers[typ] = func(*Conn, *Message) {}
	}
	s.handlers[0] = invalid
	s.handlers[heartbeatType] = func(c *Conn, m *Message) {
		if m.ID != 0 {
			_ = c.Reply(m, nil)
		}
	}
	s.handlers[closeType] = func(c *Conn, _ *Message) { c.Kick(codeClientClosed) }
	return s
}

// Handle sets the handler of a message type.
func (s *Server) Handle(typ uint16, h Handler) { s.handlers[typ] = h }

// HandleDefault sets the handler of all types of the application's. Handle comes after it.
func (s *Server) HandleDefault(h Handler) {
	for typ := range firstSystemType {
		if typ > 0 {
			s.handlers[typ] = h
		}
	}
}

// Run serves until it fails.
func (s *Server) Run() error {
	s.clock.Store(time.Now().UnixNano())
	go s.keepTime()
	return gnet.Run(s, "tcp://"+s.addr, gnet.WithNumEventLoop(s.loops))
}

// OnBoot implements gnet.EventHandler.
func (s *Server) OnBoot(gnet.Engine) gnet.Action {
	s.onBoot()
	return gnet.None
}

// OnOpen implements gnet.EventHandler.
func (s *Server) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	s.mu.Lock()
	l := s.byGnet[gc.EventLoop()]
	if l == nil {
		l = &loop{gnet: gc.EventLoop()}
		s.byGnet[gc.EventLoop()] = l
	}
	s.mu.Unlock()
	c := &Conn{server: s, loop: l, gc: gc, number: s.lastNumber.Add(1)}
	gc.SetContext(c)
	s.watch.begin(c, s.clock.Load())
	return nil, gnet.None
}

// OnClose implements gnet.EventHandler.
func (s *Server) OnClose(gc gnet.Conn, _ error) gnet.Action {
	c := gc.Context().(*Conn)
	c.gone = true
	c.stopped.Store(true)
	s.unbind(c)
	return gnet.None
}

// OnTraffic implements gnet.EventHandler.
func (s *Server) OnTraffic(gc gnet.Conn) gnet.Action {
	c := gc.Context().(*Conn)
	if gc.InboundBuffered() < int(c.need) { // an unfinished frame is read when all of it has come
		return gnet.None
	}
	in, _ := gc.Peek(-1)
	l := c.loop
	used, messages := s.deliver(c, in)
	if used > 0 {
		_, _ = gc.Discard(used)
		c.received.add(l.msg.Type, messages, used)
		if now := s.clock.Load(); c.active.Load() != now {
			c.active.Store(now)
		}
	}
	if len(l.replies.b) > 0 {
		c.write(&l.replies)
		l.replies.reset()
	}
	if !c.gone && c.stopped.Load() {
		_, _ = gc.Discard(-1)
	}
	return gnet.None
}

// deliver handles the whole frames of in, and returns how many bytes and messages they are.
func (s *Server) deliver(c *Conn, in []byte) (used, messages int) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintln(os.Stderr, "minimal: a handler panicked:", v)
			c.Kick(codeInternalError)
		}
	}()
	if c.stopped.Load() || c.user == nil && !s.logOn(c, in) {
		return 0, 0
	}
	m := &c.loop.msg
	m.from, m.User, m.Dest, m.Flags = c, c.user.id, "", 0
	for {
		b := in[used:]
		if len(b) < headerLen {
			c.need = headerLen
			return used, messages
		}
		head, tail := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		n := headerLen + int(uint32(head))
		if head>>48 == begins && tail&idLengths == 0 && n <= headerLen+maxBody { // nearly every frame
			if len(b) < n {
				c.need = uint32(n)
				return used, messages
			}
			m.Type, m.ID, m.Device = uint16(head>>32), uint32(tail>>32), uint16(tail)
			m.Body = b[headerLen:n:n]
			s.handlers[m.Type](c, m)
		} else if n = s.unusual(c, m, b); n == 0 {
			return used, messages
		}
		used += n
		messages++
		if c.stopped.Load() {
			return used, messages
		}
	}
}

// unusual handles a frame that has flags or user IDs. It returns the frame's length; 0 if the frame is not whole, or breaks
// the protocol.
func (s *Server) unusual(c *Conn, m *Message, b []byte) int {
	flags := Flags(b[1]) & (FlagReply | FlagError)
	length, user, dest := int(binary.BigEndian.Uint32(b[4:])), int(b[12]), int(b[13])
	if b[0] != begins>>8 || b[1]&^byte(flags) != begins&0xFF || length < user+dest || length-user-dest > maxBody {
		c.Kick(codeInvalidMessage)
		return 0
	}
	n := headerLen + length
	if len(b) < n {
		c.need = uint32(n)
		return 0
	}
	m.Type, m.ID, m.Device = binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[14:])
	m.Dest = string(b[headerLen+user : headerLen+user+dest])
	m.Body = b[headerLen+user+dest : n : n]
	if flags == 0 { // otherwise it is a reply, and this server sends no requests
		s.handlers[m.Type](c, m)
	}
	m.Dest = ""
	return n
}

// invalid is the handler of types that no frame may have.
func invalid(c *Conn, _ *Message) { c.Kick(codeInvalidMessage) }
