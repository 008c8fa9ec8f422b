package interop

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// gobwasConn has messages in fragments of up to 1,000 bytes, each of which is a part of what is written.
type gobwasConn struct {
	net.Conn
	in    io.Reader
	side  ws.State
	rest  []byte
	write sync.Mutex
}

const fragment = 1000

func dialGobwas(ctx context.Context, url string, trusts *tls.Config) (net.Conn, error) {
	nc, early, answer, err := ws.Dialer{TLSConfig: trusts, Protocols: []string{"rollcall.v1"},
		Extensions: []httphead.Option{httphead.NewOption("permessage-deflate", nil)}}.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	if len(answer.Extensions) > 0 || answer.Protocol != "rollcall.v1" {
		return nil, errNotNegotiated
	}
	c := &gobwasConn{Conn: nc, in: nc, side: ws.StateClientSide}
	if early != nil {
		c.in = early
	}
	return c, nil
}

func acceptGobwas(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	nc, rw, _, err := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "rollcall.v1" }}.Upgrade(r, w)
	if err != nil {
		return nil, err
	}
	return &gobwasConn{Conn: nc, in: bufio.NewReader(io.MultiReader(io.LimitReader(rw.Reader, int64(rw.Reader.Buffered())), nc)), side: ws.StateServerSide}, nil
}

// Read implements net.Conn.
func (c *gobwasConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		b, _, err := wsutil.ReadData(struct {
			io.Reader
			io.Writer
		}{c.in, locked{c}}, c.side)
		if err != nil {
			return 0, err
		}
		c.rest = b
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// locked is for answers to control frames, which must not come within a frame.
type locked struct{ c *gobwasConn }

func (l locked) Write(p []byte) (int, error) {
	l.c.write.Lock()
	defer l.c.write.Unlock()
	return l.c.Conn.Write(p)
}

// Write implements net.Conn.
func (c *gobwasConn) Write(p []byte) (int, error) {
	w := wsutil.NewWriterSize(locked{c}, c.side, ws.OpBinary, fragment)
	n, err := w.Write(p)
	if err == nil {
		err = w.Flush()
	}
	return n, err
}

func closedGobwas(err error) (code int, reason string) {
	var ce wsutil.ClosedError
	if errors.As(err, &ce) {
		return int(ce.Code), ce.Reason
	}
	return 0, ""
}
