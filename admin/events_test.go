package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// told is what a stream has sent: an event, or how many were missed.
type told struct {
	id, typ, raw string
	eventView
}

// watch opens a stream. The channel is closed when it has ended.
func (s *stand) watch(t *testing.T, query, lastID string) (events chan told, end func()) {
	t.Helper()
	server := httptest.NewServer(http.StripPrefix("/admin", s.admin))
	r := testkit.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/admin/"+apiPrefix+"events"+query, nil))
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res := testkit.Must(http.DefaultClient.Do(r))
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream is answered %d", res.StatusCode)
	}
	wantHeaders(t, "a stream", res.Header, "no-store")
	events = make(chan told, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		e := told{}
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.typ = value
			case "data":
				e.raw = value
				_ = json.Unmarshal([]byte(value), &e.eventView)
			case "":
				if e.raw != "" || e.id != "" {
					events <- e
				}
				e = told{}
			}
		}
	}()
	end = func() {
		_ = res.Body.Close()
		server.Close()
		<-done
	}
	t.Cleanup(end)
	return events, end
}

// next returns the next event of a stream that is no bare number.
func next(t *testing.T, events chan told) told {
	t.Helper()
	for range 3 { // a stream without events sends its number every 15 s
		if e := testkit.Receive(t, "an event", events); e.raw != "" || e.id == "" {
			return e
		}
	}
	t.Fatal("the stream has numbers, and no event")
	return told{}
}

func (s *stand) isSubscribed() bool {
	s.admin.hub.changing.Lock()
	defer s.admin.hub.changing.Unlock()
	return s.admin.hub.unsubscribe != nil
}

// Events come as the document says, in order, without secrets, and only while there is a watcher a subscription.
func TestEvents(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	if s.isSubscribed() {
		t.Error("without a watcher there is a subscription")
	}
	events, end := s.watch(t, "", "")
	bob := s.logOn(t, "bob")[0]
	info, _ := s.Users.User("bob")
	s.Users.SetTag("bob", "vip")
	post[kicked](t, s, "users/kick", map[string]any{"user": "bob", "text": "enough"})
	<-bob.Done()
	var got []string
	for len(got) < 5 {
		e := next(t, events)
		var v any
		if err := json.Unmarshal([]byte(e.raw), &v); err != nil {
			t.Fatal(err)
		}
		if f := (schema{Ref: "#/components/schemas/Event"}).fault(v, "event"); f != "" {
			t.Error(f)
		}
		if strings.Contains(e.raw, info.Sessions[0].ID) || strings.Contains(e.raw, info.Sessions[0].Token) {
			t.Errorf("the event has a secret: %s", e.raw)
		}
		got = append(got, strings.TrimSpace(e.Kind+" "+e.User+" "+e.Why+e.Tag))
	}
	want := []string{"online bob", "connected bob", "userTagged bob vip", "disconnected bob KickedOut", "offline bob"}
	if !slices.Equal(got, want) {
		t.Errorf("the events are %q, and not %q", got, want)
	}
	end()
	testkit.Eventually(t, "the subscription ends with its last watcher", func() bool { return !s.isSubscribed() && s.admin.hub.count() == 0 })
}

func TestEventsOfOneUserAndKind(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	events, _ := s.watch(t, "?user=bob&kind=connected,disconnected", "")
	s.logOn(t, "ann", "bob", "bob")
	for _, want := range []string{"connected", "disconnected", "connected"} {
		if e := next(t, events); e.Kind != want || e.User != "bob" {
			t.Errorf("%s of %s, and not %s of bob", e.Kind, e.User, want)
		}
	}
	if got := s.ask("GET", apiPrefix+"events?kind=gossip", ""); got.status != 400 {
		t.Errorf("an unknown kind is answered %d", got.status)
	}
	if got := s.ask("GET", apiPrefix+"events", "", "Sec-Fetch-Site: cross-site"); got.status != 403 {
		t.Errorf("another site is answered %d", got.status)
	}
	s.may = None
	if got := s.ask("GET", apiPrefix+"events", ""); got.status != 403 {
		t.Errorf("without a permission it is answered %d", got.status)
	}
}

