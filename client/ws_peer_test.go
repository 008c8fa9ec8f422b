package client_test

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// transport is what a client's connections speak. In a test of eachTransport, newServer, join, pipes and sockets use the test's
// transport; otherwise TCP.
type transport struct {
	web    bool
	udp    bool
	server *tls.Config // nil for none
	trusts *tls.Config
}

var transportsOf sync.Map // by the name of the test

// over runs a test with a transport.
func over(t *testing.T, tr transport, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		transportsOf.Store(t.Name(), tr)
		defer transportsOf.Delete(t.Name())
		f(t)
	})
}

// eachTransport runs a test over ws:// and over wss://.
func eachTransport(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	ca := testca.New(t)
	over(t, transport{web: true}, "ws", f)
	over(t, transport{web: true, server: &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}},
		trusts: &tls.Config{RootCAs: ca.Pool}}, "wss", f)
}

// transportOf returns that of a test, which may be a part of the one that eachTransport runs.
func transportOf(t testing.TB) transport {
	for name := t.Name(); ; {
		if tr, ok := transportsOf.Load(name); ok {
			return tr.(transport)
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return transport{}
		}
		name = name[:i]
	}
}

// address returns the address of a server for Dial.
func (tr transport) address(hostPort string) string {
	switch {
	case tr.server != nil:
		return "wss://" + hostPort + "/rollcall"
	case tr.web:
		return "ws://" + hostPort + "/rollcall"
	case tr.udp:
		return "udp://" + hostPort
	}
	return hostPort
}

// newServer is rollcalltest.NewServer with the test's transport.
func newServer(t *testing.T, cfg rollcall.Config, setup func(*rollcall.Server)) *rollcalltest.Server {
	t.Helper()
	tr := transportOf(t)
	if len(cfg.Engine.Listeners) == 0 {
		cfg.Engine.Listeners = make([]engine.Listener, 1)
	}
	l := &cfg.Engine.Listeners[0]
	if tr.udp {
		l.Network, l.Cleartext = "udp", true
	}
	if tr.web {
		if l.WebSocket == nil {
			l.WebSocket = new(engine.WebSocket)
		}
		l.WebSocket.Path, l.TLS = "/rollcall", tr.server
	}
	return rollcalltest.NewServer(t, cfg, setup)
}

// join logs a user on at a server of newServer.
func join(t *testing.T, srv *rollcalltest.Server, userID string, cfg client.Config) *client.Client {
	t.Helper()
	tr := transportOf(t)
	bare := srv.Addr
	defer func() { srv.Addr = bare }()
	srv.Addr = tr.address(bare)
	if tr.trusts != nil {
		cfg.TLS = tr.trusts
	}
	return srv.Client(t, userID, cfg)
}

// webConn is the server's end of a WebSocket: each Write is one message, and Read returns what is in the client's messages, each of
// which must have whole frames.
type webConn struct {
	net.Conn
	t      testing.TB
	in     []byte // has come and was not taken apart
	plain  []byte // was, and was not read
	masks  map[uint32]int
	pongs  chan string
	closes chan string // the client's Close: code and reason
	over   error
}

// acceptWeb reads a client's request, and makes the connection a WebSocket.
func acceptWeb(t testing.TB, nc net.Conn) *webConn {
	t.Helper()
	w := newWebConn(t, nc)
	if _, err := io.WriteString(nc, acceptance(w.request())); err != nil {
		t.Fatal(err)
	}
	return w
}

func newWebConn(t testing.TB, nc net.Conn) *webConn {
	return &webConn{Conn: nc, t: t, masks: make(map[uint32]int), pongs: make(chan string, 100), closes: make(chan string, 1)}
}

// request reads the client's request.
func (w *webConn) request() *http.Request {
	w.t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(w.Conn))
	if err != nil {
		w.t.Fatalf("the client's request: %v", err)
	}
	return r
}

// acceptance is the answer that begins a WebSocket. lines are further header fields.
func acceptance(r *http.Request, lines ...string) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	lines = append([]string{"HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:])}, lines...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// serverFrame returns a frame of the server's.
func serverFrame(op byte, last bool, payload string) string {
	return string(wsframe.AppendHeader(nil, op, last, len(payload))) + payload
}

// serverClose returns a Close frame of the server's.
func serverClose(code uint16, reason string) string {
	return serverFrame(wsframe.Close, true, string(wsframe.AppendClose(nil, code, reason)))
}

// Write implements net.Conn.
func (w *webConn) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.Conn, serverFrame(wsframe.Binary, true, string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read implements net.Conn. The client's Close is the end.
func (w *webConn) Read(p []byte) (int, error) {
	for len(w.plain) == 0 && w.over == nil {
		if w.take() {
			continue
		}
		chunk := make([]byte, 16<<10)
		n, err := w.Conn.Read(chunk)
		w.in = append(w.in, chunk[:n]...)
		if n == 0 {
			w.over = err
		}
	}
	if n := copy(p, w.plain); n > 0 {
		w.plain = w.plain[n:]
		return n, nil
	}
	return 0, w.over
}

// take takes a frame apart, unless bytes are missing.
func (w *webConn) take() bool {
	b := w.in
	if len(b) < 2 {
		return false
	}
	length, size := uint64(b[1]&0x7F), 2
	switch {
	case length == 126 && len(b) >= 4:
		length, size = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127 && len(b) >= 10:
		length, size = binary.BigEndian.Uint64(b[2:]), 10
	case length >= 126:
		return false
	}
	if uint64(len(b)) < uint64(size)+4+length {
		return false
	}
	if b[0]&0xF0 != 0x80 || b[1]&0x80 == 0 {
		w.t.Errorf("a frame of the client begins with % x", b[:2])
	}
	mask := b[size : size+4]
	if m := binary.BigEndian.Uint32(mask); true {
		if w.masks[m]++; w.masks[m] > 1 {
			w.t.Errorf("the mask %08x comes again", m)
		}
	}
	payload := make([]byte, length)
	for i := range payload {
		payload[i] = b[size+4+i] ^ mask[i%4]
	}
	w.in = b[uint64(size)+4+length:]
	switch op := b[0] & 0x0F; op {
	case wsframe.Binary:
		w.wholeFrames(payload)
		w.plain = append(w.plain, payload...)
	case wsframe.Pong:
		w.pongs <- string(payload)
	case wsframe.Close:
		code := uint16(wsframe.NoCode)
		if len(payload) >= 2 {
			code, payload = binary.BigEndian.Uint16(payload), payload[2:]
		}
		w.closes <- strings.TrimSpace(fmt.Sprintf("%d %s", code, payload))
		w.over = io.EOF
	default:
		w.t.Errorf("a frame of the client has the opcode %d", op)
	}
	return true
}

// wholeFrames checks a message of the client's.
func (w *webConn) wholeFrames(b []byte) {
	var m protocol.Message
	for len(b) > 0 {
		n, _, err := protocol.Binary.Decode(b, &m, protocol.DecodeOptions{})
		if err != nil || n == 0 {
			w.t.Errorf("a message of the client's ends with part of a frame: %d bytes, %v", len(b), err)
			return
		}
		b = b[n:]
	}
}
