package engine_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// serveWeb runs an echo engine whose listener speaks WebSocket.
func serveWeb(t *testing.T, w engine.WebSocket, cfg engine.Config) *running {
	t.Helper()
	cfg.Listeners = []engine.Listener{{WebSocket: &w}}
	return serve(t, newEcho(cfg))
}

// request sends a request, and returns the status of the answer and all of it.
func request(t *testing.T, network, addr, text string) (status int, answer string) {
	t.Helper()
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	w := &webConn{Conn: nc}
	status, head := w.answer(t)
	if status == 101 {
		return status, head
	}
	rest, err := io.ReadAll(nc)
	if err != nil {
		t.Fatalf("the connection ended with %v", err)
	}
	return status, head + "\r\n\r\n" + string(w.in) + string(rest)
}

// RFC 6455, section 4.2: what the request of a WebSocket must have, and what is answered where it has not. The answer ends the connection.
func TestARequestThatBeginsNoWebSocketIsAnswered(t *testing.T) {
	r := serveWeb(t, engine.WebSocket{Path: "/chat"}, engine.Config{})
	good := strings.Replace(webRequest("localhost"), "GET / ", "GET /chat ", 1)
	replace := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("no %q in the request", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, c := range []struct {
		name, request string
		status        int
		says          string
	}{
		{"a good one", good, 101, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{"a query", replace("/chat ", "/chat?room=1 "), 101, ""},
		{"lower case", strings.Replace(strings.Replace(good, "Upgrade: websocket", "upgrade: WebSocket", 1), "Sec-WebSocket-Key", "sec-websocket-key", 1), 101, ""},
		{"another path", replace("/chat ", "/chat/ "), 404, "path"},
		{"POST", replace("GET", "POST"), 400, "GET"},
		{"HTTP/1.0", replace("HTTP/1.1", "HTTP/1.0"), 400, "HTTP/1.1"},
		{"an absolute URI", replace("/chat ", "http://localhost/chat "), 400, "path"},
		{"no Host", replace("Host: localhost\r\n", ""), 400, "Host"},
		{"two Hosts", replace("Host: localhost\r\n", "Host: localhost\r\nHost: b\r\n"), 400, "Host"},
		{"no key", replace(key, ""), 400, "Sec-WebSocket-Key"},
		{"two keys", replace(key, key+key), 400, "Sec-WebSocket-Key"},
		{"a short key", replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, "16 bytes"},
		{"a key that is none", replace("dGhlIHNhbXBsZSBub25jZQ==", "!"), 400, "16 bytes"},
		{"a body", replace(key, key+"Content-Length: 5\r\n"), 400, "body"},
		{"an empty body", replace(key, key+"Content-Length: 0\r\n"), 101, ""},
		{"chunks", replace(key, key+"Transfer-Encoding: chunked\r\n"), 400, "body"},
		{"no upgrade", replace("Upgrade: websocket\r\n", ""), 426, "Sec-WebSocket-Version: 13"},
		{"no connection upgrade", replace("keep-alive, Upgrade", "keep-alive"), 426, "WebSocket client"},
		{"another version", replace("Version: 13", "Version: 8"), 426, "Sec-WebSocket-Version: 13"},
		{"our subprotocol", replace(key, key+"Sec-WebSocket-Protocol: mqtt, rollcall.v1\r\n"), 101, "Sec-WebSocket-Protocol: rollcall.v1"},
		{"another subprotocol", replace(key, key+"Sec-WebSocket-Protocol: mqtt\r\n"), 400, "rollcall.v1"},
		{"a space before the colon", replace(key, key+"X-A : b\r\n"), 400, "no field"},
		{"too large", replace(key, key+"X-A: "+strings.Repeat("a", 9<<10)+"\r\n"), 431, "8192"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""},
		{"a field in two lines", replace(key, key+"X-A: b\r\n c\r\n"), 400, "no field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, answer := request(t, "tcp", r.addr, c.request)
			if status != c.status || !strings.Contains(answer, c.says) {
				t.Errorf("the answer is\n%s\nwant %d that says %q", answer, c.status, c.says)
			}
			if closes := strings.Contains(answer, "Connection: close\r\nContent-Length: "); closes == (c.status == 101) {
				t.Errorf("the answer is\n%s", answer)
			}
		})
	}
	if n := r.Stats().Refused.Handshake; n != 20 {
		t.Errorf("%d were refused", n)
	}
}

// What is no HTTP at all is closed without a word, at its first bytes.
func TestWhatIsNoRequestIsClosedUntold(t *testing.T) {
	r := serveWeb(t, engine.WebSocket{}, engine.Config{})
	for _, text := range []string{"\x16\x03\x01", "get / HTTP/1.1\r\n", "\x00\x00", "GETTINGLOST / HTTP/1.1\r\n"} {
		nc := bare(t, r.addr, nil)
		if _, err := io.WriteString(nc, text); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(nc); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q was answered with %q, %v", text, b, err)
		}
	}
}

