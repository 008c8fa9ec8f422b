package admin

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// hostile are user IDs that a page, a path or a terminal may take for something else.
var hostile = []string{".", "..", "<script>alert(1)</script>", "a/b", "a?b=c#d", "\u202Egnp.exe", "a&amp;b", "100%", "%2e%2e", "\"'`", "\u200Bzero\u200Dwidth", "{n}",
	strings.Repeat("x", protocol.MaxUserID)}

// Rates are by the time that has passed, and an hour is 120 steps.
func TestSeries(t *testing.T) {
	var s sampler
	began := time.Now()
	for i := range 3700 {
		s.add(sample{at: began.Add(time.Duration(i) * time.Second), users: i, logons: uint64(10 * i),
			ends: map[protocol.CloseCode]uint64{protocol.PushedOut: uint64(2 * i), protocol.KickedOut: 5}, waiting: 7})
	}
	minute, hour := s.shown()
	for name, v := range map[string]series{"minute": minute, "hour": hour} {
		n := map[string]int{"minute": 60, "hour": 120}[name]
		if len(v.Users) != n || len(v.Logons) != n || len(v.Waiting) != n || len(v.Ends) != 1 || len(v.Ends["PushedOut"]) != n {
			t.Fatalf("the %s has %d steps, and ends by %d codes", name, len(v.Users), len(v.Ends))
		}
		if v.Users[n-1] != 3699 || v.Logons[0] != 10 || v.Logons[n-1] != 10 || v.Ends["PushedOut"][n/2] != 2 || v.Waiting[1] != 7 {
			t.Errorf("the %s: %+v", name, v)
		}
		if !v.End.Equal(began.Add(3699 * time.Second)) {
			t.Errorf("the %s ends at %v", name, v.End)
		}
	}
}

// User IDs stand in parameters and bodies, so that none of them leads elsewhere.
func TestHostileUserIDs(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	clients := s.logOn(t, hostile...)
	for i, id := range hostile {
		q := url.QueryEscape(id)
		if v := get[userView](t, s, "user?id="+q); v.User != id || !v.Online || len(v.Sessions) != 1 || v.Sessions[0].User != id {
			t.Errorf("%q: %+v", id, v)
		}
		if v := get[searchView](t, s, "sessions?q="+q); v.Exact == nil || v.Exact.User != id || !v.Whole {
			t.Errorf("%q is not found: %+v", id, v)
		}
		if v := post[kicked](t, s, "users/kick", map[string]any{"user": id, "text": "bye <b>" + id[:1]}); v.User != id || len(v.Sessions) != 1 || v.Sessions[0].Outcome != "told" {
			t.Errorf("%q is thrown out: %+v", id, v)
		}
		<-clients[i].Done()
		if v := get[userView](t, s, "user?id="+q); v.Online || len(v.Ended) != 1 || v.Ended[0].Why != "KickedOut" {
			t.Errorf("%q after the kick: %+v", id, v)
		}
	}
}

// Each session is listed once, whatever the filter and the length of a page.
func TestListsByCursor(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("user%02d", i))
		s.Client(t, want[i], client.Config{Device: uint16(i % 3)})
		if i%2 == 0 {
			s.Users.SetTag(want[i], "even")
		}
	}
	for path, keep := range map[string]func(i int) bool{
		"sessions?limit=7": func(int) bool { return true }, "sessions?limit=4&device=1": func(i int) bool { return i%3 == 1 },
		"sessions?limit=1&tag=even": func(i int) bool { return i%2 == 0 }, "sessions?limit=3&via=tcp&tag=even&device=2": func(i int) bool { return i%6 == 2 },
		"sessions?via=tls": func(int) bool { return false }, "sessions?idle=3600": func(int) bool { return false },
		"sessions?trouble=1": func(int) bool { return false }, "sessions?limit=15&tag=even": func(i int) bool { return i%2 == 0 },
	} {
		var got, expected []string
		cursor, whole := "", false
		for pages := 0; !whole; pages++ {
			if pages > 50 {
				t.Fatalf("%s has no end", path)
			}
			v := get[sessionsView](t, s, path+"&cursor="+url.QueryEscape(cursor))
			for _, x := range v.Sessions {
				got = append(got, x.User)
			}
			cursor, whole = v.Next, v.Whole
		}
		for i, id := range want {
			if keep(i) {
				expected = append(expected, id)
			}
		}
		if slices.Sort(got); !slices.Equal(got, expected) {
			t.Errorf("%s lists %v, and not %v", path, got, expected)
		}
	}
}

