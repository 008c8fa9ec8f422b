//go:build linux

package soak

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// upgradeRequest makes a connection a WebSocket.
const upgradeRequest = "GET /rollcall HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nCookie: a=b\r\n\r\n"

// upgrade makes the connection a WebSocket.
func (p *peer) upgrade(within time.Duration) error {
	_ = p.SetDeadline(time.Now().Add(within))
	defer func() { _ = p.SetDeadline(time.Time{}) }()
	if _, err := io.WriteString(p.Conn, upgradeRequest); err != nil {
		return err
	}
	in := bufio.NewReader(p.Conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the answer to an upgrade is %s", answer.Status)
	}
	p.Conn = &webConn{Conn: p.Conn, in: in, reader: wsframe.Reader{FromServer: true}}
	return nil
}

// webConn is a client's WebSocket: each write is a message. A Close ends what can be read.
type webConn struct {
	net.Conn
	in     *bufio.Reader
	reader wsframe.Reader
	found  wsframe.Found
	raw    []byte // part of a header or of a control frame
	plain  []byte // payload that was not read
	over   error
}

func (c *webConn) Write(b []byte) (int, error) {
	if _, err := c.Conn.Write(wsframe.AppendMasked(nil, wsframe.Binary, b, rand.Uint32())); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *webConn) Read(b []byte) (int, error) {
	for len(c.plain) == 0 && c.over == nil {
		buf := make([]byte, 4096)
		got, err := c.in.Read(buf[copy(buf, c.raw):])
		if err != nil {
			return 0, err // perhaps a deadline, after which more may come
		}
		buf = buf[:len(c.raw)+got]
		c.found.Reset()
		n, used, broken := c.reader.Unwrap(buf, &c.found)
		c.plain, c.raw = buf[:n], slices.Clone(buf[used:])
		switch {
		case broken != nil:
			c.over = broken
		case c.found.Closed:
			c.over = io.EOF
		}
	}
	if len(c.plain) == 0 {
		return 0, c.over
	}
	n := copy(b, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

// webFloods are those that are about WebSocket.
func webFloods() map[string]flood {
	frames := func(n int, op byte) (b []byte) {
		for range n {
			b = wsframe.AppendMasked(b, op, nil, rand.Uint32())
		}
		return b
	}
	return map[string]flood{
		// The beginning of a request, and then a byte of it now and then.
		"half an upgrade": {300, 2, 0, overWeb, true, []string{notTold}, func(a *attacker) {
			half := len(upgradeRequest) / 2
			for a.goesOn() {
				a.holds(func(p *peer) {
					if p.write([]byte(upgradeRequest[:half])) != nil {
						return
					}
					for range 10_000 {
						if !a.waits(20*time.Millisecond) || p.write([]byte("-")) != nil {
							return
						}
					}
				})
			}
		}},
		"pings": {20, 4, 10_000, overWeb, false, []string{protocol.RateLimited.Error()}, func(a *attacker) {
			a.floodsWith(frames(1, wsframe.Ping))
		}},
		"empty WebSocket messages": {20, 4, 10_000, overWeb, false, []string{protocol.InvalidMessage.Error()}, func(a *attacker) {
			a.floodsWith(frames(10, wsframe.Binary))
		}},
	}
}

// floodsWith logs on and writes the same frames over and over, until it is thrown out, and begins again.
func (a *attacker) floodsWith(frames []byte) {
	for n := 0; a.goesOn(); n++ {
		p, err := dial(a.At)
		if err != nil {
			a.ended(notReached)
			a.waits(100 * time.Millisecond)
			continue
		}
		if _, err := p.logOn(fmt.Sprint("flood", a.number, "-", n)); err != nil {
			a.ended(err.Error())
			p.reset()
			a.waits(100 * time.Millisecond)
			continue
		}
		heard := make(chan protocol.CloseCode, 1)
		go func() {
			code, _ := p.hearOut()
			heard <- code
		}()
		code, out := protocol.CloseCode(0), false
		for !out && a.goesOn() {
			_, _ = p.Conn.(*webConn).Conn.Write(frames) // fails when the server has thrown us out; then we hear why
			select {
			case code = <-heard:
				out = true
			default:
			}
		}
		p.reset()
		if !out {
			<-heard
			a.ended(left)
			return
		}
		a.ended(howToldBy(code))
	}
}