// A page may connect if its scheme, host and port are the server's, or Origins have it. Other clients have no Origin.
func TestOrigins(t *testing.T) {
	for _, s := range []struct {
		name    string
		origins []string
		check   func(*http.Request) bool
		rows    map[string]int // by Host and Origin
	}{
		{"own", nil, nil, map[string]int{
			"localhost:80": 101, "localhost http://localhost": 101, "localhost http://LOCALHOST:80": 101, "localhost:8080 http://localhost:8080": 101,
			"localhost:8080 http://localhost": 403, "localhost https://localhost": 403, "localhost http://evil.example": 403, "localhost null": 403,
			"evil.example http://evil.example": 403, "evil.example": 403, "127.0.0.1:9 http://127.0.0.1:9": 101, "[::1]:9": 101,
			"localhost http://localhost/": 403, "localhost http://localhost.evil.example": 403, "localhost file://": 403,
		}},
		{"listed", []string{"https://app.example.com", "https://*.example.org", "http://Dev.example:8080", "null"}, nil, map[string]int{
			"a https://app.example.com": 101, "a https://app.example.com:443": 101, "a https://APP.example.com": 101, "a http://app.example.com": 403,
			"a https://x.app.example.com": 403, "a https://x.example.org": 101, "a https://y.x.example.org": 101, "a https://example.org": 403,
			"a https://xexample.org": 403, "a http://dev.example:8080": 101, "a http://dev.example": 403, "a null": 101, "a": 101, "a http://a": 403,
		}},
		{"checked", nil, func(r *http.Request) bool {
			if r.URL.Path == "/panics" {
				panic("in CheckOrigin")
			}
			return r.Header.Get("Origin") == "http://x"
		}, map[string]int{"evil.example http://x": 101, "a http://y": 403, "a": 403}},
	} {
		t.Run(s.name, func(t *testing.T) {
			r := serveWeb(t, engine.WebSocket{Origins: s.origins, CheckOrigin: s.check}, engine.Config{})
			for row, want := range s.rows {
				host, origin, is := strings.Cut(row, " ")
				var lines []string
				if is {
					lines = append(lines, "Origin: "+origin)
				}
				if status, answer := request(t, "tcp", r.addr, webRequest(host, lines...)); status != want {
					t.Errorf("%s: the answer is\n%s\nwant %d", row, answer, want)
				}
			}
			if status, answer := request(t, "tcp", r.addr, webRequest("localhost", "Origin: http://localhost", "Origin: http://x")); status != 400 {
				t.Errorf("two Origins: the answer is\n%s", answer)
			}
			if s.check == nil {
				return
			}
			if status, _ := request(t, "tcp", r.addr, strings.Replace(webRequest("a", "Origin: http://x"), "GET /", "GET /panics", 1)); status != 403 {
				t.Errorf("a CheckOrigin that panics: %d", status)
			}
		})
	}
}

