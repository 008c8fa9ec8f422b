package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// udpConn makes a connection of datagrams: see docs/protocol.md, "UDP". It is a net.Conn whose reader gets the frames that come, and whose
// writer passes whole frames; a part of a frame at the end of what is written is left to the next Write.
//
// One goroutine reads, and another one writes. Timers send again what the server has not answered.
type udpConn struct {
	net.Conn // a *net.UDPConn, or what Config.DialContext returned
	nonce    uint64

	// Only the goroutine that reads uses these.
	in     [udpwire.MaxDatagram + 1]byte
	rest   []byte // frames that have come and were not read
	window udpwire.Window[uint32]
	over   bool // the server has told of the end

	mu       sync.Mutex // a leaf; not held while the network is used
	frame    []byte     // the first
	logons   [2][]byte  // datagrams with it that are sent until one is answered: with the first cookie, and with the latest
	proof    [udpwire.ProofSize]byte
	id       uint64
	key      [udpwire.KeySize]byte
	welcomed bool
	sequence uint32
	closed   bool
	leaving  bool        // a Close was sent
	again    *time.Timer // sends the Logon, or the Close, again
}

const (
	// udpRetry is after how long what was not answered is sent again.
	udpRetry = 200 * time.Millisecond
	// udpCookie is how often a Logon is sent before another cookie is asked for: the client may have got another address since.
	udpCookie = 5
)

var errFrameTooLarge = &protocol.CloseError{Code: protocol.MessageTooLarge, Text: "the message, with its user IDs, does not fit into a datagram"}

// isUDP reports whether a connection is one of datagrams.
func isUDP(nc net.Conn) bool {
	_, udp := nc.(*udpConn)
	return udp
}

// speakUDP asks the server for a cookie, over and over until ctx ends.
func speakUDP(ctx context.Context, nc net.Conn) (*udpConn, error) {
	c := &udpConn{Conn: nc, nonce: rand.Uint64()}
	hello := udpwire.AppendHello(nil, c.nonce)
	for ctx.Err() == nil {
		if _, err := nc.Write(hello); err != nil {
			return nil, err
		}
		_ = nc.SetReadDeadline(time.Now().Add(udpRetry))
		for {
			n, err := nc.Read(c.in[:])
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				return nil, err
			}
			if b := c.in[:n]; udpwire.IsWhole(b) && b[0] == udpwire.Cookie && udpwire.ID(b) == c.nonce {
				c.proof = udpwire.Proof(b)
				return c, nc.SetReadDeadline(time.Time{})
			}
		}
	}
	return nil, ctx.Err()
}

// Read implements net.Conn. It returns frames, and io.EOF when the server has ended the session.
func (c *udpConn) Read(b []byte) (int, error) {
	for {
		if len(c.rest) > 0 {
			n := copy(b, c.rest)
			c.rest = c.rest[n:]
			return n, nil
		}
		if c.over {
			return 0, io.EOF
		}
		n, err := c.Conn.Read(c.in[:])
		if err != nil {
			return 0, err
		}
		if d := c.in[:n]; udpwire.IsWhole(d) {
			c.received(d)
		}
	}
}

// received takes a datagram of the server.
func (c *udpConn) received(d []byte) {
	switch d[0] {
	case udpwire.Cookie:
		if udpwire.ID(d) == c.nonce {
			c.mu.Lock()
			c.logons[1] = udpwire.AppendLogon(nil, c.nonce, udpwire.Proof(d), c.frame)
			c.mu.Unlock()
		}
	case udpwire.Welcome:
		if udpwire.ID(d) == c.nonce && c.welcome(udpwire.Session(d)) {
			c.rest = d[udpwire.WelcomeHeader:]
		}
	case udpwire.Data:
		if c.isOurs(d) {
			if isNew, _ := c.window.Take(udpwire.Sequence(d)); isNew {
				c.rest = d[udpwire.DataHeader:]
			}
		}
	case udpwire.Challenge:
		if c.isOurs(d) {
			id := udpwire.ID(d)
			_, _ = c.Conn.Write(udpwire.AppendResponse(nil, id, udpwire.Answer(c.key, id, udpwire.Challenged(d)))) // the next datagram is challenged again
		}
	case udpwire.Gone:
		if !c.isOurs(d) {
			return
		}
		c.over = true
		c.mu.Lock()
		leaving := c.leaving
		c.mu.Unlock()
		if !leaving { // the server's Close has not come
			why := &protocol.CloseError{Code: protocol.CloseCode(udpwire.GoneCode(d))}
			c.rest, _ = protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, why)})
		}
	}
}

