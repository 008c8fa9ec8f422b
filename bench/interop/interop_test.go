// Package interop has Rollcall's WebSocket talk to two others, coder/websocket and gobwas/ws: each as a client of Rollcall's server, and as the
// server of Rollcall's client.
package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// other is another implementation of WebSocket. Its messages are a stream of bytes, as a net.Conn.
type other struct {
	name string
	// dial connects to a server, and offers compression and a subprotocol.
	dial func(ctx context.Context, url string, trusts *tls.Config) (net.Conn, error)
	// accept answers a client's request.
	accept func(w http.ResponseWriter, r *http.Request) (net.Conn, error)
	// closed returns what a Close frame has said, if it is the reason of an error of Read.
	closed func(error) (code int, reason string)
}

var others = []other{
	{"coder", dialCoder, acceptCoder, closedCoder},
	{"gobwas", dialGobwas, acceptGobwas, closedGobwas},
}

// each runs a test for each of the others, with TLS and without.
func each(t *testing.T, f func(t *testing.T, o other, server, trusts *tls.Config)) {
	ca := testca.New(t)
	for _, o := range others {
		t.Run(o.name+" over ws", func(t *testing.T) { f(t, o, nil, nil) })
		t.Run(o.name+" over wss", func(t *testing.T) {
			f(t, o, &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}, &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"})
		})
	}
}

// serve runs a server that sends every message of type 1 back.
func serve(t *testing.T, secure *tls.Config) *rollcalltest.Server {
	l := engine.Listener{TLS: secure, WebSocket: &engine.WebSocket{PingInterval: 500 * time.Millisecond}}
	return rollcalltest.NewServer(t, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{l}}}, func(s *rollcall.Server) {
		s.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	})
}

// Another client is served: what it sends, in fragments or not, comes back whole and in order while it is pinged, and it reads why it was kicked in
// Rollcall's Close and in WebSocket's.
func TestOtherClients(t *testing.T) {
	each(t, func(t *testing.T, o other, server, trusts *tls.Config) {
		srv := serve(t, server)
		scheme := "ws://"
		if server != nil {
			scheme = "wss://"
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*testkit.Patience)
		defer cancel()
		nc, err := o.dial(ctx, scheme+srv.Addr+"/", trusts)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		const count, ahead = 400, 4
		bodies := make([][]byte, count)
		for i := range bodies {
			bodies[i] = bytes.Repeat([]byte{byte(i)}, rand.IntN(1<<(6+i%11))) // up to 64 KiB
		}
		next := reader(t, nc)
		send := func(i int) {
			b, err := protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: uint32(i + 1), UserID: "ann", Body: bodies[i]})
			if err == nil {
				_, err = nc.Write(b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range ahead {
			send(i)
		}
		for i := range count {
			m, err := next()
			if err != nil || m.ID != uint32(i+1) || !m.IsReply() || !bytes.Equal(m.Body, bodies[i]) {
				t.Fatalf("after %d answers came %d bytes for %d, %v", i, len(m.Body), m.ID, err)
			}
			if i+ahead < count {
				send(i + ahead)
			}
		}
		if user, ok := srv.Users.User("ann"); !ok || user.Sessions[0].Address.Via != strings.TrimSuffix(scheme, "://") {
			t.Errorf("ann is %+v", user)
		}
		if _, err := srv.Users.Kick("ann", &usermgr.KickOptions{Text: "enough"}); err != nil {
			t.Fatal(err)
		}
		m, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if why, err := protocol.ParseClose(m.Body); m.Type != protocol.TypeClose || err != nil || why.Code != protocol.KickedOut || why.Text != "enough" {
			t.Errorf("a message of type %x says %v, %v", m.Type, why, err)
		}
		_, err = next()
		if code, reason := o.closed(err); code != 1008 || reason != "2002 KickedOut: enough" {
			t.Errorf("the end is %v, with %d %q", err, code, reason)
		}
		testkit.Eventually(t, "the end of the session", func() bool { return !srv.Users.IsOnline("ann") })
	})
}

// reader returns a function that reads the next message.
func reader(t *testing.T, nc net.Conn) func() (protocol.Message, error) {
	_ = nc.SetReadDeadline(time.Now().Add(5 * testkit.Patience))
	var in []byte
	piece := make([]byte, 8<<10)
	return func() (m protocol.Message, err error) {
		for {
			n, _, err := protocol.Binary.Decode(in, &m, protocol.DecodeOptions{MaxBody: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				m = *m.Clone()
				in = in[n:]
				return m, nil
			}
			if n, err = nc.Read(piece); err != nil {
				return m, err
			}
			in = append(in, piece[:n]...)
		}
	}
}

// Rollcall's client works with another server, whose messages may lie across its frames in any way, and closes its WebSocket as it is to be
// closed.
func TestOtherServers(t *testing.T) {
	each(t, func(t *testing.T, o other, server, trusts *tls.Config) {
		srv := rollcalltest.NewServer(t, rollcall.Config{}, func(s *rollcall.Server) {
			s.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
		})
		ends := make(chan error, 1)
		hs := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nc, err := o.accept(w, r)
			if err != nil {
				t.Error(err)
				return
			}
			noted := &notedConn{Conn: nc}
			if err := srv.ServeConn(noted); err != nil {
				t.Errorf("ServeConn returned %v", err)
			}
			ends <- noted.err // nothing reads any more
		}))
		scheme := "ws"
		if hs.TLS = server; server == nil {
			hs.Start()
		} else {
			hs.StartTLS()
			scheme = "wss"
		}
		defer hs.Close()
		c, err := client.Dial(t.Context(), scheme+"://"+hs.Listener.Addr().String()+"/", client.Config{UserID: "ann", TLS: trusts, MaxBody: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 200 {
			body := []byte(strings.Repeat(fmt.Sprint(i), rand.IntN(1<<(4+i%11))))
			reply, err := c.Request(t.Context(), 1, body)
			if err != nil {
				t.Fatalf("%d bytes: %v", len(body), err)
			}
			if !bytes.Equal(reply.Body, body) {
				t.Fatalf("the answer to %d bytes has %d", len(body), len(reply.Body))
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		testkit.Eventually(t, "the end of the session", func() bool { return !srv.Users.IsOnline("ann") })
		select {
		case err := <-ends:
			if code, _ := o.closed(err); code != 1000 {
				t.Errorf("the client's end is %v", err)
			}
		case <-time.After(testkit.Patience):
			t.Fatal("ServeConn has not returned")
		}
	})
}

// notedConn remembers the first error of Read. It is read to the end before it is closed: the engine has no need to, once it has read
// Rollcall's own Close.
type notedConn struct {
	net.Conn
	mu  sync.Mutex
	err error
}

func (c *notedConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.Conn.Read(p)
	c.err = err
	return n, err
}

// Close implements net.Conn.
func (c *notedConn) Close() error {
	p := make([]byte, 1000)
	for {
		if _, err := c.Read(p); err != nil {
			return c.Conn.Close()
		}
	}
}

var errNotNegotiated = errors.New("the server has agreed on compression, or on no subprotocol")