// Behind a trusted HTTP proxy the client's address is in X-Forwarded-For, for OnAccept, limits and Conn.RemoteAddr; from others the header is
// ignored. A Unix peer is trusted.
func TestTheClientsAddressBehindAProxy(t *testing.T) {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for name, c := range map[string]struct {
		trusted netip.Prefix
		network string
		lines   []string
		want    string // what OnAccept is told: client and proxy; "" for 400
	}{
		"one":               {loopback, "tcp", []string{"X-Forwarded-For: 192.0.2.1"}, "192.0.2.1:0 127.0.0.1"},
		"with a port":       {loopback, "tcp", []string{"X-Forwarded-For: 192.0.2.1:99"}, "192.0.2.1:99 127.0.0.1"},
		"brackets":          {loopback, "tcp", []string{"X-Forwarded-For: [2001:db8::1]:99"}, "[2001:db8::1]:99 127.0.0.1"},
		"brackets, no port": {loopback, "tcp", []string{"X-Forwarded-For: [2001:db8::1]"}, "[2001:db8::1]:0 127.0.0.1"},
		"the client lies":   {loopback, "tcp", []string{"X-Forwarded-For: 203.0.113.9, 192.0.2.1"}, "192.0.2.1:0 127.0.0.1"},
		"two proxies":       {loopback, "tcp", []string{"X-Forwarded-For: 203.0.113.9, 192.0.2.1,127.0.0.7"}, "192.0.2.1:0 127.0.0.1"},
		"two lines":         {loopback, "tcp", []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 192.0.2.1"}, "192.0.2.1:0 127.0.0.1"},
		"all trusted":       {loopback, "tcp", []string{"X-Forwarded-For: 127.0.0.8, 127.0.0.9"}, "127.0.0.8:0 127.0.0.1"},
		"none":              {loopback, "tcp", nil, ""},
		"Forwarded":         {loopback, "tcp", []string{"Forwarded: for=192.0.2.1"}, ""}, // is not read: a proxy that sends the one may let the other pass
		"both":              {loopback, "tcp", []string{"Forwarded: for=192.0.2.9", "X-Forwarded-For: 192.0.2.1"}, "192.0.2.1:0 127.0.0.1"},
		"garbage":           {loopback, "tcp", []string{"X-Forwarded-For: unknown"}, ""},
		"garbage at last":   {loopback, "tcp", []string{"X-Forwarded-For: 192.0.2.1, "}, ""},
		"not trusted":       {netip.MustParsePrefix("192.0.2.0/24"), "tcp", []string{"X-Forwarded-For: 192.0.2.1"}, "127.0.0.1 "},
		"unix":              {netip.MustParsePrefix("192.0.2.0/24"), "unix", []string{"X-Forwarded-For: 192.0.2.9"}, "192.0.2.9:0 "},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan engine.Incoming, 1)
			l := engine.Listener{Network: c.network, WebSocket: &engine.WebSocket{Origins: []string{"https://a"}, TrustForwarded: []netip.Prefix{c.trusted}}}
			if c.network == "unix" {
				l.Addr = filepath.Join(t.TempDir(), "s")
			}
			e := newEcho(engine.Config{Listeners: []engine.Listener{l}, Accept: engine.Accept{MaxPerAddress: 1},
				OnAccept: func(_ context.Context, in engine.Incoming) error { asked <- in; return nil }})
			r := serve(t, e)
			status, answer := request(t, c.network, r.addr, webRequest("server.example", c.lines...))
			if c.want == "" {
				if status != 400 || !strings.Contains(answer, "X-Forwarded-For") {
					t.Errorf("the answer is\n%s", answer)
				}
				return
			}
			in := receive(t, "OnAccept", asked)
			got := in.Remote.String() + " "
			if !in.Proxy.IsValid() && c.network == "tcp" {
				got = in.Remote.Addr().String() + " "
			} else if in.Proxy.IsValid() {
				got += in.Proxy.Addr().String()
			}
			if status != 101 || got != c.want {
				t.Errorf("OnAccept was asked about %q, want %q; the answer is\n%s", got, c.want, answer)
			}
		})
	}
}

