package client

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// path is a connection's second way to the server: sealed datagrams beside TLS, for what may be lost. See docs/protocol.md, "Datagrams
// beside TLS". A goroutine of the connection runs it; any goroutine sends.
type path struct {
	conn   *conn
	nc     net.Conn
	id     uint64
	window udpwire.Window[uint64] // the goroutine's own, as the next
	opens  *udpwire.Cipher

	mu    sync.Mutex // a leaf; not held while the network is used
	seals *udpwire.Cipher
	sent  uint64        // the counter of the next datagram
	heard time.Duration // when the server was last heard here, counted from conn.born; 0 for never
}

const (
	// pathBeat is how often the client says Hello to a server that it hears: a router on the way forgets a client that is silent for longer.
	pathBeat = 10 * time.Second
	// pathLife is how long the way counts as open after the server was heard.
	pathLife = 25 * time.Second
)

// SendOptions say how one message is sent. Nil is the zero value.
type SendOptions struct {
	// Unreliable says that the message may be lost, and is not to wait behind what was lost before it: a player's position, say. It goes by
	// datagram, encrypted, if Config.UDP is set and datagrams get through (Client.Datagrams). It may then overtake other messages, and be
	// overtaken. Otherwise, and if it is larger than a datagram, it is sent like any other. A server passes a message for another user on
	// in the ordinary way.
	Unreliable bool
}

// SendMessage is Send, or SendTo where m has a DestUserID, with options. m has a Type, a Body, perhaps a DestUserID and a Device; other
// fields are an error: use Request for what is to be answered. m and its body may be used again when SendMessage returns. The errors
// are the same as Send's; a datagram that cannot be sent is lost without an error.
func (c *Client) SendMessage(m *protocol.Message, o *SendOptions) error {
	if m.ID != 0 || m.Flags != 0 || m.UserID != "" {
		return fmt.Errorf("rollcall: a message to be sent has a Type, a Body, a DestUserID and a Device alone")
	}
	cn, err := c.connFor(m)
	if err != nil {
		return err
	}
	if o != nil && o.Unreliable && m.Type < protocol.FirstSystemType && cn.sendApart(m) {
		return nil
	}
	return cn.send(context.Background(), m)
}

// Datagrams reports whether datagrams get through to the server at present, so that SendOptions.Unreliable has an effect. It is false in
// the beginning of each connection, for about the time of two round trips, and false always without Config.UDP and TLS.
func (c *Client) Datagrams() bool {
	cn, err := c.current()
	return err == nil && cn.openPath() != nil
}

// setDatagrams reads the fields of a Logon's answer that open the way for datagrams.
func (cn *conn) setDatagrams(fields map[string]string) {
	id, err := strconv.ParseUint(fields[system.FieldUDPID], 16, 64)
	secret, err2 := hex.DecodeString(fields[system.FieldUDPKey])
	if cn.client.cfg.UDP == "" || err != nil || err2 != nil || len(secret) != udpwire.SecretSize {
		return
	}
	ofClient, ofServer := udpwire.Keys([udpwire.SecretSize]byte(secret))
	cn.way = &path{conn: cn, id: id, opens: udpwire.NewCipher(ofServer), seals: udpwire.NewCipher(ofClient)}
}

// openPath returns the connection's path, if datagrams get through.
func (cn *conn) openPath() *path {
	p := cn.way
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heard == 0 || cn.now()-p.heard > pathLife {
		return nil
	}
	return p
}

// sendApart sends a message by datagram. It reports false where the message is to be sent like any other.
func (cn *conn) sendApart(m *protocol.Message) bool {
	p := cn.openPath()
	if p == nil {
		return false
	}
	frame, err := protocol.Binary.Append(make([]byte, 0, frameSize(m)), m)
	if err != nil || len(frame) > udpwire.MaxSealedFrame {
		return false
	}
	p.send(udpwire.Data, frame)
	return true
}

// send seals something and sends it.
func (p *path) send(kind byte, content []byte) {
	d := make([]byte, 0, udpwire.SealedMore+len(content))
	p.mu.Lock()
	d = p.seals.AppendSealed(d, p.id, p.sent, kind, content)
	p.sent++
	p.mu.Unlock()
	_, _ = p.nc.Write(d)
}

// run keeps the way open until ctx ends.
func (p *path) run(ctx context.Context) {
	for ctx.Err() == nil {
		nc, err := contained("DialContext", func() (net.Conn, error) { return p.conn.client.cfg.DialContext(ctx, "udp", p.address()) })
		if err != nil {
			sleep(ctx, pathBeat)
			continue
		}
		p.nc = nc // before the way can be open, and so before others send
		stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
		p.serve(ctx)
		stop()
		_ = nc.Close()
	}
}

// address returns where datagrams go. Without a host in Config.UDP that is the host of the connection.
func (p *path) address() string {
	host, port, _ := net.SplitHostPort(p.conn.client.cfg.UDP)
	if host == "" {
		if a := p.conn.nc.RemoteAddr(); a != nil {
			host, _, _ = net.SplitHostPort(a.String())
		}
	}
	return net.JoinHostPort(host, port)
}

// serve says Hello from time to time, and takes what comes, until ctx ends.
func (p *path) serve(ctx context.Context) {
	var buf [udpwire.MaxDatagram + 1]byte
	hello := make([]byte, udpwire.SealedHelloSize)
	for wait := udpRetry; ; wait = min(2*wait, pathBeat) {
		p.send(udpwire.Hello, hello)
		if p.conn.openPath() != nil {
			wait = pathBeat
		}
		for next := time.Now().Add(wait); time.Until(next) > 0; {
			_ = p.nc.SetReadDeadline(next)
			n, err := p.nc.Read(buf[:])
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				if d := buf[:n]; udpwire.IsWhole(d) && d[0] == udpwire.Sealed && udpwire.ID(d) == p.id {
					p.received(d)
				}
				if wait < pathBeat && p.conn.openPath() != nil {
					wait = pathBeat
					next = time.Now().Add(wait)
				}
			case !isTimeout(err): // no server listens there now, as the system has been told
				sleep(ctx, time.Until(next))
			}
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// received takes a sealed datagram.
func (p *path) received(d []byte) {
	kind, content, ok := p.opens.Open(d)
	if !ok {
		return
	}
	if isNew, _ := p.window.Take(udpwire.Counter(d)); !isNew {
		return
	}
	switch kind {
	case udpwire.Challenge:
		p.send(udpwire.Response, content)
		return
	case udpwire.Data:
		p.frames(content)
	}
	p.mu.Lock()
	p.heard = max(p.conn.now(), 1)
	p.mu.Unlock()
}

// frames delivers the messages of a datagram. What handlers are not ready for is lost.
func (p *path) frames(b []byte) {
	cn := p.conn
	for len(b) > 0 {
		var m protocol.Message
		n, _, err := protocol.Binary.Decode(b, &m, protocol.DecodeOptions{MaxBody: cn.frames.limit(b)})
		if err != nil || n <= 0 {
			return
		}
		b = b[n:]
		switch {
		case m.Type >= protocol.FirstSystemType: // only what an application sends comes here
		case m.IsReply():
			cn.answered(&m)
		default:
			cn.client.inbox.add(item{message: m.Clone(), size: frameSize(&m)}, cn.client.inbox.limit)
		}
	}
}