func TestBadParameters(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	for _, path := range []string{"sessions?limit=0", "sessions?limit=1001", "sessions?limit=x", "sessions?cursor=x", "sessions?cursor=x&device=1",
		"sessions?device=65536", "sessions?device=-1", "sessions?idle=-1", "sessions?trouble=maybe", "sessions?top=best",
		"sessions?q=" + strings.Repeat("x", 257), "user", "user?id=", "closed?limit=1001"} {
		if got := s.ask("GET", apiPrefix+path, ""); got.status != 400 || !strings.Contains(got.body, "error") {
			t.Errorf("%s is answered %d: %s", path, got.status, got.body)
		}
	}
	long := strings.Repeat("x", maxText+1)
	for path, bodies := range map[string][]string{
		"users/kick":   {``, `{`, `[]`, `{"user":"a"}x`, `{"user":"a","sex":1}`, `{"user":""}`, `{"user":"a","text":"` + long + `"}`, `{"user":"a","banSeconds":-1}`, `{"user":"a","banSeconds":99999999999}`},
		"users/unban":  {`{}`, `{"user":1}`},
		"kick":         {`{}`, `{"users":[]}`, `{"users":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`},
		"conns/7/kick": {`{"user":"a"}`},
	} {
		for _, body := range bodies {
			if got := s.ask("POST", apiPrefix+path, body); got.status != 400 {
				t.Errorf("%s with %.60s is answered %d: %s", path, body, got.status, got.body)
			}
		}
	}
	if got := s.ask("POST", apiPrefix+"users/kick", `{"user":"a"}`, "Content-Type: text/plain"); got.status != 415 {
		t.Errorf("text is answered %d", got.status)
	}
	if got := s.ask("POST", apiPrefix+"users/kick", `{"user":"`+strings.Repeat("a", maxRequest)+`"}`); got.status != 413 {
		t.Errorf("a large body is answered %d", got.status)
	}
	for _, a := range s.audited() {
		if a.Stage == Begun && a.User != "" {
			t.Errorf("a bad request begins an act: %+v", a)
		}
	}
}

func TestSearch(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	s.logOn(t, "Bob", "bobby", "carol", "10.0.0.1")
	for q, want := range map[string][]string{"bob": {"Bob", "bobby"}, "Bob": {"Bob"}, "aro": {"carol"}, "zoe": nil,
		"127.0.0.1": {"10.0.0.1", "Bob", "bobby", "carol"}, "127.0.0.0/8": {"10.0.0.1", "Bob", "bobby", "carol"}, "10.0.0.1": {"10.0.0.1"}} {
		v := get[searchView](t, s, "sessions?q="+url.QueryEscape(q))
		var got []string
		for _, x := range v.Sessions {
			got = append(got, x.User)
		}
		if slices.Sort(got); !slices.Equal(got, want) || !v.Whole || (v.Exact != nil) != (q == "Bob" || q == "10.0.0.1") {
			t.Errorf("%s finds %v, and exactly %+v", q, got, v.Exact)
		}
	}
	if v := get[searchView](t, s, "sessions?q=o&limit=2"); v.Whole || len(v.Sessions) != 2 {
		t.Errorf("of three sessions a search for two is whole: %t, and has %d", v.Whole, len(v.Sessions))
	}
	info, _ := s.Users.User("carol")
	if v := get[searchView](t, s, fmt.Sprintf("sessions?q=%%23%d", info.Sessions[0].Conn)); len(v.Sessions) != 1 || v.Sessions[0].User != "carol" {
		t.Errorf("by number: %+v", v)
	}
}

