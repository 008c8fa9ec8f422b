package admin

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// origins are ways in which a request comes, each with what it is answered for a GET and for what changes something; 0 for what it would be
// without them.
var origins = []struct {
	name      string
	headers   []string
	get, post int
}{
	{"our page", []string{"Sec-Fetch-Site: same-origin", "Origin: http://admin.test"}, 0, 0},
	{"a program", nil, 0, 0},
	{"the address bar", []string{"Sec-Fetch-Site: none"}, 0, 403},
	{"another site", []string{"Sec-Fetch-Site: cross-site", "Origin: http://evil.test"}, 403, 403},
	{"another port of this machine", []string{"Sec-Fetch-Site: same-site", "Origin: http://admin.test:81"}, 403, 403},
	{"an old browser at another site", []string{"Origin: http://evil.test"}, 403, 403},
	{"a page without an origin", []string{"Origin: null"}, 403, 403},
	{"a form", []string{"Rollcall-Admin: ", "Content-Type: application/x-www-form-urlencoded"}, 0, 403},
}

// Each request of the API is let in by its permission, by where it comes from and by nothing else; and what changes something and is refused
// is in the audit.
func TestEveryRouteByPermissionAndOrigin(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	for i := range routes {
		rt := &routes[i]
		path := apiPrefix + strings.Replace(rt.path, "{n}", "7", 1)
		for may := None; may <= Act; may++ {
			for _, from := range origins {
				name := fmt.Sprintf("%s %s with %d from %s", rt.method, rt.path, may, from.name)
				want := from.get
				if rt.method != http.MethodGet {
					want = from.post
				}
				if want == 0 {
					switch {
					case may == Ask:
						want = 401
					case may < rt.need():
						want = 403
					}
				}
				s.may = may
				headers := from.headers
				query := ""
				if rt.path == "events" {
					query = "?kind=gossip" // let in it is a mistake; a stream has tests of its own
				}
				got := s.ask(rt.method, path+query, "{}", headers...)
				if want != 0 && got.status != want || want == 0 && (got.status == 401 || got.status == 403) {
					t.Errorf("%s is answered %d: %s", name, got.status, got.body)
				}
				if asks := got.header.Get("WWW-Authenticate") != ""; asks != (got.status == 401) {
					t.Errorf("%s: asks for a password: %t", name, asks)
				}
				wantHeaders(t, name, got.header, "no-store")
				refused := 0
				for _, a := range s.audited() {
					if a.Stage == Refused {
						refused++
					}
				}
				if is := got.status == 401 || got.status == 403; (refused == 1) != (is && rt.method != http.MethodGet) {
					t.Errorf("%s: %d refusals are in the audit", name, refused)
				}
			}
		}
	}
}

// The policy is written out here, so that a change of it is seen.
func TestThePolicy(t *testing.T) {
	if policy != "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'; "+
		"base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'" {
		t.Error(policy)
	}
}

func wantHeaders(t *testing.T, name string, h http.Header, cache string) {
	t.Helper()
	for k, v := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": cache, "Access-Control-Allow-Origin": "", "Set-Cookie": ""} {
		if h.Get(k) != v {
			t.Errorf("%s: %s is %q, and not %q", name, k, h.Get(k), v)
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "overview", 200}, {"POST", "overview", 405}, {"GET", "overview/", 404}, {"GET", "OVERVIEW", 404},
		{"GET", "users/kick", 405}, {"DELETE", "user", 405}, {"HEAD", "overview", 405}, {"GET", "conns/0x7", 404}, {"GET", "conns/07", 404},
		{"GET", "conns/-7", 404}, {"GET", "conns/", 404}, {"GET", "conns/18446744073709551616", 404}, {"GET", "conns/7/../8", 404},
		{"GET", "..", 404}, {"GET", "%2e%2e/overview", 404}, {"GET", "conns/7", 404}, {"POST", "conns/7/kick", 404},
	} {
		if got := s.ask(c.method, apiPrefix+c.path, "{}"); got.status != c.status {
			t.Errorf("%s %s is answered %d, and not %d: %s", c.method, c.path, got.status, c.status, got.body)
		}
	}
}

// Without Authorize there is nothing to see, and the answer says why.
func TestClosedByDefault(t *testing.T) {
	s := newStand(t, rollcall.Config{}, func(c *Config) { c.Authorize = nil })
	for _, path := range []string{"", "app.js", apiPrefix + "overview"} {
		if got := s.ask("GET", path, ""); got.status != 403 || !strings.Contains(got.body, "Authorize") {
			t.Errorf("%s is answered %d: %s", path, got.status, got.body)
		}
	}
}

func TestHosts(t *testing.T) {
	s := newStand(t, rollcall.Config{}, func(c *Config) { c.Hosts = []string{"Admin.test"} })
	for host, status := range map[string]int{"admin.test": 200, "ADMIN.test:8080": 200, "evil.test": 403, "": 403, "admin.test.evil.test": 403} {
		r := httptest.NewRequest("GET", "/"+apiPrefix+"overview", nil)
		r.Host = host
		if got := s.serve(r); got.status != status {
			t.Errorf("as %q it is answered %d", host, got.status)
		}
	}
}

