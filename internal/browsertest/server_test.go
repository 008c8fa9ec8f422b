package browsertest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// The messages that the tests' servers handle.
const (
	typeEcho  = 1 // is answered with its body
	typeBad   = 2 // is answered after two messages, of which the first is no JSON
	typeLater = 3 // ends the connection: the client is to come back in an hour
)

// schemes runs a test for ws:// and for wss://.
func schemes(t *testing.T, test func(t *testing.T, scheme string)) {
	t.Parallel()
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			test(t, scheme)
		})
	}
}

// site is a web server with the tests' page, the client of examples/webchat, and what the test and the page pass to each other.
type site struct {
	url      string
	to, from chan []byte // what the page gets from /passed, and posts there
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{to: make(chan []byte, 1), from: make(chan []byte, 1)}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir("testdata/page")))
	mux.HandleFunc("/rollcall.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, "../../examples/webchat/page/rollcall.js")
	})
	mux.HandleFunc("GET /passed", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(<-s.to) })
	mux.HandleFunc("POST /passed", func(w http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil {
			s.from <- b
		}
	})
	pages := httptest.NewServer(mux)
	t.Cleanup(pages.Close)
	s.url = pages.URL
	return s
}

// server is a server with what it has told of its users.
type server struct {
	*rollcalltest.Server
	connected chan rollcall.SessionInfo
	ended     chan end
}

// end is the end of a session.
type end struct {
	rollcall.SessionInfo
	why protocol.CloseCode
}

// listener returns one for browsers.
func listener(scheme string, w engine.WebSocket) engine.Listener {
	l := engine.Listener{WebSocket: &w}
	if scheme == "wss" {
		l.TLS = &tls.Config{Certificates: []tls.Certificate{servers.cert}}
	}
	return l
}

// serve starts a server. Its listeners let in pages of this site.
func serve(t *testing.T, at *site, cfg rollcall.Config) *server {
	t.Helper()
	for _, l := range cfg.Engine.Listeners {
		l.WebSocket.Origins = []string{at.url}
	}
	// A machine that is busy makes no client slow.
	cfg.Engine.Timeouts.Write = -1
	cfg.Engine.Limits.MaxOutbound = 64 << 20
	s := &server{connected: make(chan rollcall.SessionInfo, 100), ended: make(chan end, 100)}
	s.Server = rollcalltest.NewServer(t, cfg, func(srv *rollcall.Server) {
		srv.Handle(typeEcho, func(c *rollcall.Conn, m *rollcall.Message) error { return c.Reply(m, m.Body) })
		srv.Handle(typeBad, func(c *rollcall.Conn, m *rollcall.Message) error {
			return errors.Join(c.Send(typeBad, []byte("{")), c.Send(typeBad, []byte(`"good"`)), c.Reply(m, nil))
		})
		srv.Handle(typeLater, func(c *rollcall.Conn, m *rollcall.Message) error {
			c.Close(&protocol.CloseError{Code: 3000, Text: "later", Info: map[string]string{protocol.FieldRetryMS: "3600000"}})
			return nil
		})
		srv.Users.Subscribe(rollcall.Events{
			Connected:    func(info rollcall.SessionInfo) { s.connected <- info },
			Disconnected: func(info rollcall.SessionInfo, why protocol.CloseCode) { s.ended <- end{info, why} },
		})
	})
	return s
}

// stand opens a page beside a server with one listener, of this scheme.
func stand(t *testing.T, scheme string, cfg rollcall.Config) (p *tab, s *server, at *site, url string) {
	t.Helper()
	b := browser(t)
	at = newSite(t)
	cfg.Engine.Listeners = []engine.Listener{listener(scheme, engine.WebSocket{})}
	s = serve(t, at, cfg)
	return openReady(t, b, at), s, at, scheme + "://" + s.Addr
}

// openReady opens the tests' page.
func openReady(t *testing.T, b context.Context, at *site) *tab {
	t.Helper()
	p := open(t, b, at.url)
	p.await("window.ready")
	return p
}

// wantEnd waits for the end of a session.
func (s *server) wantEnd(t *testing.T, what string, why protocol.CloseCode) end {
	t.Helper()
	e := testkit.Receive(t, "the end of "+what, s.ended)
	if e.why != why {
		t.Errorf("%s ended with %v, and is to end with %v", what, e.why, why)
	}
	return e
}

// connect opens a WebSocket, and logs a user on by raw bytes.
func (p *tab) connect(url, user string) {
	p.t.Helper()
	p.do("connect(%q, 'rollcall.v1')", url)
	p.awaitEvents("events.length === 1")
	p.do("raw.send(Uint8Array.fromHex(%q))", hexOf(p.t, &protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: user}))
	p.awaitEvents("events.length === 2")
	got := p.events()
	if want := (event{What: "open", Text: "rollcall.v1"}); got[0] != want {
		p.t.Fatalf("the WebSocket opens with %+v, and not %+v", got[0], want)
	}
	m := got[1].frames(p.t)
	if len(m) != 1 || m[0].Type != protocol.TypeLogon || m[0].Flags != protocol.FlagReply || m[0].ID != 1 {
		p.t.Fatalf("the answer to the Logon is %+v", m)
	}
	if _, err := protocol.ParseLogonReply(m[0].Body); err != nil {
		p.t.Fatal(err)
	}
}

// event is what testdata/page/page.js keeps of an event of a WebSocket.
type event struct {
	What       string `json:"what"`
	Text       string `json:"text"`
	Extensions string `json:"extensions"`
	Code       int    `json:"code"`
	Clean      bool   `json:"clean"`
}

func (p *tab) events() (all []event) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(value[string](p, "JSON.stringify(events)")), &all); err != nil {
		p.t.Fatal(err)
	}
	return all
}

func (p *tab) awaitEvents(expression string) {
	p.t.Helper()
	p.awaitOr(expression, "JSON.stringify(events)")
}
