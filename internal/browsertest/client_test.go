package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// What is here is tried with examples/webchat/page/rollcall.js.

// logOn logs a user on.
func (p *tab) logOn(url, user string) {
	p.t.Helper()
	p.do("enter(%q, %q)", url, user)
	p.awaitHappened("happened.length > 0")
}

// awaitHappened waits until an expression is true of what the client has told.
func (p *tab) awaitHappened(expression string) {
	p.t.Helper()
	p.awaitOr(expression, "JSON.stringify(happened)")
}

// wantHappened waits until the client has told these things, and nothing else.
func (p *tab) wantHappened(want ...string) {
	p.t.Helper()
	text := testkit.Must(json.Marshal(want))
	p.awaitHappened(fmt.Sprintf("happened.length >= %d", len(want)))
	if got := value[string](p, "JSON.stringify(happened)"); got != string(text) {
		p.t.Fatalf("the client has told %s, and is to tell %s", got, text)
	}
}

// ask sends a request, and waits for its answer.
func (p *tab) ask() {
	p.t.Helper()
	if got := value[string](p, "client.request(1, 'ü€').then((v) => v, (e) => 'refused: ' + e.message)"); got != "ü€" {
		p.t.Fatalf("the answer is %q", got)
	}
}

// freeze stops a page: no JavaScript of it runs until thaw.
func (p *tab) freeze() { p.lifecycle(page.SetWebLifecycleStateStateFrozen) }

func (p *tab) thaw() { p.lifecycle(page.SetWebLifecycleStateStateActive) }

func (p *tab) lifecycle(state page.SetWebLifecycleStateState) {
	p.t.Helper()
	call(p, page.SetWebLifecycleState, page.SetWebLifecycleStateParams{State: state})
}

// call asks the browser to do something with the tab.
func call[P any](p *tab, command cdp.Command[P, cdp.Empty], params P) {
	p.t.Helper()
	p.run(func(ctx context.Context, t *chromedp.Target) (v chromedp.Void, err error) {
		_, err = cdp.Call(ctx, t, command, params)
		return v, err
	})
}

// Rules 6 and 10, E13: a second tab of a user pushes out the first, and a kick ends the second. Neither comes back by itself.
func TestTwoTabsOfAUser(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		first, s, at, url := stand(t, scheme, rollcall.Config{})
		first.logOn(url, "alice")
		first.ask()
		testkit.Receive(t, "Connected", s.connected)
		second := openReady(t, browser(t), at)
		second.logOn(url, "alice")
		first.wantHappened("online", "offline 2000 the same user logged on again false")
		s.wantEnd(t, "the first tab's session", protocol.PushedOut)
		testkit.Receive(t, "Connected", s.connected)
		second.ask()
		if _, err := s.Users.Kick("alice", &usermgr.KickOptions{Text: "enough"}); err != nil {
			t.Fatal(err)
		}
		second.wantHappened("online", "offline 2002 enough false")
		s.wantEnd(t, "the second tab's session", protocol.KickedOut)
		for _, p := range []*tab{first, second} {
			if !value[bool](p, "client.timer === undefined && client.ws.readyState === WebSocket.CLOSED") {
				t.Error("a tab is about to come back by itself")
			}
		}
	})
}

// Rule 16, E13: when the connection breaks, and when the server stops, a client comes back by itself; requests that were not answered fail.
func TestThePageComesBack(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		p, s, at, _ := stand(t, scheme, rollcall.Config{})
		cable := testkit.NewCable(t, s.Addr)
		p.logOn(scheme+"://"+cable.Addr(), "alice")
		testkit.Receive(t, "Connected", s.connected)
		p.ask()
		cable.Hold() // so that the answer does not come
		p.do("client.request(1, 0).catch((e) => happened.push(e.message))")
		cable.Break()
		p.wantHappened("online", "offline 1001 the connection was lost true", "the connection has ended", "online")
		p.ask()

		s.Stop()
		p.awaitHappened("happened.length >= 5")
		next := serve(t, at, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{listener(scheme, engine.WebSocket{})}}})
		cable.Lead(next.Addr)
		if info := testkit.Receive(t, "Connected of the next server", next.connected); info.UserID != "alice" {
			t.Errorf("%s has come back", info.UserID)
		}
		p.awaitHappened("happened.at(-1) === 'online'")
		p.ask()
		if got := value[string](p, "happened[4]"); got != "offline 1004 the server is stopping true" {
			t.Errorf("at the stop the client has told %q", got)
		}
	})
}

// docs/protocol.md, Heartbeat: a client asks whether the server is there. When a network swallows everything, it gives the connection up,
// and is back when the network is.
func TestASilentNetwork(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		p, s, _, _ := stand(t, scheme, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: 3 * time.Second}})
		cable := testkit.NewCable(t, s.Addr)
		p.logOn(scheme+"://"+cable.Addr(), "alice")
		p.ask()
		cable.SetCut(true)
		p.do("window.before = happened.length")
		p.awaitHappened("happened.slice(before).includes('offline 1001 the connection was lost true')")
		cable.SetCut(false)
		p.awaitHappened("happened.at(-1) === 'online'")
		p.ask()
	})
}