// A watcher who comes back goes on after the last event, or is told that some are missing.
func TestEventsGoOn(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	events, end := s.watch(t, "?kind=connected", "")
	other, endOther := s.watch(t, "", "")
	s.logOn(t, "ann", "bob")
	first := next(t, events)
	if e := next(t, events); e.User != "bob" {
		t.Errorf("%+v", e)
	}
	end()
	for range 4 {
		next(t, other)
	}
	again, endAgain := s.watch(t, "?kind=connected", first.id)
	if e := next(t, again); e.User != "bob" || e.typ == "missed" {
		t.Errorf("%+v", e)
	}
	endOther()
	endAgain()
	testkit.Eventually(t, "the subscription ends", func() bool { return !s.isSubscribed() })
	for name, id := range map[string]string{"after a time without a watcher": first.id, "of another process": "00000000-5", "of nothing": "x"} {
		events, end := s.watch(t, "", id)
		if e := next(t, events); e.typ != "missed" {
			t.Errorf("with a number %s: %+v", name, e)
		}
		end()
	}
}

// A page that does not keep up holds up no user: what does not fit is counted.
func TestEventsThatDoNotFit(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	h := &s.admin.hub
	w := &watcher{queue: make(chan event, watcherQueue)}
	if _, _, _, ok := h.join(w, nil); !ok {
		t.Fatal("not let in")
	}
	defer h.leave(w)
	for range watcherQueue + 44 {
		h.tell(eventView{Kind: "tagged"})
	}
	c := &stream{hub: h, watcher: w}
	for len(w.queue) > 0 {
		e := <-w.queue
		c.append(&e)
		c.drain()
	}
	if n := strings.Count(string(c.text), "data: {\"at\""); n != watcherQueue {
		t.Errorf("%d events", n)
	}
	if !strings.Contains(string(c.text), "event: missed\ndata: {\"leftOut\":44}\n\n") {
		t.Errorf("it does not say how many it left out: %.300s", c.text)
	}
	for range 2 * ringSize { // the ring has the last ones
		h.tell(eventView{Kind: "tagged"})
	}
	after := h.last - ringSize
	for _, c := range []struct {
		after  uint64
		n      int
		missed bool
	}{{h.last, 0, false}, {h.last - 3, 3, false}, {after, ringSize, false}, {after - 1, ringSize, true}} {
		w := &watcher{queue: make(chan event, 1)}
		before, _, missed, _ := h.join(w, &c.after)
		if h.leave(w); len(before) != c.n || missed != c.missed || len(before) > 0 && before[len(before)-1].n != h.last {
			t.Errorf("after %d of %d there are %d, missed %t", c.after, h.last, len(before), missed)
		}
	}
}

func TestTooManyWatchers(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	for range maxWatchers {
		w := new(watcher)
		if _, _, _, ok := s.admin.hub.join(w, nil); !ok {
			t.Fatal("not let in")
		}
		defer s.admin.hub.leave(w)
	}
	if got := s.ask("GET", apiPrefix+"events", ""); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("one more is answered %d", got.status)
	}
	if v := get[overviewView](t, s, "overview"); v.Watchers != maxWatchers {
		t.Errorf("%d watchers", v.Watchers)
	}
}

// Close ends streams, although their clients are there, and so a server shuts down that calls it then.
func TestCloseEndsStreams(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	server := httptest.NewServer(s.admin)
	defer server.Close()
	server.Config.RegisterOnShutdown(func() { _ = s.admin.Close() })
	r := testkit.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/"+apiPrefix+"events", nil))
	stream := testkit.Must(http.DefaultClient.Do(r))
	defer stream.Body.Close()
	testkit.Eventually(t, "there is a subscription", s.isSubscribed)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("with a stream the server does not shut down: %v", err)
	}
	_, _ = io.Copy(io.Discard, stream.Body)
	testkit.Eventually(t, "the subscription ends", func() bool { return !s.isSubscribed() })
}

