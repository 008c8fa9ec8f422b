package main

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// realScenarios are with a real server, and most with clients in two languages.
var realScenarios = []scenario{
	{
		name: "real-relay", heading: usersHeading, pair: true,
		rule: "two clients in two languages talk to each other over a real server: messages, requests, refusals, who is online",
		run: func(t *trial) {
			s, bob := t.serve(nil), t.peer
			t.enter(s, "alice", nil)
			bob.enter(s, "Bob 😀", nil)
			t.sends("Bob 😀", "hello")
			bob.hears("alice", "hello")
			bob.sends("alice", "hello too")
			t.hears("Bob 😀", "hello too")
			reply := t.asks("Bob 😀", plainType, "there?")
			bob.answersWith("alice", "there?", "yes")
			t.mustBe(reply(), "Bob 😀", "yes")
			reply = bob.asks("alice", plainType, "and you?")
			e := t.event("request")
			t.do(command{"do": "reply", "request": e.Request, "code": 5003, "text": "not now"})
			if e := reply(); e.Reason != "refused" || e.Code != 5003 || e.Text != "not now" {
				t.failf("got %s, want the other client's refusal", &e)
			}
			if e := t.asks("carol", plainType, "")(); e.Reason != "refused" || e.Code != 5000 {
				t.failf("got %s, want UserOffline", &e)
			}
			t.do(command{"do": "online", "tag": "who", "users": []string{"carol", "Bob 😀", "alice"}})
			t.sameList("users", t.tagged("reply", "who").Users, []string{"Bob 😀", "alice"})
			t.mustBe(t.asks("", echoType, "echo")(), "", "echo")
		},
	},
	{
		name: "real-take-over", heading: startHeading, pair: true,
		rule: "a second logon of a user pushes the first one out, in whatever language, and that one stays out",
		run: func(t *trial) {
			s, other := t.serve(nil), t.peer
			t.enter(s, "alice", nil)
			other.enter(s, "alice", nil)
			t.closed(2000, false)
			other.mustBe(other.asks("", echoType, "mine")(), "", "mine")
			t.enter(s, "alice", nil)
			other.closed(2000, false)
		},
	},
	{
		name: "real-kick", heading: codesHeading,
		rule: "a user who is thrown out by a real server stays out, and is told why",
		run: func(t *trial) {
			s := t.serve(nil)
			t.enter(s, "alice", nil)
			ctx, cancel := t.limited()
			defer cancel()
			if _, err := s.pushes.Kick(ctx, "alice", &usermgr.KickOptions{Text: "be nice"}); err != nil {
				t.failf("got %v, want alice kicked", err)
			}
			if e := t.event("push"); e.Kind != 3 || e.body() != "be nice" {
				t.failf("got %s, want KickOut with the reason", &e)
			}
			if e := t.closed(2002, false); e.Text != "be nice" {
				t.failf("got the text %q, want the reason", e.Text)
			}
		},
	},
	{
		name: "real-push", heading: pushHeading, pair: true,
		rule: "pushes of a real server are confirmed by clients in two languages, also one that waits for its user",
		run: func(t *trial) {
			s, bob := t.serveTwo()
			ctx, cancel := t.limited()
			defer cancel()
			m := push.Text("lunch is ready")
			m.Metadata = map[string]string{"room": "42"}
			result, err := s.pushes.Push(ctx, push.ToUsers("alice", "bob"), m, &push.Options{Confirm: true, Timeout: eventually})
			if err != nil || len(result.Deliveries) != 2 {
				t.failf("got %v of %d deliveries, want 2", err, len(result.Deliveries))
			}
			for _, d := range result.Deliveries {
				if !d.Confirmed {
					t.failf("got no confirmation of %s: %v", d.UserID, d.Err)
				}
			}
			for _, who := range []*trial{t, bob} {
				if e := who.event("push"); e.body() != "lunch is ready" || e.Metadata["room"] != "42" || !e.Confirm {
					t.failf("got %s, want the push", &e)
				}
			}
			bob.do(command{"do": "close"})
			bob.closed(1000, true)
			t.eventually("bob is offline", func() bool { return !s.Users.IsOnline("bob") })
			kept := make(chan push.Result, 1)
			s.pushes.Go(push.ToUsers("bob"), push.Text("later"), &push.Options{Confirm: true, Keep: time.Minute, Timeout: time.Minute},
				func(r push.Result, _ error) { kept <- r })
			bob.enter(s, "bob", nil)
			if e := bob.event("push"); e.body() != "later" {
				t.failf("got %s, want the push that has waited", &e)
			}
			select {
			case r := <-kept:
				if len(r.Deliveries) != 1 || !r.Deliveries[0].Confirmed {
					t.failf("got %+v, want a confirmation", r)
				}
			case <-time.After(t.patience()):
				t.failf("got no outcome of the push that has waited")
			}
		},
	},
	{
		name: "real-10000-requests", heading: requestHeading,
		rule: "10,000 requests to a real server get their own answers each, 50 at a time",
		run: func(t *trial) {
			const n, open = 10_000, 50
			s := t.serve(nil)
			t.enter(s, "alice", nil)
			var waiting []func() event
			for i := range n + open {
				if i >= open {
					t.mustBe(waiting[0](), "", numbered(i-open))
					waiting = waiting[1:]
				}
				if i < n {
					waiting = append(waiting, t.asks("", echoType, numbered(i)))
				}
			}
		},
	},
	{
		name: "real-mebibyte", heading: limitsHeading, pair: true,
		rule: "a message of 1 MiB goes from one language to another, and back",
		run: func(t *trial) {
			_, bob := t.serveTwo()
			body := strings.Repeat("0123456789abcdef", mebibyte/16)
			reply := t.asks("bob", plainType, body)
			bob.answersWith("alice", body, body)
			t.mustBe(reply(), "bob", body)
			t.do(command{"do": "send", "tag": "large", "type": 1, "to": "bob", "size": mebibyte})
			t.tagged("done", "large")
			bob.hears("alice", strings.Repeat("\x00", mebibyte))
		},
	},
	{
		name: "real-restart", heading: closeHeading, pair: true,
		rule: "when a real server stops and another one starts in its place, clients come back by themselves",
		run: func(t *trial) {
			s, bob := t.serveTwo()
			for range 2 {
				s.stop()
				s = t.serveAt(s.ports, nil)
				for _, who := range []*trial{t, bob} {
					who.lost(1004)
					who.online()
				}
				t.sends("bob", "still there?")
				bob.hears("alice", "still there?")
			}
		},
	},
	{
		name: "real-authenticator", heading: startHeading,
		rule: "a real server finds the user by the token, and refuses another one with Unauthorized",
		run: func(t *trial) {
			s := t.serve(func(_ context.Context, _ *rollcall.Conn, l rollcall.Logon) (bridge.Identity, error) {
				user, ok := strings.CutPrefix(l.Fields[protocol.FieldToken], "t:")
				if !ok {
					return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "bad token"}
				}
				return bridge.Identity{UserID: user}, nil
			})
			if e := t.enter(s, "", command{"tokens": []string{"t:carol", "bad"}}); e.User != "carol" {
				t.failf("got the user %q, want carol", e.User)
			}
			_, _ = s.Users.Kick("carol", &usermgr.KickOptions{Code: protocol.ServerStopping})
			t.lost(1004)
			if e := t.closed(2003, false); e.Text != "bad token" {
				t.failf("got the text %q, want bad token", e.Text)
			}
		},
	},
	{
		name: "real-renewal", heading: tokenHeading, needs: "renew", waits: true,
		rule: "a session at a real server outlives its token, since it is renewed",
		run: func(t *trial) {
			var asked atomic.Int64
			s := t.serve(func(context.Context, *rollcall.Conn, rollcall.Logon) (bridge.Identity, error) {
				id := bridge.Identity{UserID: "alice", Expires: time.Now().Add(4 * time.Second)}
				if asked.Add(1) == 3 {
					id.Expires = time.Time{}
				}
				return id, nil
			})
			t.enter(s, "alice", command{"tokens": []string{"one", "two", "three", "four"}})
			t.eventually("the session was renewed twice", func() bool { return asked.Load() >= 3 })
			t.mustBe(t.asks("", echoType, "still here")(), "", "still here")
		},
	},
	{name: "real-tls", heading: closeHeading, needs: "tls", pair: true, rule: "clients talk to each other over a real server with TLS",
		run: func(t *trial) { t.talkOver("tls") }},
	{name: "real-ws", heading: webHeading, needs: "ws", rule: "a client talks to a real server over WebSocket",
		run: func(t *trial) { t.echoOver("ws") }},
	{name: "real-wss", heading: webHeading, needs: "wss", rule: "a client talks to a real server over WebSocket with TLS",
		run: func(t *trial) { t.echoOver("wss") }},
}

// talkOver has two testees talk to each other over a transport.
func (t *trial) talkOver(scheme string) {
	s, bob := t.serve(nil), t.peer
	t.enterOver(scheme, s, "alice", nil)
	bob.enterOver(scheme, s, "bob", nil)
	long := strings.Repeat("long ", 50_000)
	reply := t.asks("bob", plainType, long)
	bob.answersWith("alice", long, "short")
	t.mustBe(reply(), "bob", "short")
}

// echoOver has the testee ask the server over a transport.
func (t *trial) echoOver(scheme string) {
	s := t.serve(nil)
	t.enterOver(scheme, s, "alice", nil)
	for _, body := range []string{"", "short", strings.Repeat("long ", 50_000)} {
		t.mustBe(t.asks("", echoType, body)(), "", body)
	}
}
