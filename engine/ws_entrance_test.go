package engine_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: clients that do not end their HTTP request delay those that wait behind them by a second at most, however long a handshake may take.
func TestSlowRequestsDoNotKeepOthersOut(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		for name, sent := range map[string]string{"nothing": "", "half a line": "GET / HT", "half a request": "GET / HTTP/1.1\r\nHost: localhost\r\n"} {
			t.Run(name, func(t *testing.T) {
				const places = 4
				e := newEcho(engine.Config{Accept: engine.Accept{MaxHandshakes: places}, Timeouts: engine.Timeouts{Handshake: time.Hour}})
				r := serve(t, e)
				for range 2 * places {
					nc := bare(t, r.addr, nil)
					go func() { // behind the first ones there is no TLS handshake before they are given up on
						if tr := transportOf(t); tr.secure != nil {
							nc = tls.Client(nc, tr.secure.client)
						}
						_, _ = io.WriteString(nc, sent)
					}()
				}
				eventually(t, "all places are taken", func() bool { return e.Stats().Conns.Handshaking == places })
				dial(t, r.addr).ask(1, 1, "")
				if n := e.Stats().Refused.Handshake; n == 0 || n > 2*places {
					t.Errorf("%d were given up on", n)
				}
			})
		}
	})
}

// Rule 15: requests that begin no WebSocket count as flaps, whether they are answered or not.
func TestFailedRequestsBanAnAddress(t *testing.T) {
	for name, sent := range map[string]string{"no HTTP": "\x00\x01", "a bad request": "GET / HTTP/1.0\r\n\r\n",
		"a foreign page": webRequest("localhost", "Origin: http://evil.example"), "half a request": "GET / HTTP/1.1\r\n"} {
		t.Run(name, func(t *testing.T) {
			e := newEcho(engine.Config{Listeners: []engine.Listener{{WebSocket: new(engine.WebSocket)}}, Bans: engine.Bans{Flaps: 2}})
			r := serve(t, e)
			for i := range uint64(2) {
				p := dialFrom(t, "127.0.1.1", r.addr)
				p.sendRaw([]byte(sent))
				if name == "half a request" {
					_ = p.Close()
				}
				eventually(t, "the count", func() bool { return e.Stats().Refused.Handshake == i+1 })
				wantNobodyIn(t, e)
			}
			eventually(t, "the ban", func() bool { return len(e.Bans()) == 1 })
			dialFrom(t, "127.0.1.1", r.addr).wantUntold()
			newPeer(t, upgraded(t, dialFrom(t, "127.0.1.2", r.addr).Conn, "localhost")).ask(1, 1, "")
		})
	}
}

// A certificate authority may check the server by its own protocol, RFC 8737, which tls.Config answers; a WebSocket does not begin so.
func TestAWebSocketDoesNotBeginWithAnotherProtocol(t *testing.T) {
	sec := newSecurity(t)
	server, client := sec.server.Clone(), sec.client.Clone()
	server.NextProtos = []string{"h2", "acme-tls/1"}
	client.NextProtos = []string{"acme-tls/1"}
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: server, WebSocket: new(engine.WebSocket)}}})
	r := serve(t, e)
	p := dialTLS(t, r.addr, client)
	if got := p.state().NegotiatedProtocol; got != "acme-tls/1" {
		t.Errorf("%q was agreed on", got)
	}
	p.sendRaw([]byte(webRequest("localhost")))
	p.wantUntold()
	if n := e.Stats().Refused.Handshake; n != 1 {
		t.Errorf("%d were refused", n)
	}
}

// wrapped is what a middleware passes on.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WebSocketHandler takes a connection over through a ResponseWriter that wraps the server's, and the request keeps the values of its
// context, but not its end: a middleware may give it a time.
func TestWebSocketHandlerBehindAMiddleware(t *testing.T) {
	type key struct{}
	e := newEcho(engine.Config{})
	g := newGate(t, e)
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	defer cancel()
	seen := make(chan string, 1)
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		cancel()
		of := k.Conn().HTTPRequest().Context()
		seen <- fmt.Sprint(of.Value(key{}), ", ", of.Err())
		k.Admit(&engine.Admitted{UserID: m.UserID, Deliver: m.Clone()})
	}
	serve(t, e)
	h := e.WebSocketHandler(engine.WebSocket{})
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrapped{w}, r.WithContext(ctx)) }))
	defer hs.Close()
	p := newPeer(t, upgraded(t, bare(t, hs.Listener.Addr().String(), nil), "localhost"))
	p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
	if got := receive(t, "the request", seen); got != "kept, <nil>" {
		t.Errorf("the request's context has %s", got)
	}
	p.read()
	p.ask(1, 2, "")
	_ = p.Close()
	eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
}

// A connection of HTTP/2 cannot be taken over.
func TestWebSocketHandlerOverHTTP2(t *testing.T) {
	e := newEcho(engine.Config{})
	serve(t, e)
	hs := httptest.NewUnstartedServer(e.WebSocketHandler(engine.WebSocket{}))
	hs.EnableHTTP2 = true
	hs.StartTLS()
	defer hs.Close()
	answer, err := hs.Client().Get(hs.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.ProtoMajor != 2 || answer.StatusCode != http.StatusUpgradeRequired || !strings.Contains(string(text), "HTTP/1.1") {
		t.Errorf("the answer, by HTTP/%d, is %d, %q", answer.ProtoMajor, answer.StatusCode, text)
	}
}

// On an address that is no loopback address the Host may be any. The pages that may connect are those of the server's own URL, whose scheme is
// https over TLS.
func TestPagesOfTheServersOwnURL(t *testing.T) {
	e := newEcho(engine.Config{})
	serve(t, e)
	h := e.WebSocketHandler(engine.WebSocket{})
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	hs := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local)))
	}))
	hs.StartTLS()
	defer hs.Close()
	plain := httptest.NewServer(hs.Config.Handler)
	defer plain.Close()
	for origin, want := range map[string][2]int{"": {101, 101}, "https://app.example.com": {101, 403}, "http://app.example.com": {403, 101},
		"https://app.example.com:8443": {403, 403}, "https://evil.example": {403, 403}} {
		for i, at := range []*httptest.Server{hs, plain} {
			nc := bare(t, at.Listener.Addr().String(), nil)
			if at == hs {
				nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
			}
			var lines []string
			if origin != "" {
				lines = append(lines, "Origin: "+origin)
			}
			w := &webConn{Conn: nc, op: 2}
			_, _ = io.WriteString(nc, webRequest("app.example.com", lines...))
			if status, head := w.answer(t); status != want[i] {
				t.Errorf("%s: a page of %q: the answer is\n%s", at.URL, origin, head)
			}
			_ = nc.Close()
		}
	}
}
