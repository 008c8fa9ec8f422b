package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/protocol"
)

// attempt dials addr once. answer gets the client's request, and returns what the server writes before it ends the connection.
func attempt(t *testing.T, addr string, answer func(r *http.Request) string) error {
	t.Helper()
	n := sockets(t)
	n.raw = true
	failed := make(chan error, 1)
	go func() {
		c, err := client.Dial(context.Background(), addr, client.Config{UserID: "alice", DialContext: n.dialContext})
		if err == nil {
			_ = c.Close()
		}
		failed <- err
	}()
	w := newWebConn(t, n.accept().nc)
	r := w.request()
	_, _ = io.WriteString(w.Conn, answer(r))
	_ = w.Conn.(*net.TCPConn).CloseWrite()
	err := receive(t, "Dial's error", failed)
	_ = w.Conn.Close()
	if err == nil {
		t.Fatal("Dial returned no error")
	}
	return err
}

// The package's comment says which refusals of HTTP are final.
func TestARefusalOfHTTPHasACode(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		want   protocol.CloseCode
		text   []string
		retry  string
	}{
		"400":            {"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nwrong", protocol.InvalidMessage, []string{"400 Bad Request: wrong"}, ""},
		"401":            {"HTTP/1.1 401 Unauthorized\r\n\r\n", protocol.Unauthorized, []string{"401 Unauthorized"}, ""},
		"403":            {"HTTP/1.1 403 Forbidden\r\nContent-Length: 18\r\n\r\nnot this page\nnor that", protocol.Unauthorized, []string{"403 Forbidden: not this page"}, ""},
		"404":            {"HTTP/1.1 404 Not Found\r\n\r\nthere is no WebSocket at this path\n", protocol.InvalidMessage, []string{"404 Not Found: there is no WebSocket at this path"}, ""},
		"426":            {"HTTP/1.1 426 Upgrade Required\r\n\r\n", protocol.InvalidMessage, []string{"426"}, ""},
		"431":            {"HTTP/1.1 431 X\r\n\r\n", protocol.InvalidMessage, []string{"431 X"}, ""},
		"429":            {"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n\r\n", protocol.TooManyConnections, []string{"429"}, "1000"},
		"503":            {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 120\r\n\r\nfull\n", protocol.TooManyConnections, []string{"503 Service Unavailable: full"}, "120000"},
		"503 with a day": {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n", protocol.TooManyConnections, []string{"503"}, ""},
		"503 chunked":    {"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfull\r\n0\r\n\r\n", protocol.TooManyConnections, []string{": full"}, ""},
		"502":            {"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>\x1b[2J\n", protocol.NetworkError, []string{"502 Bad Gateway: <html> [2J"}, ""},
		"500 alone":      {"HTTP/1.1 500\r\n\r\n", protocol.NetworkError, []string{"500"}, ""},
		"408":            {"HTTP/1.1 408 Request Timeout\r\n\r\n", protocol.NetworkError, []string{"408"}, ""},
		"200":            {"HTTP/1.1 200 OK\r\n\r\nlog on to this hotel", protocol.NetworkError, []string{"200 OK: log on to this hotel"}, ""},
		"302":            {"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\n\r\n", protocol.NetworkError, []string{"302 Found"}, ""},
		"100, then 403":  {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n", protocol.Unauthorized, []string{"403"}, ""},
		"a long text":    {"HTTP/1.1 403 Forbidden\r\n\r\n" + strings.Repeat("é", 1000), protocol.Unauthorized, []string{strings.Repeat("é", 100)}, ""},

		"no HTTP":           {"220 mail.example ESMTP\r\n\r\n", protocol.InvalidMessage, []string{"does not speak HTTP", "220 mail"}, ""},
		"frames":            {"\x52\x10\xff\x02\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x03\xec\x00\x00\n", protocol.InvalidMessage, []string{"does not speak HTTP"}, ""},
		"nothing":           {"", protocol.NetworkError, []string{"within its answer"}, ""},
		"part of a line":    {"HTTP/1.1 10", protocol.NetworkError, []string{"within its answer"}, ""},
		"part of a header":  {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso", protocol.NetworkError, []string{"within its answer"}, ""},
		"a header too long": {"HTTP/1.1 101 Switching Protocols\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n", protocol.InvalidMessage, []string{"more than 16384 bytes"}, ""},
		"a line too long":   {strings.Repeat("x", 17<<10), protocol.InvalidMessage, []string{"more than 16384 bytes"}, ""},
		"a bad header":      {"HTTP/1.1 101 Switching Protocols\r\nwebsocket\r\n\r\n", protocol.InvalidMessage, []string{"malformed"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := attempt(t, "ws://first:1/rollcall?token=secret", func(*http.Request) string { return tc.answer })
			var ce *protocol.CloseError
			if !errors.As(err, &ce) || ce.Code != tc.want || ce.Info["retry-ms"] != tc.retry {
				t.Errorf("Dial returned %v, want %v", err, tc.want)
			}
			for _, text := range append(tc.text, "ws://first:1/rollcall") {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("Dial returned %v, which lacks %q", err, text)
				}
			}
			if s := err.Error(); len(s) > 400 || strings.Contains(s, "secret") || strings.ContainsAny(s, "\x1b\n\r") || strings.Contains(s, "nor that") {
				t.Errorf("Dial returned %q", s)
			}
		})
	}
}

// An answer that does not prove that the server has understood the request begins no WebSocket.
func TestAnAnswerThatBeginsNoWebSocketIsRefused(t *testing.T) {
	cut := func(header string) func(r *http.Request) string {
		return func(r *http.Request) string {
			var kept []string
			for line := range strings.SplitSeq(acceptance(r), "\r\n") {
				if !strings.HasPrefix(line, header) {
					kept = append(kept, line)
				}
			}
			return strings.Join(kept, "\r\n")
		}
	}
	add := func(line string) func(r *http.Request) string {
		return func(r *http.Request) string { return acceptance(r, line) }
	}
	for name, tc := range map[string]struct {
		answer func(r *http.Request) string
		text   string
	}{
		"without Upgrade":    {cut("Upgrade"), "another protocol"},
		"without Connection": {cut("Connection"), "another protocol"},
		"without the answer": {cut("Sec-WebSocket-Accept"), "Sec-WebSocket-Accept"},
		"with another's answer": {func(*http.Request) string {
			return acceptance(&http.Request{Header: http.Header{"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}})
		}, "Sec-WebSocket-Accept"},
		"with two answers":          {add("Sec-WebSocket-Accept: x"), "Sec-WebSocket-Accept"},
		"with an extension":         {add("Sec-WebSocket-Extensions: permessage-deflate"), "extension"},
		"with another subprotocol":  {add("Sec-WebSocket-Protocol: rollcall.line"), "rollcall.line"},
		"with a subprotocol's name": {add("Sec-WebSocket-Protocol: ROLLCALL.V1"), "ROLLCALL.V1"},
		"with two subprotocols":     {add("Sec-WebSocket-Protocol: rollcall.v1\r\nSec-WebSocket-Protocol: chat"), "chat"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := attempt(t, "ws://first:1/", tc.answer); code(t, err) != protocol.InvalidMessage || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("Dial returned %v", err)
			}
		})
	}
}

// The request is the one of RFC 6455, section 4.1, with a key of its own for each connection.
func TestTheRequestOfAWebSocket(t *testing.T) {
	keys := make(map[string]bool)
	for addr, want := range map[string]struct{ target, host string }{
		"ws://first":                        {"/", "first"},
		"ws://first:":                       {"/", "first"},
		"WS://first:81":                     {"/", "first:81"},
		"ws://first/a%20b/?x=y%2Fz":         {"/a%20b/?x=y%2Fz", "first"},
		"ws://first/a b":                    {"/a%20b", "first"},
		"ws://first?x":                      {"/?x", "first"},
		"ws://[::1]:81/":                    {"/", "[::1]:81"},
		"ws://[fe80::1%25eth0]:81/":         {"/", "[fe80::1]:81"},
		"ws://[fe80::1%25eth0]/":            {"/", "[fe80::1]"},
		"ws://127.0.0.1:80/rollcall,b:9000": {"/rollcall", "127.0.0.1:80"},
	} {
		_ = attempt(t, addr, func(r *http.Request) string {
			key := r.Header.Get("Sec-Websocket-Key")
			if keys[key] || len(key) != 24 {
				t.Errorf("the key is %q", key)
			}
			keys[key] = true
			if r.Method != "GET" || r.Proto != "HTTP/1.1" || r.RequestURI != want.target || r.Host != want.host ||
				r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" || r.Header.Get("Sec-Websocket-Version") != "13" ||
				r.Header.Get("Sec-Websocket-Protocol") != "rollcall.v1" || r.Header.Get("Origin") != "" || r.ContentLength != 0 {
				t.Errorf("the request of %s is %s %s to %s with %v", addr, r.Method, r.RequestURI, r.Host, r.Header)
			}
			return "HTTP/1.1 403 Forbidden\r\n\r\n"
		})
	}
}

// A URL is dialled at its host, with its scheme's port where it has none.
func TestAURLIsDialledAtItsHost(t *testing.T) {
	for addr, want := range map[string]string{
		"ws://first/x": "first:80", "wss://first/x": "first:443", "ws://first:81": "first:81", "wss://[::1]": "[::1]:443", "ws://[::1]:81": "[::1]:81",
	} {
		n := pipes(t)
		n.fail <- errDown
		_, err := client.Dial(t.Context(), addr, client.Config{UserID: "alice", DialContext: n.dialContext})
		if got := <-n.dials; got != want || !errors.Is(err, errDown) {
			t.Errorf("%s is dialled at %s, %v", addr, got, err)
		}
	}
}

// What cannot be connected to is an error before anything is dialled.
func TestABadURLIsAnErrorAtOnce(t *testing.T) {
	for addr, text := range map[string]string{
		"http://first/":               "scheme is http",
		"tcp://first:1":               "scheme is tcp",
		"ws:///rollcall":              "no host",
		"ws://:9000":                  "no host",
		"ws://first:x":                "port",
		"ws://first:70000":            "no port 70000",
		"ws://ann:secret@first/":      "password",
		"ws://first/#there":           "fragment",
		"ws://first/?a b":             "query",
		"ws://first/?\u00e9":          "query",
		"ws://b\u00fccher.example/":   "ASCII",
		"ws://first/%zz":              "escape",
		"ws://fi rst/":                "invalid character",
		"ws://first/\r\nHost: second": "control character",
		"b:9000, http://first":        "scheme is http",
		"://first":                    "scheme",
	} {
		n := pipes(t)
		n.fail <- errDown
		_, err := client.Dial(t.Context(), addr, client.Config{UserID: "alice", DialContext: n.dialContext, Reconnect: client.Reconnect{First: true}})
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "secret") || len(n.dials) > 0 {
			t.Errorf("Dial to %q returned %v after %d attempts", addr, err, len(n.dials))
		}
	}
	_, err := client.Dial(t.Context(), "b:9000,ws://first/", client.Config{UserID: "alice", TLS: new(tls.Config)})
	if err == nil || !strings.Contains(err.Error(), "Config.TLS") {
		t.Errorf("with TLS set Dial to ws:// returned %v", err)
	}
}

// A client that is refused for now waits as long as the server asks, and comes back; one that is refused for good ends.
func TestAClientGoesByHTTPsRefusals(t *testing.T) {
	for answer, want := range map[string]struct {
		after time.Duration
		state client.State
	}{
		"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n": {7 * time.Second, client.Online},
		"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n":                           {0, client.Online},
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n":                             {0, client.Closed},
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n":                             {0, client.Closed},
	} {
		over(t, transport{web: true}, answer[9:12], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := pipes(t)
				cfg := client.Config{Reconnect: client.Reconnect{Min: -1}}
				changes := watch(&cfg)
				_, p := n.dial(cfg, nil)
				expect(t, changes, client.Online)
				_ = p.nc.Close()
				expect(t, changes, client.Reconnecting)
				n.raw = true
				w := newWebConn(t, n.accept().nc)
				w.request()
				began := time.Now()
				_, _ = io.WriteString(w.Conn, answer)
				n.raw = false
				if want.state == client.Online {
					expect(t, changes, client.Reconnecting)
					n.accept().welcome(nil)
				}
				expect(t, changes, want.state)
				if took := time.Since(began); took != want.after {
					t.Errorf("the client is %v after %v", want.state, took)
				}
			})
		})
	}
}