func TestLoopback(t *testing.T) {
	authorize, token := Loopback()
	if len(token) < 26 {
		t.Errorf("the token %q is short", token)
	}
	for _, c := range []struct {
		remote, host string
		headers      []string
		want         Permission
	}{
		{"127.0.0.1:5", "localhost:80", nil, View},
		{"[::1]:5", "[::1]:80", nil, View},
		{"[::1]:5", "[::1]", nil, View},
		{"[::ffff:127.0.0.1]:5", "127.0.0.5:80", nil, View},
		{"127.0.0.1:5", "LOCALHOST", []string{"Authorization: Bearer " + token}, Act},
		{"127.0.0.1:5", "localhost", []string{"Authorization: Bearer " + token[1:]}, View},
		{"127.0.0.1:5", "localhost", []string{"Authorization: Bearer "}, View},
		{"127.0.0.1:5", "evil.test", nil, None},
		{"127.0.0.1:5", "localhost.evil.test", nil, None},
		{"127.0.0.1:5", "192.168.0.1", nil, None},
		{"127.0.0.1:5", "", nil, None},
		{"192.168.0.1:5", "localhost", []string{"Authorization: Bearer " + token}, None},
		{"@", "localhost", nil, None},
		{"127.0.0.1:5", "localhost", []string{"Forwarded: for=192.0.2.1"}, None},
		{"127.0.0.1:5", "localhost", []string{"X-Forwarded-For: 192.0.2.1"}, None},
		{"127.0.0.1:5", "localhost", []string{"X-Forwarded-Proto: https", "Authorization: Bearer " + token}, None},
		{"127.0.0.1:5", "localhost", []string{"X-Real-IP: 192.0.2.1"}, None},
		{"127.0.0.1:5", "localhost", []string{"Via: 1.1 proxy"}, None},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Host = c.remote, c.host
		for _, h := range c.headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		if _, may := authorize(r); may != c.want {
			t.Errorf("%s at %s with %v may %d, and not %d", c.remote, c.host, c.headers, may, c.want)
		}
	}
}

func TestBasic(t *testing.T) { synctest.Test(t, testBasic) }

func testBasic(t *testing.T) {
	authorize := Basic("olga", "secret", View)
	ask := func(remote string, secure bool, user, password string) Permission {
		r := httptest.NewRequest("GET", "/", nil)
		if r.RemoteAddr = remote; secure {
			r.TLS = new(tls.ConnectionState)
		}
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		_, may := authorize(r)
		return may
	}
	for _, c := range []struct {
		remote         string
		secure         bool
		user, password string
		want           Permission
	}{
		{"127.0.0.1:1", false, "olga", "secret", View},
		{"192.0.2.1:1", true, "olga", "secret", View},
		{"192.0.2.1:1", false, "olga", "secret", None},
		{"192.0.2.1:1", true, "", "", Ask},
		{"192.0.2.1:1", true, "olga", "secre", Ask},
		{"192.0.2.1:1", true, "olg", "asecret", Ask},
		{"192.0.2.1:1", true, "Olga", "secret", Ask},
	} {
		if got := ask(c.remote, c.secure, c.user, c.password); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	for i := range maxFailures {
		if got := ask(fmt.Sprintf("[2001:db8::%x]:1", i), true, "olga", "wrong"); got != Ask {
			t.Errorf("wrong password %d: %d", i, got)
		}
	}
	if got := ask("[2001:db8::ffff]:1", true, "olga", "secret"); got != None {
		t.Errorf("after %d wrong passwords of a network: %d", maxFailures, got)
	}
	if got := ask("[2001:db8:0:1::1]:1", true, "olga", "secret"); got != View {
		t.Errorf("another network: %d", got)
	}
	time.Sleep(failureWindow - time.Second)
	if got := ask("[2001:db8::ffff]:1", true, "olga", "secret"); got != None {
		t.Errorf("a second before the minute is over: %d", got)
	}
	time.Sleep(time.Second)
	for range maxFailures { // the count begins anew
		if got := ask("[2001:db8::ffff]:1", true, "olga", "secret"); got != View {
			t.Errorf("after the minute: %d", got)
		}
		ask("[2001:db8::ffff]:1", true, "olga", "wrong")
	}
	if got := ask("[2001:db8::ffff]:1", true, "olga", "secret"); got != None {
		t.Errorf("after as many again: %d", got)
	}
	authorize = Basic("olga", "", Act)
	if got := ask("127.0.0.1:1", true, "olga", ""); got != None {
		t.Errorf("without a password: %d", got)
	}
}

func TestNewChecksItsSettings(t *testing.T) {
	users := testkit.Must(usermgr.New(usermgr.Config{}))
	defer func() { _ = users.Close(t.Context()) }()
	for _, cfg := range []Config{{}, {Users: users, Engines: []Engine{{}}}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	a := testkit.Must(New(Config{Users: users})) // without an engine
	defer a.Close()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 403 {
		t.Error(w.Code)
	}
}

func TestAfterClose(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	_, _ = s.admin.Close(), s.admin.Close()
	if got := s.ask("GET", apiPrefix+"overview", ""); got.status != 503 {
		t.Errorf("a closed page answers %d: %s", got.status, got.body)
	}
}
