package engine_test

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// webConn is the client's end of a WebSocket: each Write is one message, and Read returns what is in the server's messages.
type webConn struct {
	net.Conn
	in     []byte // has come and was not taken apart
	plain  []byte // was, and was not read
	op     byte   // of the messages that it sends
	within bool   // a message of the server's has begun
	got    []wsMessage
	noted  bool // got is written to
	pings  int
	status int    // of the server's Close; 0 before
	reason string // of it
	left   bool   // the client has sent its Close first
	err    error
}

// wsMessage is a frame of the server's.
type wsMessage struct {
	op      byte
	fin     bool
	payload string
}

// upgraded makes a connection a WebSocket. lines are further header fields.
func upgraded(t testing.TB, nc net.Conn, host string, lines ...string) *webConn {
	t.Helper()
	w, err := tryToUpgrade(nc, host, lines...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// tryToUpgrade is upgraded for any goroutine.
func tryToUpgrade(nc net.Conn, host string, lines ...string) (*webConn, error) {
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, webRequest(host, lines...)); err != nil {
		return nil, err
	}
	w := &webConn{Conn: nc, op: 2}
	status, head, err := w.tryAnswer()
	if err == nil && status != 101 {
		err = fmt.Errorf("the server answers\n%s", head)
	}
	return w, err
}

// webRequest is the request of a browser.
func webRequest(host string, lines ...string) string {
	return "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// answer reads the answer to the request.
func (w *webConn) answer(t testing.TB) (status int, head string) {
	t.Helper()
	status, head, err := w.tryAnswer()
	if err != nil {
		t.Fatal(err)
	}
	return status, head
}

// tryAnswer is answer for any goroutine.
func (w *webConn) tryAnswer() (status int, head string, err error) {
	for !bytes.Contains(w.in, []byte("\r\n\r\n")) {
		if err := w.more(); err != nil {
			return 0, "", fmt.Errorf("the server's answer is %q, %w", w.in, err)
		}
	}
	b, rest, _ := bytes.Cut(w.in, []byte("\r\n\r\n"))
	w.in = bytes.Clone(rest)
	if _, err := fmt.Sscanf(string(b), "HTTP/1.1 %d", &status); err != nil {
		return 0, "", fmt.Errorf("the server's answer is %q", b)
	}
	return status, string(b), nil
}

// more reads from the connection below.
func (w *webConn) more() error {
	n, err := readMore(w.Conn, &w.in)
	if n > 0 {
		return nil
	}
	return err
}

// wsFrame returns a frame as a client sends it.
func wsFrame(op byte, fin bool, payload []byte) []byte {
	if fin {
		op |= 0x80
	}
	b := []byte{op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := binary.BigEndian.AppendUint32(nil, rand.Uint32())
	b = append(b, mask...)
	begin := len(b)
	b = append(b, payload...)
	keys := bytes.Repeat(mask, 256) // XORBytes is much faster than a loop with the race detector
	for rest := b[begin:]; len(rest) > 0; {
		rest = rest[subtle.XORBytes(rest, rest, keys):]
	}
	return b
}

// Write implements net.Conn.
func (w *webConn) Write(p []byte) (int, error) {
	if _, err := w.Conn.Write(wsFrame(w.op, true, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read implements net.Conn.
func (w *webConn) Read(p []byte) (int, error) {
	for {
		if len(w.plain) > 0 {
			n := copy(p, w.plain)
			w.plain = w.plain[n:]
			return n, nil
		}
		if w.err != nil {
			return 0, w.err
		}
		more, err := w.take()
		if err != nil {
			w.err = err
			continue
		}
		if more {
			if err := w.more(); err != nil {
				if err == io.EOF && len(w.in) > 0 {
					err = io.ErrUnexpectedEOF
				}
				return 0, err
			}
		}
	}
}

// take takes a frame apart. more says that bytes are missing.
func (w *webConn) take() (more bool, err error) {
	b := w.in
	if len(b) < 2 {
		return true, nil
	}
	length, size := int(b[1]&0x7F), 2
	switch length {
	case 126:
		if size = 4; len(b) < size {
			return true, nil
		}
		length = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if size = 10; len(b) < size {
			return true, nil
		}
		length = int(binary.BigEndian.Uint64(b[2:]))
	}
	if len(b) < size+length {
		return true, nil
	}
	payload := b[size : size+length]
	w.in = b[size+length:]
	op, fin := b[0]&0x0F, b[0]&0x80 != 0
	if w.noted {
		w.got = append(w.got, wsMessage{op, fin, string(payload)})
	}
	switch {
	case b[0]&0x70 != 0, b[1]&0x80 != 0:
		return false, fmt.Errorf("a frame of the server begins with % x", b[:2])
	case w.status != 0:
		return false, fmt.Errorf("a frame of opcode %d behind the Close", op)
	case op == 8:
		if len(payload) >= 2 {
			w.reason = string(payload[2:])
		}
		w.status = 1005
		if len(payload) >= 2 {
			w.status = int(binary.BigEndian.Uint16(payload))
		}
		if !w.left {
			_, _ = w.Conn.Write(wsFrame(8, true, payload))
		}
	case op == 9:
		w.pings++
		_, err = w.Conn.Write(wsFrame(10, true, payload))
	case op == 10:
	case op != 0 == w.within:
		return false, fmt.Errorf("a frame of opcode %d out of its place", op)
	case op != 0 && op != w.op:
		return false, fmt.Errorf("a message of opcode %d", op)
	default:
		w.within = !fin
		w.plain = append(w.plain, payload...)
	}
	return false, err
}

// CloseWrite ends the client's side of the connection below, without a Close.
func (w *webConn) CloseWrite() error { return w.Conn.(interface{ CloseWrite() error }).CloseWrite() }