// The text of a refusal is not waited for longer than a second, and the answer to the request no longer than Timeouts.Dial.
func TestAServerThatDoesNotAnswerIsGivenUpOn(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		after  time.Duration
	}{
		"silence":     {"", 5 * time.Second},
		"half a line": {"HTTP/1.1 1", 5 * time.Second},
		"no text":     {"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := pipes(t)
				n.raw = true
				failed := make(chan error, 1)
				began := time.Now()
				go func() {
					_, err := client.Dial(context.Background(), "ws://first:1", client.Config{UserID: "alice", DialContext: n.dialContext,
						Timeouts: client.Timeouts{Dial: 5 * time.Second}})
					failed <- err
				}()
				w := newWebConn(t, n.accept().nc)
				w.request()
				_, _ = io.WriteString(w.Conn, tc.answer)
				err := <-failed
				if late := tc.after == 5*time.Second; err == nil || errors.Is(err, context.DeadlineExceeded) != late || time.Since(began) != tc.after {
					t.Errorf("Dial returned %v after %v", err, time.Since(began))
				}
				if n, err := w.Conn.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the connection is open: %d, %v", n, err)
				}
			})
		})
	}
}

// A server names where to connect instead by a URL, or by host and port, which then stand in place of those of the URL. A client that
// came by TLS does not go on without.
func TestAServerNamesAnotherAddressToAWebSocket(t *testing.T) {
	for _, tc := range []struct {
		at, named string
		dialled   string
		web       bool
		target    string
	}{
		{"ws://first:1/a?b", "second:2", "second:2", true, "/a?b"},
		{"ws://first:1/a", "ws://second:2/c", "second:2", true, "/c"},
		{"ws://first:1/a", "no://where", "first:1", true, "/a"}, // after an attempt that fails
		{"first:1", "ws://second:2/c", "second:2", true, "/c"},
	} {
		t.Run(tc.at+" "+tc.named, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := pipes(t)
				n.raw = true
				done := n.start(context.Background(), tc.at, client.Config{Reconnect: client.Reconnect{Min: -1}})
				p := n.accept()
				if strings.HasPrefix(tc.at, "ws") {
					p.nc = acceptWeb(t, p.nc)
				}
				p.welcome(nil)
				c := (<-done).c
				<-n.dials
				p.notice(protocol.CloseError{Code: protocol.ServerStopping, Info: map[string]string{"address": tc.named}})
				_ = p.nc.Close()
				p = n.accept()
				w := newWebConn(t, p.nc)
				if r := w.request(); r.RequestURI != tc.target || r.Host != tc.dialled {
					t.Errorf("the client asks for %s at %s", r.RequestURI, r.Host)
				}
				if got := <-n.dials; got != tc.dialled {
					t.Errorf("the client dials %s", got)
				}
				n.hangUp()
				_ = c.Close()
			})
		})
	}
}

