package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/push"
)

// realServer is a whole server, on ports of loopback: one for each transport.
type realServer struct {
	*rollcall.Server
	pushes *push.Service
	ports  map[string]string
	stop   func() // ends it, and waits for that
}

// schemes are the transports of a real server, in the order of its listeners.
var schemes = []string{"tcp", "tls", "ws", "wss"}

// serve starts a server that relays, and answers requests of type echoType with what they have.
func (t *trial) serve(authenticate bridge.Authenticator) *realServer {
	return t.serveAt(map[string]string{}, authenticate)
}

// serveAt is serve at the ports of an earlier server; where it had none they are free ones.
func (t *trial) serveAt(ports map[string]string, authenticate bridge.Authenticator) *realServer {
	cfg := rollcall.Config{Authenticate: authenticate, Logger: zap.NewNop(), Engine: engine.Config{Loops: 1}}
	cfg.Bridge.Relay = &bridge.Relay{}
	cfg.Bridge.MayAskWhoIsOnline = func(string, []string) bool { return true }
	for _, scheme := range schemes {
		port := ports[scheme]
		if port == "" {
			port = "0"
		}
		l := engine.Listener{Addr: net.JoinHostPort("127.0.0.1", port)}
		if scheme == "tls" || scheme == "wss" {
			l.TLS = goodTLS()
		}
		if scheme == "ws" || scheme == "wss" {
			l.WebSocket = &engine.WebSocket{Path: webPath, CheckOrigin: func(*http.Request) bool { return true }}
		}
		cfg.Engine.Listeners = append(cfg.Engine.Listeners, l)
	}
	var srv *rollcall.Server
	for busy := time.Now(); ; time.Sleep(50 * time.Millisecond) { // another trial may have taken the port of a server that has stopped
		var err error
		if srv, err = rollcall.New(cfg); err != nil {
			t.failf("the real server: %v", err)
		}
		if err = srv.Listen(); err == nil {
			break
		}
		if time.Since(busy) > t.patience() {
			t.failf("the real server does not listen: %v", err)
		}
	}
	s := &realServer{Server: srv, pushes: push.New(srv.Bridge), ports: map[string]string{}}
	srv.Handle(echoType, func(c *rollcall.Conn, m *rollcall.Message) error {
		if m.ID == 0 {
			return nil
		}
		return c.Reply(m, m.Body)
	})
	for i, a := range srv.Addrs() {
		_, s.ports[schemes[i]], _ = net.SplitHostPort(a.String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.fault("the real server did not stop cleanly: %v", err)
		}
		closing, cancel := context.WithTimeout(context.Background(), eventually)
		defer cancel()
		_ = s.pushes.Close(closing)
	})
	t.stops = append(t.stops, s.stop)
	return s
}

// echoType is the type of messages that a real server answers with what they have.
const echoType = 7

// enter has the testee log on at a real server, over its own transport, and returns the event that tells that it is online.
func (t *trial) enter(s *realServer, user string, how command) event {
	return t.enterOver(t.transport, s, user, how)
}

// serveTwo starts a real server where two testees are online: t is alice, and the other one bob.
func (t *trial) serveTwo() (s *realServer, bob *trial) {
	s, bob = t.serve(nil), t.peer
	t.enter(s, "alice", nil)
	bob.enter(s, "bob", nil)
	return s, bob
}

func (t *trial) enterOver(scheme string, s *realServer, user string, how command) event {
	address := scheme + "://localhost:" + s.ports[scheme]
	c := command{"do": "dial", "user": user, "min_ms": 10, "max_ms": 500}
	switch scheme {
	case "ws", "wss":
		address += webPath
	case "tcp":
		address = scheme + "://127.0.0.1:" + s.ports[scheme]
	}
	if scheme == "tls" || scheme == "wss" {
		c["ca"] = trust().file
	}
	c["address"] = address
	for k, v := range how {
		c[k] = v
	}
	t.do(c)
	return t.state("online")
}

// eventually asks again and again whether something is so.
func (t *trial) eventually(what string, ok func() bool) {
	for end := time.Now().Add(t.patience()); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.failf("got no sign that %s", what)
		}
	}
}

// asks has the testee ask a user, or the server, and returns the outcome, which another testee may have to answer first.
func (t *trial) asks(to string, typ uint16, body string) (outcome func() event) {
	tag := t.unique("request")
	t.do(command{"do": "request", "tag": tag, "type": typ, "to": to, "body": hexOf(body), "timeout_ms": 20000})
	return func() event {
		return t.wait("the outcome of "+tag, func(e event) bool { return e.Tag == tag })
	}
}

// answersWith has the testee answer the next request, which must be from this user and have this body.
func (t *trial) answersWith(from, body, with string) {
	e := t.event("request")
	if e.From != from || e.body() != body {
		t.failf("got %s, want %q from %q", &e, shorten(body, 60), from)
	}
	t.do(command{"do": "reply", "request": e.Request, "body": hexOf(with)})
}

// mustBe requires that an outcome is this answer.
func (t *trial) mustBe(e event, from, body string) {
	if e.Event != "reply" || e.From != from || e.body() != body {
		t.failf("got %s, want the answer %q of %q", &e, shorten(body, 60), from)
	}
}

// sends has the testee send a message to a user.
func (t *trial) sends(to, body string) {
	tag := t.unique("message")
	t.do(command{"do": "send", "tag": tag, "type": plainType, "to": to, "body": hexOf(body)})
	t.tagged("done", tag)
}

// hears takes the next message, which must be this one.
func (t *trial) hears(from, body string) {
	if e := t.event("message"); e.From != from || e.body() != body {
		t.failf("got %s, want %q from %q", &e, shorten(body, 60), from)
	}
}

// limited is a context for one call to the server.
func (t *trial) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), t.patience())
}

func numbered(i int) string { return fmt.Sprintf("number %d", i) }