// Rule 8, and docs/protocol.md, WebSocket: of two frozen pages the one whose listener does not ping is silent, and its user is removed. At
// that time the other one has been frozen for longer than the heartbeat timeout, and is online, by its browser's answers. Both are back
// when they are thawed.
func TestFrozenPages(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		b, at := browser(t), newSite(t)
		s := serve(t, at, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: 5 * time.Second}, Engine: engine.Config{
			Listeners: []engine.Listener{listener(scheme, engine.WebSocket{PingInterval: time.Second}),
				listener(scheme, engine.WebSocket{PingInterval: -1})}}})
		pinged, silent := openReady(t, b, at), openReady(t, b, at)
		pinged.logOn(scheme+"://"+s.Addr, "pinged")
		silent.logOn(scheme+"://"+s.Engine.Addrs()[1].String(), "silent")
		pinged.wantHappened("online")
		session := testkit.Receive(t, "Connected", s.connected).ID
		silent.wantHappened("online")
		pinged.freeze()
		silent.freeze()
		if e := s.wantEnd(t, "the page that gets no pings", protocol.HeartbeatTimeout); e.UserID != "silent" {
			t.Errorf("%s has been removed", e.UserID)
		}
		if _, ok := s.Users.Session(session); !ok {
			t.Error("the page that is pinged is offline")
		}
		for _, p := range []*tab{pinged, silent} {
			p.thaw()
			p.awaitHappened("happened.length > 1 && happened.at(-1) === 'online'")
			p.ask()
		}
	})
}

// docs/protocol.md, WebSocket: with PageTimeout the answers of the browser are not enough, and a page that stands still is ended. The
// heartbeat timeout is not what ends it.
func TestAFrozenPageIsNotForEver(t *testing.T) {
	t.Parallel()
	b, at := browser(t), newSite(t)
	s := serve(t, at, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: time.Hour}, Engine: engine.Config{
		Listeners: []engine.Listener{listener("ws", engine.WebSocket{PingInterval: 500 * time.Millisecond, PageTimeout: 3 * time.Second})}}})
	p := openReady(t, b, at)
	p.logOn("ws://"+s.Addr, "alice")
	p.do("setInterval(() => client.request(1, 0).catch(() => 0), 100)") // it is no silent page
	p.freeze()
	s.wantEnd(t, "the frozen page", protocol.HeartbeatTimeout)
	p.thaw()
	p.awaitHappened("happened.at(-1) === 'online'")
}

// A client that waits to come back does so at once when its page wakes up, is shown again, or has a network again.
func TestThePageWakesUp(t *testing.T) {
	t.Parallel()
	p, _, at, url := stand(t, "ws", rollcall.Config{})
	for name, wake := range map[string]func(){
		"thawed":      func() { p.freeze(); p.thaw() },
		"shown again": func() { p.goAwayAndBack(at, func() {}) },
		"on a network again": func() {
			call(p, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: true})
			call(p, network.OverrideNetworkState, network.OverrideNetworkStateParams{DownloadThroughput: -1, UploadThroughput: -1})
		},
	} {
		p.logOn(url, "alice")
		p.do("client.request(%d, 0).catch(() => 0)", typeLater)
		p.wantHappened("online", "offline 3000 later true")
		wake()
		p.awaitHappened("happened.at(-1) === 'online'")
		if n := value[int](p, "happened.length"); n != 3 {
			t.Errorf("a page that is %s: %s", name, value[string](p, "JSON.stringify(happened)"))
		}
		p.do("client.lost(); clearTimeout(client.timer); client.timer = undefined")
	}
}

// goAwayAndBack shows another page in the tab, and this one again.
func (p *tab) goAwayAndBack(at *site, meanwhile func()) {
	p.t.Helper()
	p.run(chromedp.Navigate(at.url + "/page.js"))
	meanwhile()
	p.do("setTimeout(() => history.back())") // the answer comes from the page that is left
	p.await("window.ready")
}

// A page that was left may be kept by the browser, which answers pings for it. Its user is offline all the same, until it is shown again.
func TestThePageIsLeft(t *testing.T) {
	schemes(t, func(t *testing.T, scheme string) {
		p, s, at, url := stand(t, scheme, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: -1}})
		p.logOn(url, "alice")
		p.do("document.title = 'kept'")
		p.goAwayAndBack(at, func() { s.wantEnd(t, "the page that was left", protocol.ClientClosed) })
		p.wantHappened("online", "offline 1001 the connection was lost true", "online")
		if got := value[string](p, "document.title"); got != "kept" {
			t.Errorf("the page has begun anew, as %q", got)
		}
		p.ask()
	})
}

// A message that the page cannot read concerns no other.
func TestAMessageThatIsNoJSON(t *testing.T) {
	t.Parallel()
	p, _, _, url := stand(t, "ws", rollcall.Config{})
	p.logOn(url, "alice")
	if got := value[string](p, "client.request(2, 0).then(() => 'answered')"); got != "answered" {
		t.Error(got)
	}
	p.wantHappened("online", `message 2 "good"`)
	p.ask()
}