// While one scan runs another is refused, but what needs none is answered.
func TestOneScanAtATime(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	s.logOn(t, "bob")
	s.admin.scans <- struct{}{}
	for path, status := range map[string]int{"sessions?q=bo": 429, "sessions?q=bob": 200, "sessions?device=0": 429, "sessions?top=in": 429,
		"sessions": 200, "overview": 200, "user?id=bob": 200, "closed": 200} {
		got := s.ask("GET", apiPrefix+path, "")
		if got.status != status || (got.header.Get("Retry-After") != "") != (status == 429) {
			t.Errorf("%s is answered %d", path, got.status)
		}
	}
	if v := get[searchView](t, s, "sessions?q=bob"); v.Exact == nil || v.Whole {
		t.Errorf("%+v", v)
	}
	<-s.admin.scans
	for _, path := range []string{"sessions?q=bo", "sessions?device=0", "sessions?top=in"} {
		if got := s.ask("GET", apiPrefix+path, ""); got.status != 200 || len(s.admin.scans) != 0 {
			t.Errorf("%s is answered %d, and leaves %d scans", path, got.status, len(s.admin.scans))
		}
	}
}

// A scan looks at the clock, and whether someone still waits for it, after each slice.
func TestAScanIsCut(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &call{Request: httptest.NewRequestWithContext(ctx, "GET", "/", nil)}
	late, left := startClock(c), startClock(c)
	late.began = late.began.Add(-scanTime)
	if late.over(scanSlice-1) || !late.over(1) || late.over(1) {
		t.Error("a scan that has taken its time goes on after a slice, or is cut within one")
	}
	if left.over(scanSlice) {
		t.Error("a scan is cut that has time")
	}
	if cancel(); !left.over(scanSlice) {
		t.Error("a scan goes on for a client that has left")
	}
}

func TestTop(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	all := s.logOn(t, "small", "large", "none")
	for i, n := range []int{10, 1000} {
		if _, err := all[i].Request(t.Context(), 1, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "both are counted", func() bool {
		a, _ := s.Users.User("small")
		b, _ := s.Users.User("large")
		return a.Out.Messages == 1 && b.Out.Messages == 1
	})
	for _, kind := range []string{"in", "out", "age", "dropped", "waiting"} {
		v := get[sessionsView](t, s, "sessions?top="+kind)
		var got []string
		for _, x := range v.Sessions {
			got = append(got, x.User)
		}
		want := map[string][]string{"in": {"large", "small"}, "out": {"large", "small"}, "age": {"small", "large", "none"}}[kind]
		if !slices.Equal(got, want) || !v.Whole {
			t.Errorf("the top by %s is %v", kind, got)
		}
	}
	if !testkit.Must(all[1].Request(t.Context(), 1, nil)).IsReply() {
		t.Error("no reply")
	}
	before := get[sessionsView](t, s, "sessions?top=in")
	if before.Sessions[0].In.Messages != 1 {
		t.Error("a second look within 5 s is not the first one's")
	}
}

// Rule 10: a kick is told to the client, with its text, and a ban keeps the user out. Each act is in the audit before it and after.
func TestKicks(t *testing.T) {
	s := newStand(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}}, nil)
	var ended [2]*client.Client
	for i := range ended {
		ended[i] = s.Client(t, "bob", client.Config{Device: uint16(i)})
	}
	s.logOn(t, "ann")
	info, _ := s.Users.User("bob")
	one := post[kicked](t, s, fmt.Sprintf("conns/%d/kick", info.Sessions[0].Conn), map[string]any{"text": "this device"})
	if one.User != "bob" || len(one.Sessions) != 1 || one.Sessions[0].Outcome != "told" || one.Until != nil {
		t.Errorf("%+v", one)
	}
	<-ended[0].Done()
	if text := ended[0].Err().Error(); !strings.Contains(text, "this device") {
		t.Error(text)
	}
	if info, _ := s.Users.User("bob"); len(info.Sessions) != 1 {
		t.Errorf("bob has %d sessions", len(info.Sessions))
	}
	wantAudit(t, s, "kick begun bob", "kick done bob")
	all := post[struct{ Kicked []kicked }](t, s, "kick", map[string]any{"users": []string{"bob", "zoe", "", "bob"}, "banSeconds": 3600})
	if len(all.Kicked) != 4 || len(all.Kicked[0].Sessions) != 1 || all.Kicked[0].Until == nil || all.Kicked[1].Error != "" || all.Kicked[2].Error == "" {
		t.Errorf("%+v", all)
	}
	<-ended[1].Done()
	wantAudit(t, s, "kick and ban begun bob", "kick and ban begun zoe", "kick and ban begun ", "kick and ban begun bob", "kick and ban done bob",
		"kick and ban done zoe", "kick and ban done ", "kick and ban done bob")
	if _, err := client.Dial(t.Context(), s.Addr, client.Config{UserID: "bob"}); err == nil {
		t.Error("bob is back, and is banned")
	}
	for _, want := range []bool{true, false} {
		if v := post[struct {
			User   string
			Banned bool
		}](t, s, "users/unban", map[string]any{"user": "bob"}); v.Banned != want {
			t.Errorf("%+v", v)
		}
	}
	wantAudit(t, s, "unban begun bob", "unban done bob", "unban begun bob", "unban done bob")
	s.logOn(t, "bob")
	if got := s.ask("POST", apiPrefix+"users/kick", `{"user":"zoe"}`); got.status != 404 {
		t.Errorf("a user who is offline: %d", got.status)
	}
}