// Behind a trusted proxy it is the client that has a place among those of its address, and not the proxy. A refusal is an answer of HTTP.
func TestLimitsOfAnAddressBehindAProxy(t *testing.T) {
	w := engine.WebSocket{Origins: []string{"https://a"}, TrustForwarded: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	e := newEcho(engine.Config{Listeners: []engine.Listener{{WebSocket: &w}}, Accept: engine.Accept{MaxPerAddress: 1},
		OnAccept: func(_ context.Context, in engine.Incoming) error {
			if in.Remote.Addr().String() == "192.0.2.66" {
				return protocol.Errorf(protocol.Unauthorized, "not you")
			}
			return nil
		}})
	r := serve(t, e)
	from := func(client string) []string { return []string{"X-Forwarded-For: " + client} }
	first := newPeer(t, upgraded(t, bare(t, r.addr, nil), "a", from("192.0.2.1")...))
	first.ask(1, 1, "")
	if status, answer := request(t, "tcp", r.addr, webRequest("a", from("192.0.2.1")...)); status != 503 || !strings.Contains(answer, "Retry-After") {
		t.Errorf("the second of an address: the answer is\n%s", answer)
	}
	newPeer(t, upgraded(t, bare(t, r.addr, nil), "a", from("192.0.2.2")...)).ask(1, 1, "")
	if status, answer := request(t, "tcp", r.addr, webRequest("a", from("192.0.2.66")...)); status != 403 || !strings.Contains(answer, "not you") {
		t.Errorf("one that OnAccept refuses: the answer is\n%s", answer)
	}
	if s := r.Stats().Refused; s.Address != 1 || s.Hook != 1 {
		t.Errorf("refused: %+v", s)
	}
	_ = first.Close()
	eventually(t, "the place of the first", func() bool {
		status, _ := request(t, "tcp", r.addr, webRequest("a", from("192.0.2.1")...))
		return status == 101
	})
}

// Rule 14: over MaxConnections a WebSocket is answered 503, without its request being read.
func TestOneWebSocketTooManyIsAnswered(t *testing.T) {
	r := serveWeb(t, engine.WebSocket{}, engine.Config{Accept: engine.Accept{MaxConnections: 1}})
	newPeer(t, upgraded(t, bare(t, r.addr, nil), "localhost")).ask(1, 1, "")
	if status, answer := request(t, "tcp", r.addr, webRequest("localhost")); status != 503 || !strings.Contains(answer, "Retry-After: 5") {
		t.Errorf("the answer is\n%s", answer)
	}
}

// A TLS listener for WebSocket agrees on HTTP/1.1 alone, whatever its tls.Config says.
func TestAWebSocketOverTLSAgreesOnHTTP1(t *testing.T) {
	sec := newSecurity(t)
	server := sec.server.Clone()
	server.NextProtos = []string{"h2", "http/1.1"}
	asking := server.Clone()
	asking.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return server, nil }
	for name, cfg := range map[string]*tls.Config{"static": server, "asked": asking} {
		r := serve(t, newEcho(engine.Config{Listeners: []engine.Listener{{TLS: cfg, WebSocket: new(engine.WebSocket)}}}))
		for _, protos := range [][]string{nil, {"http/1.1"}, {"h2", "http/1.1"}} {
			client := sec.client.Clone()
			client.NextProtos = protos
			p := shakeHands(t, bare(t, r.addr, nil), client)
			if got := p.state().NegotiatedProtocol; got != "" && got != "http/1.1" {
				t.Errorf("%s, %v: %q was agreed on", name, protos, got)
			}
			newPeer(t, upgraded(t, p.Conn, "localhost")).ask(1, 1, "hello")
		}
		client := sec.client.Clone()
		client.NextProtos = []string{"h2"}
		if tc := tls.Client(bare(t, r.addr, nil), client); tc.Handshake() == nil {
			t.Errorf("%s: a client that speaks HTTP/2 alone was let in", name)
		}
	}
}

// The authenticator has the request, until the logon is decided.
func TestTheRequestIsThereUntilTheLogonIsDecided(t *testing.T) {
	e := newEcho(engine.Config{Listeners: []engine.Listener{{WebSocket: new(engine.WebSocket)}}})
	g := newGate(t, e)
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		if q := k.Conn().HTTPRequest(); q == nil || q.Header.Get("Cookie") != "session=7" || q.URL.Path != "/" {
			t.Errorf("before the logon is decided the request is %v", q)
		}
		k.Admit(&engine.Admitted{UserID: m.UserID})
	}
	r := serve(t, e)
	p := newPeer(t, upgraded(t, bare(t, r.addr, nil), "localhost", "Cookie: session=7"))
	_, b := g.enterOn(t, p)
	p.ask(1, 2, "")
	if b.conn.HTTPRequest() != nil {
		t.Error("the request is still there")
	}
}

