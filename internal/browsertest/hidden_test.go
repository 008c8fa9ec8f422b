package browsertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// hiddenTimeout is the heartbeat timeout of pages that are hidden.
const hiddenTimeout = 5 * time.Second

// watch has a page note when it sends by WebSocket, and when a timer of its own runs, in milliseconds.
const watch = `{
	window.sent = []
	window.ticks = []
	const send = WebSocket.prototype.send
	WebSocket.prototype.send = function (data) {
		sent.push(performance.now())
		send.call(this, data)
	}
	setInterval(() => ticks.push(performance.now()), 250)
}`

// Tabs behind others.
func TestHiddenTabs(t *testing.T) {
	t.Parallel()
	b := windows(t)
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			hiddenTabs(t, b, scheme)
		})
	}
	t.Run("PageTimeout", func(t *testing.T) {
		t.Parallel()
		hiddenPageTimeout(t, b)
	})
}

// Rule 8, and docs/protocol.md, WebSocket: of two hidden pages, whose timers hardly run, the one whose listener does not ping is silent for too
// long, and its user is removed. The other one is online for several heartbeat timeouts in which it sends nothing, by its browser's answers.
func hiddenTabs(t *testing.T, b context.Context, scheme string) {
	at := newSite(t)
	s := serve(t, at, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: hiddenTimeout}, Engine: engine.Config{
		Listeners: []engine.Listener{listener(scheme, engine.WebSocket{PingInterval: time.Second}),
			listener(scheme, engine.WebSocket{PingInterval: -1})}}})
	pinged, silent := openReady(t, b, at), openReady(t, b, at)
	pinged.do(watch)
	silent.do(watch)
	pinged.logOn(scheme+"://"+s.Addr, "pinged")
	session := testkit.Receive(t, "Connected", s.connected).ID
	silent.logOn(scheme+"://"+s.Engine.Addrs()[1].String(), "silent")
	for _, p := range []*tab{pinged, silent} {
		p.await("sent.length > 4") // a page that is shown lives by its own heartbeats
		p.wantHappened("online")
		p.hide()
	}
	if e := s.wantEnd(t, "the page that gets no pings", protocol.HeartbeatTimeout); e.UserID != "silent" {
		t.Fatalf("%s has been removed", e.UserID)
	}
	quiet := fmt.Sprintf("document.visibilityState === 'hidden' && performance.now() - Math.max(sent.at(-1), ticks.at(-1)) > %d", 3*hiddenTimeout.Milliseconds())
	s.staysOnline(t, session, "no timer of the hidden page runs", func() bool { return value[bool](pinged, quiet) })
	pinged.ask() // it is not frozen: what comes from the server is handled
	pinged.wantHappened("online")
	silent.bringToFront()
	testkit.Eventually(t, "the page that was removed is back", func() bool {
		return value[string](silent, "client.request(1, 'back').catch(() => '')") == "back"
	})
}

// docs/security.md: a hidden page sends a heartbeat a minute, and a PageTimeout of more than that does not end it. It ends one that sends
// nothing, though its browser answers pings.
func hiddenPageTimeout(t *testing.T, b context.Context) {
	const most = 90 * time.Second
	at := newSite(t)
	s := serve(t, at, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: hiddenTimeout}, Engine: engine.Config{
		Listeners: []engine.Listener{listener("ws", engine.WebSocket{PingInterval: time.Second, PageTimeout: most})}}})
	alive, dead := openReady(t, b, at), openReady(t, b, at)
	alive.do(watch)
	alive.logOn("ws://"+s.Addr, "alive")
	session := testkit.Receive(t, "Connected", s.connected).ID
	dead.logOn("ws://"+s.Addr, "dead")
	dead.do("clearInterval(client.beat)")
	dead.hide()
	alive.hide()
	// The first time after which the page has sent nothing for long is the last one at which it was heard but for its heartbeat a minute.
	long := fmt.Sprintf("{ const n = sent.findIndex((at, n) => at - sent[n - 1] > %d); n > 0 && performance.now() - sent[n - 1] > %d }",
		2*hiddenTimeout.Milliseconds(), (most + hiddenTimeout).Milliseconds())
	s.staysOnline(t, session, "the hidden page sends a heartbeat a minute", func() bool { return value[bool](alive, long) })
	alive.wantHappened("online")
	if e := s.wantEnd(t, "the page that sends nothing", protocol.HeartbeatTimeout); e.UserID != "dead" {
		t.Errorf("%s has been removed", e.UserID)
	}
}

// staysOnline waits for something, until which a session must not end.
func (s *server) staysOnline(t *testing.T, session, what string, ok func() bool) {
	t.Helper()
	testkit.EventuallyIn(t, 3*testkit.Patience, what, func() bool {
		over := ok()
		if _, online := s.Users.Session(session); !online {
			t.Fatalf("the session of the hidden page has ended; what was waited for: %s", what)
		}
		return over
	})
}
