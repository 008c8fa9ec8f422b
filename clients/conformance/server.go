package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// server is one that a scenario plays. It listens on a port of its own; what it says is up to the scenario, but for heartbeats, which
// it answers.
type server struct {
	t      *trial
	ln     net.Listener
	scheme string      // tcp, tls, ws or wss
	tls    *tls.Config // for tls and wss
	conns  mailbox[*conn]
	failed mailbox[error] // handshakes of TLS and WebSocket that failed

	mu    sync.Mutex
	open  map[net.Conn]struct{}
	count int
}

// webPath is the path of the URL for WebSocket.
const webPath = "/rollcall/v1"

// listen makes a server that speaks the trial's transport.
func (t *trial) listen() *server { return t.listenOn(t.transport, nil) }

// listenOn makes a server that speaks tcp, tls, ws or wss. A nil config has the certificate that testees trust.
func (t *trial) listenOn(scheme string, config *tls.Config) *server {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.failf("no port to listen on: %v", err)
	}
	if config == nil && (scheme == "tls" || scheme == "wss") {
		config = goodTLS()
	}
	s := &server{t: t, ln: ln, scheme: scheme, tls: config, open: make(map[net.Conn]struct{})}
	t.servers = append(t.servers, s)
	go s.acceptAll()
	return s
}

// port returns the port as text.
func (s *server) port() string {
	_, port, _ := net.SplitHostPort(s.ln.Addr().String())
	return port
}

// hostPort is what an address in a Close names.
func (s *server) hostPort() string {
	if s.tls != nil {
		return "localhost:" + s.port()
	}
	return "127.0.0.1:" + s.port()
}

// address is what a testee dials.
func (s *server) address() string {
	a := s.scheme + "://" + s.hostPort()
	if strings.HasPrefix(s.scheme, "ws") {
		a += webPath
	}
	return a
}

func (s *server) acceptAll() {
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.count++
		n := s.count
		s.open[nc] = struct{}{}
		s.mu.Unlock()
		go s.serve(nc, n)
	}
}

func (s *server) serve(nc net.Conn, n int) {
	c := &conn{s: s, raw: nc, nc: nc, name: fmt.Sprintf("%s/%d", s.port(), n), at: time.Now()}
	s.t.log.addf("server   %s: a connection", c.name)
	defer func() {
		_ = nc.Close()
		s.mu.Lock()
		delete(s.open, nc)
		s.mu.Unlock()
		c.frames.close()
		c.beats.close()
	}()
	if s.tls != nil {
		tc := tls.Server(nc, s.tls)
		if err := tc.Handshake(); err != nil {
			s.t.log.addf("server   %s: TLS: %v", c.name, err)
			s.failed.put(err)
			return
		}
		c.nc = tc
	}
	if strings.HasPrefix(s.scheme, "ws") {
		w, err := upgrade(c.nc)
		if err != nil {
			s.t.log.addf("server   %s: WebSocket: %v", c.name, err)
			s.failed.put(err)
			return
		}
		if w.path != webPath {
			s.t.fault("a request for %q, want %q", w.path, webPath)
		}
		c.web = w
	}
	s.conns.put(c)
	c.readAll()
	c.lingering.Wait()
}

// accept waits for the next connection.
func (s *server) accept() *conn {
	c, ok := s.conns.next(s.t.patience())
	if !ok {
		s.t.failf("got no connection to %s, want one", s.hostPort())
	}
	return c
}

// close ends the server, and what is open.
func (s *server) close() {
	_ = s.ln.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.open {
		_ = nc.Close()
	}
}

// conn is a connection of a client.
type conn struct {
	s    *server
	raw  net.Conn // TCP's
	nc   net.Conn // that, or TLS over it
	web  *webSocket
	name string
	at   time.Time // when it was accepted

	frames mailbox[*protocol.Message] // that the scenario has not looked at
	beats  mailbox[beat]              // heartbeats that have come

	mu        sync.Mutex
	writing   sync.Mutex
	silent    bool           // heartbeats are not answered
	lingering sync.WaitGroup // has one while the connection stays open although the client has ended its side
	end       error          // how the client ended its side: io.EOF between frames
	named     string         // user ID of the Logon
	bound     string         // user ID of the Logon's reply
	left      bool           // the client has sent a Close
	first     bool           // a frame has come
}

// beat is a heartbeat of the client.
type beat struct {
	id uint32
	at time.Time
}