// slowWriter is the answer to a client that takes nothing from some write on.
type slowWriter struct {
	*httptest.ResponseRecorder
	mu       sync.Mutex
	deadline time.Duration // that the last write had
	stuck    bool
}

func (w *slowWriter) SetWriteDeadline(at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = time.Until(at)
	return nil
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stuck {
		time.Sleep(w.deadline)
		return 0, os.ErrDeadlineExceeded
	}
	w.deadline = 0
	return w.ResponseRecorder.Write(b)
}

// A client that takes nothing is given up 10 s after the write began, which ends its stream.
func TestAClientThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := testkit.Must(usermgr.New(usermgr.Config{}))
		defer users.Close(t.Context())
		a := testkit.Must(New(Config{Users: users, Authorize: func(*http.Request) (string, Permission) { return "olga", View }}))
		defer a.Close()
		w, ended := &slowWriter{ResponseRecorder: httptest.NewRecorder()}, make(chan struct{})
		go func() {
			defer close(ended)
			a.ServeHTTP(w, httptest.NewRequest("GET", "/"+apiPrefix+"events", nil))
		}()
		synctest.Wait()
		w.mu.Lock()
		w.stuck = true
		w.mu.Unlock()
		began := time.Now()
		a.hub.tell(eventView{Kind: "tagged"})
		<-ended
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it is given up after %v", took)
		}
		if n := a.hub.count(); n != 0 {
			t.Errorf("%d watchers are left", n)
		}
	})
}

// Without a page there is one goroutine, the sampler, and no subscription; also when a page has gone.
func TestWhatAnIdlePageHas(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	goroutines := func() (names []string) {
		text := make([]byte, 1<<20)
		for one := range strings.SplitSeq(string(text[:runtime.Stack(text, true)]), "\n\n") {
			for line := range strings.Lines(one) {
				if name, ok := strings.CutPrefix(line, "github.com/rollcall-go/rollcall/admin.(*Admin)."); ok {
					names = append(names, name[:strings.IndexByte(name, '(')])
					break
				}
			}
		}
		return names
	}
	isIdle := func() bool { return slices.Equal(goroutines(), []string{"takeSamples"}) && !s.isSubscribed() }
	testkit.Eventually(t, "there is the sampler alone", isIdle)
	_, end := s.watch(t, "", "")
	if isIdle() || len(goroutines()) < 2 {
		t.Errorf("with a page there are %q", goroutines())
	}
	end()
	testkit.Eventually(t, "there is the sampler alone again", isIdle)
}

// A stream is asked again whether it may go on, and a comment every now and then finds a client that has gone.
func TestAStreamIsAuthorizedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := testkit.Must(usermgr.New(usermgr.Config{}))
		defer users.Close(t.Context())
		var gone atomic.Bool
		var asked atomic.Int32
		a := testkit.Must(New(Config{Users: users, Authorize: func(*http.Request) (string, Permission) {
			if asked.Add(1); gone.Load() {
				return "", None
			}
			return "olga", View
		}}))
		defer a.Close()
		w, ended := httptest.NewRecorder(), make(chan struct{})
		go func() {
			defer close(ended)
			a.ServeHTTP(w, httptest.NewRequest("GET", "/"+apiPrefix+"events", nil))
		}()
		time.Sleep(authorizeAgain + time.Second)
		gone.Store(true)
		select {
		case <-ended:
			t.Error("the stream has ended although it may go on")
		default:
		}
		time.Sleep(authorizeAgain)
		<-ended
		if n := asked.Load(); n != 3 {
			t.Errorf("it was asked %d times", n)
		}
		if n := strings.Count(w.Body.String(), fmt.Sprintf("id: %s-%d\n\n", a.hub.epoch, a.hub.last)); n < 3 {
			t.Errorf("a quiet stream says its number %d times: %q", n, w.Body)
		}
	})
}
