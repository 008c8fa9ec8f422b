package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// Rule 15: neither side sends what the other must refuse: sending is an error, and a client that waits for it is told. No client is
// closed, and none waits for ever. The server's limit is for both ways, and a client learns it when it logs on.
func TestALimitOnBodiesIsBothSides(t *testing.T) {
	ca := testca.New(t)
	for name, tc := range map[string]struct {
		maxBody, limit, workers int
		secure                  bool
	}{
		"the default":       {0, 1 << 20, 0, false},
		"the default, TLS":  {0, 1 << 20, 0, true},
		"with Workers":      {0, 1 << 20, 2, false},
		"a larger one":      {3 << 20, 3 << 20, 0, false},
		"a larger one, TLS": {3 << 20, 3 << 20, 2, true},
		"a smaller one":     {64 << 10, 64 << 10, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			var serverTLS, clientTLS *tls.Config
			if tc.secure {
				serverTLS, clientTLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}, &tls.Config{RootCAs: ca.Pool}
			}
			served := make(chan error, 1)
			asked := make(chan error, 1)
			s := rollcalltest.NewServer(t, rollcall.Config{
				Engine: engine.Config{Limits: engine.Limits{MaxBody: tc.maxBody}, Workers: tc.workers, Listeners: []engine.Listener{{TLS: serverTLS}}},
				Bridge: bridge.Config{Relay: &bridge.Relay{}},
			}, func(s *rollcall.Server) {
				s.Engine.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
					served <- c.Reply(m, make([]byte, tc.limit+1))
					return nil
				})
				s.Engine.Handle(2, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, tc.limit)) })
				s.Engine.Handle(3, func(c *engine.Conn, m *protocol.Message) error {
					served <- c.RequestFunc(4, nil, time.Minute, func(_ *protocol.Message, err error) { asked <- err })
					return nil
				})
			})
			answered := make(chan error, 2)
			bob := s.Client(t, "bob", client.Config{TLS: clientTLS, Handle: map[uint16]client.Handler{
				4: func(c *client.Client, m *protocol.Message) error {
					answered <- c.Reply(m, make([]byte, tc.limit+1))
					return nil
				},
				5: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, m.Body) },
			}})
			alice := s.Client(t, "alice", client.Config{TLS: clientTLS})
			ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
			defer cancel()

			if _, err := alice.Request(ctx, 1, nil); !errors.Is(err, protocol.HandlerFailed) {
				t.Errorf("a request whose answer is too large: %v", err)
			}
			if err := receive(t, "the end of Reply", served); !errors.Is(err, protocol.MessageTooLarge) {
				t.Errorf("Reply returned %v", err)
			}
			if m, err := alice.Request(ctx, 2, make([]byte, tc.limit)); err != nil || len(m.Body) != tc.limit {
				t.Errorf("a request and an answer as large as they may be: %v", err)
			}
			if m, err := alice.RequestTo(ctx, "bob", 5, make([]byte, tc.limit)); err != nil || len(m.Body) != tc.limit {
				t.Errorf("a request to a user and an answer as large as they may be: %v", err)
			}
			for what, err := range map[string]error{
				"Send":    alice.Send(9, make([]byte, tc.limit+1)),
				"SendTo":  alice.SendTo("bob", 9, make([]byte, tc.limit+1)),
				"Request": func() error { _, err := alice.Request(ctx, 9, make([]byte, tc.limit+1)); return err }(),
			} {
				if !errors.Is(err, protocol.MessageTooLarge) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := alice.RequestTo(ctx, "bob", 4, nil); !errors.Is(err, protocol.HandlerFailed) {
				t.Errorf("a request to a user whose answer is too large: %v", err)
			}
			if err := bob.Send(3, nil); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(receive(t, "the end of RequestFunc", served), receive(t, "the client's answer", asked)); !errors.Is(err, protocol.HandlerFailed) {
				t.Errorf("a request of the server's whose answer is too large: %v", err)
			}
			for range 2 {
				if err := receive(t, "the end of Reply", answered); !errors.Is(err, protocol.MessageTooLarge) {
					t.Errorf("the client's Reply returned %v", err)
				}
			}
			for _, c := range []*client.Client{alice, bob} {
				if _, err := c.Ping(ctx); err != nil || c.State() != client.Online {
					t.Errorf("%s: %v, %v", c.UserID(), err, c.State())
				}
			}
		})
	}
}

// A hook may make more of a message than may be sent: who sent it is told, and who waits for it.
func TestARelayedBodyThatGrowsOverTheLimitIsToldOf(t *testing.T) {
	s := rollcalltest.NewServer(t, rollcall.Config{Bridge: bridge.Config{Relay: &bridge.Relay{
		Allow: func(_ *engine.Conn, m *protocol.Message) error {
			if m.Type == 1 || m.IsReply() {
				m.Body = make([]byte, protocol.DefaultMaxBody+1)
			}
			return nil
		},
	}}}, nil)
	s.Client(t, "bob", client.Config{HandleDefault: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, nil) }})
	alice := s.Client(t, "alice", client.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for typ, what := range map[uint16]string{1: "a request", 2: "an answer"} {
		if _, err := alice.RequestTo(ctx, "bob", typ, nil); !errors.Is(err, protocol.HandlerFailed) {
			t.Errorf("%s that grows too large: %v", what, err)
		}
	}
}

// What the server tells is accepted, whatever the client's own limit is; without a word of it the client's own counts.
func TestAClientAcceptsWhatTheServerTells(t *testing.T) {
	n := sockets(t)
	got := make(chan int, 1)
	h := func(_ *client.Client, m *protocol.Message) error { got <- len(m.Body); return nil }
	for _, tc := range []struct {
		told string
		own  int
		size int
	}{{"", 0, protocol.DefaultMaxBody}, {"5000000", 0, 5_000_000}, {"5000000", 100, 5_000_000}, {"100", 0, protocol.DefaultMaxBody},
		{"none", 0, protocol.DefaultMaxBody}, {"", 5_000_000, 5_000_000}, {"", -1, 5_000_000}} {
		c, p := n.dial(client.Config{MaxBody: tc.own, HandleDefault: h, Timeouts: client.Timeouts{Close: -1}}, map[string]string{system.FieldMaxBody: tc.told})
		frame, err := protocol.Binary.Append(nil, &protocol.Message{Type: 1, Body: make([]byte, tc.size)})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = p.nc.Write(frame) }() // the client takes it, or the receive below fails
		if size := receive(t, "the message", got); size != tc.size {
			t.Errorf("%+v: a message of %d bytes", tc, size)
		}
		_ = c.Close()
	}
}