// A client of wss:// trusts the servers that Config.TLS says, or the system does; speaks HTTP/1.1 over TLS whatever Config.TLS offers;
// and is not led to a connection without TLS.
func TestTheClientSpeaksWebSocketOverTLS(t *testing.T) {
	ca := testca.New(t)
	listener := engine.Listener{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}, WebSocket: new(engine.WebSocket)}
	srv := newServer(t, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{listener}}}, nil)
	url := "wss://" + srv.Addr
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var unknown *tls.CertificateVerificationError
	if _, err := client.Dial(ctx, url, client.Config{UserID: "ann"}); !errors.As(err, &unknown) {
		t.Errorf("with the system's roots Dial ended with %v", err)
	}
	if _, err := client.Dial(ctx, strings.Replace(url, "127.0.0.1", "127.0.0.2", 1), client.Config{UserID: "ann", TLS: &tls.Config{RootCAs: ca.Pool}}); err == nil {
		t.Error("a certificate for another host is trusted")
	}
	cfg := client.Config{TLS: &tls.Config{RootCAs: ca.Pool, NextProtos: []string{"h2"}}, Reconnect: client.Reconnect{Min: -1}}
	changes := watch(&cfg)
	srv.Addr = "wss://" + strings.Replace(srv.Addr, "127.0.0.1", "localhost", 1)
	c := srv.Client(t, "ann", cfg)
	expect(t, changes, client.Online)
	for conn := range srv.Engine.Conns() {
		if conn.Transport() != "wss" || conn.TLS() == nil || conn.TLS().NegotiatedProtocol != "http/1.1" {
			t.Errorf("the connection speaks %s, %+v", conn.Transport(), conn.TLS())
		}
		conn.Close(&protocol.CloseError{Code: protocol.RateLimited, Info: map[string]string{"address": "ws://127.0.0.1:1/"}})
	}
	expect(t, changes, client.Reconnecting)
	expect(t, changes, client.Online)
	if _, err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// TCP and WebSocket may be mixed among the addresses.
func TestAddressesOfTCPAndWebSocketMix(t *testing.T) {
	listeners := []engine.Listener{{}, {WebSocket: new(engine.WebSocket)}}
	srv := newServer(t, rollcall.Config{Engine: engine.Config{Listeners: listeners}}, nil)
	tcp, web := srv.Addrs()[0].String(), "ws://"+srv.Addrs()[1].String()
	for _, tc := range []struct{ addr, transport string }{
		{web + ", " + tcp, "ws"}, {tcp + "," + web, "tcp"}, {"127.0.0.1:1," + web, "ws"}, {"ws://127.0.0.1:1," + tcp, "tcp"},
	} {
		srv.Addr = tc.addr
		c := srv.Client(t, "ann", client.Config{})
		for conn := range srv.Engine.Conns() {
			if conn.UserID() == "ann" && conn.Transport() != tc.transport {
				t.Errorf("to %s the client speaks %s", tc.addr, conn.Transport())
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