// Rule P48: when the audit is told that an act begins nothing has happened yet, so that no act is done that the audit could not note.
func TestTheAuditIsToldBeforeTheAct(t *testing.T) {
	var s *stand
	var online []bool
	s = newStand(t, rollcall.Config{}, func(c *Config) {
		c.Audit = func(a Action) { online = append(online, s.Users.IsOnline(a.User)) }
	})
	s.logOn(t, "ann", "bob")
	info, _ := s.Users.User("bob")
	post[kicked](t, s, "users/kick", map[string]any{"user": "ann"})
	post[kicked](t, s, fmt.Sprintf("conns/%d/kick", info.Sessions[0].Conn), map[string]any{})
	if !slices.Equal(online, []bool{true, false, true, false}) {
		t.Errorf("the users are online when the audit is told: %v", online)
	}
}

func wantAudit(t *testing.T, s *stand, want ...string) {
	t.Helper()
	var got []string
	for _, a := range s.audited() {
		got = append(got, fmt.Sprintf("%s %s %s", a.Do, a.Stage, a.User))
		if a.Who != "olga" || a.From == "" || (a.Outcome == "") != (a.Stage == Begun) {
			t.Errorf("%+v", a)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the audit has %q, and not %q", got, want)
	}
}

func TestClosedByCodeAndUser(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	s.logOn(t, "ann", "bob", "bob")
	post[kicked](t, s, "users/kick", map[string]any{"user": "ann"})
	type list struct {
		Closed []ended
		Whole  bool
	}
	for path, n := range map[string]int{"": 2, "code=KickedOut": 1, "code=2000": 1, "user=ann": 1, "user=ann&code=2000": 0, "limit=1": 1} {
		if v := get[list](t, s, "closed?"+path); len(v.Closed) != n || v.Whole != (path != "limit=1") {
			t.Errorf("%s: %+v", path, v)
		}
	}
}

// Rule 7: the ID of a session can take it over, and so can its token. No answer has one of them, in any form; neither has the audit.
func TestNoSecretIsInAnyAnswer(t *testing.T) {
	const token = "t0ken-of-ann-with-a-mark"
	s := newStand(t, rollcall.Config{}, func(c *Config) { c.ShowFields = []string{"app", "copied"} })
	var secrets []string
	keep := func(user string) {
		info, _ := s.Users.User(user)
		for _, x := range info.Sessions {
			id := uuid.MustParse(x.ID)
			secrets = append(secrets, x.ID, x.Token, string(id[:]), string(id[8:]), hex.EncodeToString(id[:]), x.ID[19:], base64.RawURLEncoding.EncodeToString(id[:]),
				base64.StdEncoding.EncodeToString(id[:]))
		}
	}
	fields := map[string]string{protocol.FieldToken: token, "app": "v7", "hidden": "not for operators", "copied": token}
	s.Client(t, "ann", client.Config{Fields: fields})
	keep("ann")
	s.Client(t, "ann", client.Config{Fields: fields}) // so that there is one that has ended
	keep("ann")
	s.logOn(t, "bob")
	keep("bob")
	info, _ := s.Users.User("ann")
	conn := info.Sessions[0].Conn
	var said strings.Builder
	for _, path := range []string{"overview", "sessions", "sessions?limit=1", "sessions?device=0&limit=1", "sessions?q=a", "sessions?q=ann", "sessions?top=age",
		"user?id=ann", "closed", "bans", "rooms", fmt.Sprintf("conns/%d", conn)} {
		a := s.ask("GET", apiPrefix+path, "")
		if a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
		for next := range strings.SplitSeq(a.body, `"`) { // a cursor is encoded
			if raw, err := base64.RawURLEncoding.DecodeString(next); err == nil && len(raw) > 15 {
				said.Write(raw)
			}
		}
		fmt.Fprintln(&said, a.body, a.header)
	}
	for _, body := range []string{`{"users":["ann"]}`} {
		fmt.Fprintln(&said, s.ask("POST", apiPrefix+"kick", body).body)
	}
	fmt.Fprintf(&said, "%+v", s.audited())
	all := said.String()
	if !strings.Contains(all, "v7") || !strings.Contains(all, "KickedOut") && !strings.Contains(all, "PushedOut") {
		t.Error("the test has not seen what is shown")
	}
	for _, secret := range append(secrets, token, "not for operators") {
		if strings.Contains(all, secret) {
			t.Errorf("an answer has %q", secret)
		}
	}
}

func TestAConnection(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	s.logOn(t, "ann")
	info, _ := s.Users.User("ann")
	v := get[connView](t, s, fmt.Sprintf("conns/%d", info.Sessions[0].Conn))
	if v.User != "ann" || v.Engine != "main" || v.Via != "tcp" || v.Session == nil || v.TLS != nil || !strings.HasPrefix(v.Address, "127.0.0.1:") {
		t.Errorf("%+v", v)
	}
}

// A client that takes nothing is among those in trouble, with the bytes that wait for it, and leads the top.
func TestASlowClientIsInTrouble(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	s.logOn(t, "ann")
	slow := testkit.NewCable(t, s.Addr)
	c := testkit.Must(client.Dial(t.Context(), slow.Addr(), client.Config{UserID: "slow", Reconnect: client.Reconnect{Max: -1}}))
	defer c.Close()
	defer slow.Break()
	slow.Hold()
	body := make([]byte, 256<<10)
	testkit.Eventually(t, "bytes wait", func() bool { // for a moment they wait for any client
		_ = s.Send("slow", 1, body)
		s.admin.tops = topCache{}
		v, top := get[sessionsView](t, s, "sessions?trouble=1"), get[sessionsView](t, s, "sessions?top=waiting")
		return len(v.Sessions) == 1 && v.Sessions[0].User == "slow" && slices.Contains(v.Sessions[0].Trouble, "waiting") &&
			v.Sessions[0].WaitingOut >= muchWaits && len(top.Sessions) > 0 && top.Sessions[0].User == "slow"
	})
}
