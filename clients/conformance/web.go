package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/rollcall-go/rollcall/internal/wsframe"
)

// webSocket is the server's side of a WebSocket.
type webSocket struct {
	path  string
	in    *bufio.Reader
	take  wsframe.Reader
	found wsframe.Found
	raw   []byte // what has come and was not taken apart
	plain []byte // what was, and was not read
	over  error
}

// subprotocol is what a client offers.
const subprotocol = "rollcall.v1"

// upgrade answers the client's request.
func upgrade(nc net.Conn) (*webSocket, error) {
	in := bufio.NewReader(nc)
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, err
	}
	key := r.Header.Get("Sec-Websocket-Key")
	if key == "" || r.Header.Get("Sec-Websocket-Version") != "13" || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		_, _ = io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return nil, fmt.Errorf("no request for a WebSocket: %v", r.Header)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if offered := r.Header.Get("Sec-Websocket-Protocol"); offered != "" {
		if !slices.Contains(strings.FieldsFunc(offered, func(c rune) bool { return c == ',' || c == ' ' }), subprotocol) {
			_, _ = io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return nil, fmt.Errorf("the subprotocol %q is offered, want %q or none", offered, subprotocol)
		}
		answer += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	_, err = io.WriteString(nc, answer+"\r\n")
	return &webSocket{path: r.URL.Path, in: in}, err
}

// read returns payload of the client's messages. A Close frame of the client is answered, and is the end.
func (w *webSocket) read(c *conn, b []byte) (int, error) {
	for len(w.plain) == 0 && w.over == nil {
		piece := make([]byte, 64<<10)
		n, err := w.in.Read(piece)
		w.raw = append(w.raw, piece[:n]...)
		if err != nil {
			w.over = err
			if errors.Is(err, io.EOF) { // without a Close frame
				w.over = io.ErrUnexpectedEOF
			}
		}
		w.found.Reset()
		n, used, fault := w.take.Unwrap(w.raw, &w.found)
		w.plain = append(w.plain, w.raw[:n]...)
		w.raw = w.raw[used:]
		switch {
		case fault != nil:
			c.s.t.fault("a frame of WebSocket: %v", fault)
			w.over = fault
		case w.found.Closed:
			_ = c.writeFrame(wsframe.Close, wsframe.AppendClose(nil, wsframe.Normal, ""))
			w.over = io.EOF
		case w.found.Ping != nil:
			_ = c.writeFrame(wsframe.Pong, w.found.Ping)
		}
	}
	n := copy(b, w.plain)
	w.plain = w.plain[n:]
	if n > 0 {
		return n, nil
	}
	return 0, w.over
}

// writeFrame writes a whole message of WebSocket.
func (c *conn) writeFrame(op byte, payload []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.nc.Write(append(wsframe.AppendHeader(nil, op, true, len(payload)), payload...))
	return err
}