// welcome begins the session. It reports false where it has begun before. An ID of 0 is none: the frames say why.
func (c *udpConn) welcome(id uint64, key [udpwire.KeySize]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.welcomed {
		return false
	}
	c.welcomed, c.id, c.key, c.over = true, id, key, id == 0
	if c.again != nil {
		c.again.Stop()
	}
	return true
}

// isOurs reports whether a datagram is of this session. It runs on the goroutine that reads, which sets the ID.
func (c *udpConn) isOurs(d []byte) bool { return c.id != 0 && udpwire.ID(d) == c.id }

// Write implements net.Conn, for whole frames. It returns fewer bytes than b has where b ends within a frame. The first frame is sent
// until the server has answered it.
func (c *udpConn) Write(b []byte) (n int, err error) {
	if c.frame == nil {
		return c.logOn(b)
	}
	for n < len(b) {
		m := udpwire.Fill(b[n:], udpwire.MaxFrame)
		if m == 0 {
			return n, nil
		}
		if err := c.send(b[n : n+m]); err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// logOn sends the first frame, until it is answered.
func (c *udpConn) logOn(frame []byte) (int, error) {
	if most := udpwire.MaxDatagram - udpwire.LogonHeader; len(frame) > most {
		return 0, fmt.Errorf("rollcall: the logon takes %d bytes, and over UDP at most %d: a smaller token, or fewer fields", len(frame), most)
	}
	c.mu.Lock()
	c.frame = bytes.Clone(frame)
	c.logons[0] = udpwire.AppendLogon(nil, c.nonce, c.proof, c.frame)
	c.mu.Unlock()
	n := 0
	c.repeat(func() []byte {
		n++
		switch {
		case c.welcomed:
			return nil
		case n%udpCookie == 0:
			return udpwire.AppendHello(nil, c.nonce)
		case n%2 == 0 && c.logons[1] != nil:
			return c.logons[1]
		}
		return c.logons[0]
	})
	return len(frame), nil
}

// send sends whole frames in a datagram.
func (c *udpConn) send(frames []byte) error {
	c.mu.Lock()
	d := udpwire.AppendData(make([]byte, 0, udpwire.DataHeader+len(frames)), c.id, c.sequence)
	c.sequence++
	c.mu.Unlock()
	_, err := c.Conn.Write(append(d, frames...))
	return err
}

// repeat sends what next returns, at once and after each udpRetry, until next returns nil or the connection is closed. next is called with
// c.mu held.
func (c *udpConn) repeat(next func() []byte) {
	var send func()
	send = func() {
		c.mu.Lock()
		var d []byte
		if !c.closed {
			d = next()
		}
		if d != nil {
			c.again = time.AfterFunc(udpRetry, send)
		}
		c.mu.Unlock()
		if d != nil {
			_, _ = c.Conn.Write(d) // an error shows in Read
		}
	}
	send()
}

// CloseWrite has the end of the session told again until the server has confirmed it. A Close was written before.
func (c *udpConn) CloseWrite() error {
	if d := c.farewell(); d != nil {
		c.repeat(func() []byte { return d })
	}
	return nil
}

// farewell returns a datagram with a Close, or nil where there is no session.
func (c *udpConn) farewell() []byte {
	notice := &protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.ClientClosed})}
	frame, _ := protocol.Binary.Append(nil, notice) // encoding a notice cannot fail
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving = true; c.id == 0 || c.closed {
		return nil
	}
	c.sequence++
	return append(udpwire.AppendData(nil, c.id, c.sequence-1), frame...)
}

// Close implements net.Conn. It tells the server once.
func (c *udpConn) Close() error {
	if d := c.farewell(); d != nil {
		_, _ = c.Conn.Write(d)
	}
	c.mu.Lock()
	c.closed = true
	if c.again != nil {
		c.again.Stop()
	}
	c.mu.Unlock()
	return c.Conn.Close()
}
