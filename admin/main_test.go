package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// No test may leave a goroutine behind: the sampler, or one of a stream.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}

// stand is a server with its page.
type stand struct {
	*rollcalltest.Server
	admin *Admin
	may   Permission // of every request, unless the test has its own Authorize

	t    *testing.T
	mu   sync.Mutex
	acts []Action
}

// newStand starts a server with its page. change changes the page's settings.
func newStand(t *testing.T, cfg rollcall.Config, change func(*Config)) *stand {
	t.Helper()
	return newStandWith(t, cfg, func(*rollcall.Server) {}, change)
}

// newStandWith is newStand; setUp is called before the server runs.
func newStandWith(t *testing.T, cfg rollcall.Config, setUp func(*rollcall.Server), change func(*Config)) *stand {
	t.Helper()
	s := &stand{Server: rollcalltest.NewServer(t, cfg, func(srv *rollcall.Server) {
		setUp(srv)
		srv.HandleDefault(func(c *rollcall.Conn, m *rollcall.Message) error { return c.Reply(m, m.Body) })
	}), may: Act, t: t}
	pages := Config{Users: s.Users, Engines: []Engine{{Name: "main", Engine: s.Engine, Bridge: s.Bridge}},
		Authorize: func(*http.Request) (string, Permission) { return "olga", s.may },
		Audit:     s.audit}
	if change != nil {
		change(&pages)
	}
	s.admin = testkit.Must(New(pages))
	t.Cleanup(func() { _ = s.admin.Close() })
	return s
}

func (s *stand) audit(a Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts = append(s.acts, a)
}

// audited returns what the audit was told since the last call.
func (s *stand) audited() []Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.acts
	s.acts = nil
	return all
}

// logOn logs users on.
func (s *stand) logOn(t *testing.T, users ...string) (all []*client.Client) {
	t.Helper()
	for _, u := range users {
		all = append(all, s.Client(t, u, client.Config{}))
	}
	return all
}

// answer is what a request was answered with.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask asks the page, and holds the answer against the document; each header is "Name: value". What is not a GET has the headers that it
// needs, unless a header says otherwise.
func (s *stand) ask(method, path, body string, headers ...string) answer {
	r := httptest.NewRequest(method, "http://admin.test/"+path, strings.NewReader(body))
	if method != http.MethodGet {
		r.Header.Set(ownHeader, "1")
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Del(name); value != "" {
			r.Header.Set(name, value)
		}
	}
	a := s.serve(r)
	if path, ok := strings.CutPrefix(path, apiPrefix); ok && !strings.HasPrefix(path, "events") {
		wantDocumented(s.t, method, path, a)
	}
	return a
}

func (s *stand) serve(r *http.Request) answer {
	ctx, cancel := context.WithTimeout(r.Context(), testkit.Patience) // a stream ends then
	defer cancel()
	w := httptest.NewRecorder()
	s.admin.ServeHTTP(w, r.WithContext(ctx))
	res := w.Result()
	text, _ := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(text)}
}

// get asks for JSON.
func get[T any](t *testing.T, s *stand, path string) (v T) {
	t.Helper()
	return decode[T](t, s.ask(http.MethodGet, apiPrefix+path, ""))
}

// post acts.
func post[T any](t *testing.T, s *stand, path string, body any) (v T) {
	t.Helper()
	return decode[T](t, s.ask(http.MethodPost, apiPrefix+path, string(testkit.Must(json.Marshal(body)))))
}

func decode[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("the answer is %d: %s", a.status, a.body)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(a.body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}
