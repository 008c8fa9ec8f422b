package client_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/lossy"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

var unreliable = &engine.SendOptions{Unreliable: true}

// besideTLS runs a server with a listener for TLS and one for datagrams. It sends what comes as type 1 back, as what may be lost. cfg is
// for its clients.
func besideTLS(t *testing.T, web *engine.WebSocket) (srv *rollcalltest.Server, cfg client.Config) {
	t.Helper()
	ca := testca.New(t)
	secure := &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}
	srv = rollcalltest.NewServer(t, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{{TLS: secure, WebSocket: web}, {Network: "udp"}}}},
		func(s *rollcall.Server) {
			s.Handle(1, func(c *rollcall.Conn, m *rollcall.Message) error {
				return c.SendMessage(&protocol.Message{Type: 1, Body: m.Body}, unreliable)
			})
		})
	if web != nil {
		srv.Addr = "wss://" + srv.Addr
	}
	return srv, client.Config{TLS: &tls.Config{RootCAs: ca.Pool}, UDP: srv.Engine.Addrs()[1].String()}
}

// cable is the way to a server: what goes over TLS can be held up.
type cable struct {
	mu      sync.Mutex
	passing sync.Cond
	held    bool
	network *lossy.Network // for datagrams; nil for one that loses nothing
	sent    atomic.Int64   // datagrams
	bytes   atomic.Int64   // over TLS
	barred  atomic.Bool    // no datagram gets through
}

func newCable() *cable {
	k := new(cable)
	k.passing.L = &k.mu
	return k
}

func (k *cable) hold(held bool) {
	k.mu.Lock()
	k.held = held
	k.mu.Unlock()
	k.passing.Broadcast()
}

func (k *cable) dial(ctx context.Context, network, addr string) (nc net.Conn, err error) {
	if network == "udp" && k.network != nil {
		nc, err = k.network.Dial(ctx, addr, 1)
	} else {
		nc, err = new(net.Dialer).DialContext(ctx, network, addr)
	}
	if err != nil {
		return nil, err
	}
	return &cableEnd{Conn: nc, of: k, datagrams: network == "udp"}, nil
}

type cableEnd struct {
	net.Conn
	of        *cable
	datagrams bool
}

func (e *cableEnd) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	e.wait()
	return n, err
}

func (e *cableEnd) Write(b []byte) (int, error) {
	e.wait()
	switch {
	case !e.datagrams:
		e.of.bytes.Add(int64(len(b)))
	case e.of.barred.Load():
		return len(b), nil
	default:
		e.of.sent.Add(1)
	}
	return e.Conn.Write(b)
}

// wait waits while what goes over TLS is held up.
func (e *cableEnd) wait() {
	if e.datagrams {
		return
	}
	e.of.mu.Lock()
	defer e.of.mu.Unlock()
	for e.of.held {
		e.of.passing.Wait()
	}
}

// CloseWrite is for the end of TLS.
func (e *cableEnd) CloseWrite() error { return e.Conn.(*net.TCPConn).CloseWrite() }