func (c *conn) readAll() {
	var buf []byte
	piece := make([]byte, 64<<10)
	for {
		n, err := c.read(piece)
		buf = append(buf, piece[:n]...)
		for len(buf) > 0 {
			var m protocol.Message
			size, _, fault := protocol.Binary.Decode(buf, &m, protocol.DecodeOptions{MaxBody: 64 << 20})
			if fault != nil {
				c.s.t.fault("a frame of the client is not valid: %v: %x", fault, buf[:min(len(buf), 64)])
				c.ended(fault)
				return
			}
			if size == 0 {
				break
			}
			c.received(m.Clone())
			buf = append([]byte(nil), buf[size:]...)
		}
		if err != nil {
			if errors.Is(err, io.EOF) && len(buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
			c.ended(err)
			return
		}
	}
}

func (c *conn) read(b []byte) (int, error) {
	if c.web != nil {
		return c.web.read(c, b)
	}
	return c.nc.Read(b)
}

func (c *conn) ended(err error) {
	c.s.t.log.addf("server   %s: the client ended its side: %v", c.name, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = err
	c.frames.close()
}

// received looks at a frame. What every frame of a client must keep to is checked here.
func (c *conn) received(m *protocol.Message) {
	c.s.t.log.addf("server   %s: < %s", c.name, describe(m))
	c.checkFrame(m)
	if m.Type == protocol.TypeHeartbeat && !m.IsReply() {
		c.beats.put(beat{m.ID, time.Now()})
		c.mu.Lock()
		answer := m.ID != 0 && !c.silent
		c.mu.Unlock()
		if answer {
			_ = c.trySend(&protocol.Message{Type: m.Type, Flags: protocol.FlagReply, ID: m.ID})
		}
		return
	}
	c.frames.put(m)
}

func (c *conn) checkFrame(m *protocol.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fault := c.s.t.fault
	if c.left {
		fault("after its Close the client sent %s", describe(m))
	}
	isLogon := m.Type == protocol.TypeLogon
	switch {
	case !c.first && (!isLogon || m.IsReply() || m.ID == 0):
		fault("the first frame is %s, want a Logon with an ID", describe(m))
	case c.first && isLogon:
		fault("a second Logon on a connection")
	case c.first && m.UserID != "" && m.UserID != c.named && m.UserID != c.bound:
		fault("a frame from %q, want %q or none: %s", m.UserID, c.bound, describe(m))
	case m.IsReply() && m.ID == 0:
		fault("an answer to a message with the ID 0, which expects none: %s", describe(m))
	case m.Type >= protocol.FirstSystemType && m.DestUserID != "" && m.DestUserID != protocol.ServerID:
		fault("a message of the system to a user: %s", describe(m))
	case m.Type == protocol.TypePushAck && (m.ID != 0 || len(m.Body) != 16):
		fault("a PushAck with an ID, or without the push's: %s", describe(m))
	case m.Type == protocol.TypeClose:
		c.left = true
		if _, err := protocol.ParseClose(m.Body); err != nil {
			fault("a Close whose body is not valid: %v", err)
		}
	}
	if !c.first {
		c.first, c.named = true, m.UserID
	}
}

// describe returns a frame as a person reads it.
func describe(m *protocol.Message) string {
	var b strings.Builder
	name, ok := typeNames[m.Type]
	if !ok {
		name = fmt.Sprintf("type %d", m.Type)
	}
	b.WriteString(name)
	if m.IsReply() {
		b.WriteString(", reply")
	}
	if m.Flags&protocol.FlagError != 0 {
		b.WriteString(", error")
	}
	fmt.Fprintf(&b, ", id %d", m.ID)
	if m.UserID != "" {
		fmt.Fprintf(&b, ", from %q", m.UserID)
	}
	if m.DestUserID != "" {
		fmt.Fprintf(&b, ", to %q", m.DestUserID)
	}
	fmt.Fprintf(&b, ": %q", shorten(string(m.Body), 80))
	return b.String()
}

var typeNames = map[uint16]string{
	protocol.TypeHeartbeat: "Heartbeat", protocol.TypeLogon: "Logon", protocol.TypeClose: "Close", protocol.TypePush: "Push",
	protocol.TypePushAck: "PushAck", protocol.TypeWhoIsOnline: "WhoIsOnline", protocol.TypeRenew: "Renew",
}