// WebSocketHandler takes connections over from an http.Server, and treats them as those of a listener.
func TestWebSocketHandler(t *testing.T) {
	e := newEcho(engine.Config{})
	g := newGate(t, e)
	first := frame(t, protocol.Message{Type: 1, ID: 1, UserID: "ann"})
	mux := http.NewServeMux()
	mux.Handle("/chat", e.WebSocketHandler(engine.WebSocket{Origins: []string{"https://app.example.com"}}))
	early := httptest.NewServer(mux)
	defer early.Close()
	at := early.Listener.Addr().String()
	if status, answer := request(t, "tcp", at, strings.Replace(webRequest("localhost"), "GET / ", "GET /chat ", 1)); status != 503 {
		t.Errorf("before the engine runs the answer is\n%s", answer)
	}
	serve(t, e)
	for name, start := range map[string]func(*httptest.Server){"ws": (*httptest.Server).Start, "wss": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			hs := httptest.NewUnstartedServer(mux)
			start(hs)
			defer hs.Close()
			addr := hs.Listener.Addr().String()
			dialHTTP := func() net.Conn {
				nc := bare(t, addr, nil)
				if name == "wss" {
					nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
				}
				return nc
			}
			for origin, want := range map[string]int{"https://app.example.com": 101, "https://evil.example": 403} {
				w := &webConn{Conn: dialHTTP(), op: 2}
				_, _ = io.WriteString(w.Conn, strings.Replace(webRequest("localhost", "Origin: "+origin), "GET / ", "GET /chat ", 1)+
					string(wsFrame(2, true, first)))
				if status, head := w.answer(t); status != want {
					t.Fatalf("%s: the answer is\n%s", origin, head)
				}
				if want != 101 {
					continue
				}
				p := newPeer(t, w)
				p.read() // the answer to what has come together with the request
				p.ask(1, 2, strings.Repeat("long ", 1<<17))
				conn := receive(t, "the connection", g.arrived).conn
				if via := conn.Transport(); via != name || (conn.TLS() != nil) != (name == "wss") || !conn.RemoteAddr().IsValid() {
					t.Errorf("the connection says %q, %v, %v", via, conn.TLS(), conn.RemoteAddr())
				}
				conn.Close(protocol.Errorf(protocol.KickedOut, "enough"))
				p.wantClose(protocol.KickedOut)
				if w.status != 1008 || w.reason != "2002 KickedOut: enough" {
					t.Errorf("closed with %d %q", w.status, w.reason)
				}
				_ = p.Close()
				eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
			}
		})
	}
}

// Listen says what is wrong with the settings of a WebSocket.
func TestWebSocketSettings(t *testing.T) {
	for name, w := range map[string]engine.WebSocket{
		"Path":           {Path: "chat"},
		"scheme":         {Origins: []string{"app.example.com"}},
		"star":           {Origins: []string{"https://app.*.com"}},
		"no origin":      {Origins: []string{"https://app.example.com/"}},
		"TrustForwarded": {TrustForwarded: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		"prefix":         {TrustForwarded: []netip.Prefix{{}}, Origins: []string{"https://a"}},
	} {
		wantNoEngine(t, name, engine.Config{Listeners: []engine.Listener{{WebSocket: &w}}})
	}
}

// Behind a load balancer the PROXY header comes first, then TLS, then the request; a message that comes in one piece with them is delivered,
// and the client's address is that of the header.
func TestAWebSocketBehindALoadBalancer(t *testing.T) {
	sec := newSecurity(t)
	for name, secure := range map[string]*tls.Config{"ws": nil, "wss": sec.server} {
		t.Run(name, func(t *testing.T) {
			e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: secure, WebSocket: new(engine.WebSocket),
				ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}})
			g := newGate(t, e)
			r := serve(t, e)
			nc := bare(t, r.addr, nil)
			header := "PROXY TCP4 192.0.2.1 198.51.100.1 1234 443\r\n"
			piece := webRequest("localhost") + string(wsFrame(2, true, frame(t, protocol.Message{Type: 1, ID: 1, UserID: "ann"})))
			if secure != nil {
				_, _ = io.WriteString(nc, header)
				nc, header = shakeHands(t, nc, sec.client).Conn, ""
			}
			_, _ = io.WriteString(nc, header+piece)
			w := &webConn{Conn: nc, op: 2}
			if status, head := w.answer(t); status != 101 {
				t.Fatalf("the answer is\n%s", head)
			}
			newPeer(t, w).read()
			if b := receive(t, "the connection", g.arrived); b.conn.RemoteAddr().String() != "192.0.2.1:1234" {
				t.Errorf("the client's address is %v", b.conn.RemoteAddr())
			}
		})
	}
}