// mayBeLost sends until the echo of one has come.
func mayBeLost(t *testing.T, c *client.Client, echoes <-chan string) {
	t.Helper()
	n := 0
	testkit.Eventually(t, "an echo by datagram", func() bool {
		n++
		if err := c.SendMessage(&protocol.Message{Type: 1, Body: fmt.Append(nil, n)}, &client.SendOptions{Unreliable: true}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-echoes:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
}

// What may be lost goes by datagram, both ways, and does not wait for what is held up on the way of TLS.
func TestWhatMayBeLostGoesByDatagram(t *testing.T) {
	for name, web := range map[string]*engine.WebSocket{"tls": nil, "wss": {}} {
		t.Run(name, func(t *testing.T) {
			srv, cfg := besideTLS(t, web)
			k := newCable()
			defer k.hold(false)
			echoes := make(chan string, 100)
			cfg.DialContext = k.dial
			cfg.Handle = map[uint16]client.Handler{1: func(_ *client.Client, m *protocol.Message) error {
				echoes <- string(m.Body)
				return nil
			}}
			c := srv.Client(t, "ann", cfg)
			testkit.Eventually(t, "datagrams get through", c.Datagrams)
			if err := srv.Bridge.Group("room").Join(bridge.Member{UserID: "ann"}); err != nil {
				t.Fatal(err)
			}
			k.hold(true)
			mayBeLost(t, c, echoes)
			for name, send := range map[string]func(*protocol.Message) error{
				"to a user": func(m *protocol.Message) error { return srv.Bridge.SendMessage("ann", m, unreliable) },
				"to a group": func(m *protocol.Message) error {
					_, err := srv.Bridge.Group("room").SendMessage(m, unreliable)
					return err
				},
			} {
				testkit.Eventually(t, "a message "+name+" by datagram", func() bool {
					if err := send(&protocol.Message{Type: 1, Body: []byte(name)}); err != nil {
						t.Fatal(err)
					}
					for deadline := time.After(100 * time.Millisecond); ; {
						select {
						case got := <-echoes:
							if got == name {
								return true
							}
						case <-deadline:
							return false
						}
					}
				})
			}
			k.hold(false)
			if _, err := c.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			srv.Users.Kick("ann", nil)
			<-c.Done()
			if c.Datagrams() {
				t.Error("datagrams get through to a server that has ended the session")
			}
		})
	}
}

// Where datagrams do not get through, what may be lost goes over TLS, all of it, and in order.
func TestWhereDatagramsDoNotGetThroughAllGoesOverTLS(t *testing.T) {
	srv, cfg := besideTLS(t, nil)
	k := newCable()
	k.barred.Store(true)
	cfg.DialContext = k.dial
	echoes := make(chan string, 100)
	cfg.Handle = map[uint16]client.Handler{1: func(_ *client.Client, m *protocol.Message) error {
		echoes <- string(m.Body)
		return nil
	}}
	for name, udp := range map[string]string{"barred": cfg.UDP, "nothing listens": deaf(t), "not asked for": ""} {
		cfg.UDP = udp
		c := srv.Client(t, "ann", cfg)
		for i := range 20 {
			if err := c.SendMessage(&protocol.Message{Type: 1, Body: fmt.Append(nil, i)}, &client.SendOptions{Unreliable: true}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			if got := <-echoes; got != strconv.Itoa(i) {
				t.Errorf("%s: %s came, want %d", name, got, i)
			}
		}
		if c.Datagrams() {
			t.Errorf("%s: datagrams get through", name)
		}
		_ = c.Close()
	}
}

// deaf returns an address where nothing listens.
func deaf(t *testing.T) string {
	t.Helper()
	pc := testkit.Must(net.ListenPacket("udp", "127.0.0.1:0"))
	defer func() { _ = pc.Close() }()
	return pc.LocalAddr().String()
}

// On a way that loses, repeats and reorders datagrams, and with a client that moves, no message is delivered twice, and the session over
// TLS does not notice.
func TestDatagramsBesideTLSMayBeLost(t *testing.T) {
	var mu sync.Mutex
	delivered := make(map[string]int)
	srv, cfg := besideTLS(t, nil)
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	k := newCable()
	k.network = &lossy.Network{Lose: 0.2, Repeat: 0.1, Delay: 0.1, Move: 0.05, Seed: seed}
	cfg.DialContext = k.dial
	cfg.Handle = map[uint16]client.Handler{1: func(_ *client.Client, m *protocol.Message) error {
		mu.Lock()
		delivered[string(m.Body)]++
		mu.Unlock()
		return nil
	}}
	c := srv.Client(t, "ann", cfg)
	testkit.Eventually(t, "datagrams get through", c.Datagrams)
	n := 0
	testkit.Eventually(t, "a hundred echoes", func() bool {
		for range 20 {
			n++
			if err := c.SendMessage(&protocol.Message{Type: 1, Body: fmt.Append(nil, n)}, &client.SendOptions{Unreliable: true}); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		return len(delivered) >= 100
	})
	if _, err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for body, times := range delivered {
		if times > 1 {
			t.Errorf("message %s was delivered %d times", body, times)
		}
	}
	if len(delivered) == n {
		t.Error("nothing was lost")
	}
}

// A message with options is one that expects no answer, and Config.UDP is an address.
func TestSettingsOfDatagramsAreChecked(t *testing.T) {
	srv, cfg := besideTLS(t, nil)
	c := srv.Client(t, "ann", cfg)
	for _, m := range []protocol.Message{{Type: 1, ID: 1}, {Type: 1, Flags: protocol.FlagReply}, {Type: 1, UserID: "bob"}, {Type: protocol.TypePush}} {
		if err := c.SendMessage(&m, nil); err == nil {
			t.Errorf("%+v was sent", m)
		}
	}
	for _, udp := range []string{"localhost", "localhost:", "udp://localhost:1"} {
		cfg.UDP = udp
		if _, err := client.Dial(t.Context(), srv.Addr, cfg); err == nil || !strings.Contains(err.Error(), "Config.UDP is") {
			t.Errorf("UDP %q: %v", udp, err)
		}
	}
}
