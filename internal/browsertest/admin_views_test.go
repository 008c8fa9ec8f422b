package browsertest

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/admin"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// crowd is the connection of a user who is not really there.
type crowd struct{ address usermgr.Address }

func (c crowd) Address() usermgr.Address { return c.address }
func (c crowd) Quiesce(done func())      { done() }
func (c crowd) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// crowdSize is how many users a view is looked at with.
func crowdSize() int {
	if os.Getenv("SCREENSHOTS") != "" {
		return 200_000
	}
	return 3000
}

// logOnCrowd logs the user with a number on.
func logOnCrowd(users *usermgr.Manager, i int) usermgr.Session {
	via := []string{"tcp", "tls", "wss", "udp"}[i%4]
	remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), uint16(1024+i%60000))
	s := testkit.Must(users.Register(context.Background(), usermgr.Logon{UserID: fmt.Sprintf("user-%06d", i), Device: uint16(i % 4),
		Fields: map[string]string{"app": "v7"}}, crowd{usermgr.Address{Conn: 1<<40 + uint64(i), Remote: remote, Via: via}}))
	s.Received(7, 1+i%50, 40*(1+i%50))
	return s
}

// look shows a view, waits until it has a text, and keeps pictures of it: wide and narrow, in the light and in the dark. No view is wider than
// the screen.
func (p *tab) look(name, hash, has string) {
	p.t.Helper()
	p.show(hash)
	p.says(has)
	p.keepAll(name)
}

// show goes to a view, and waits until it is there.
func (p *tab) show(hash string) {
	p.t.Helper()
	p.do("location.hash = %q", hash)
	p.await(fmt.Sprintf("location.hash === %q && document.querySelector('main > div').dataset.key === %q && document.querySelector('h1')", hash,
		strings.Replace(strings.TrimPrefix(hash, "#/"), "?", "", 1)))
}

// keepAll keeps pictures of what the page shows.
func (p *tab) keepAll(name string) {
	p.t.Helper()
	for _, dark := range []bool{false, true} {
		p.setDark(dark)
		shade := ""
		if dark {
			shade = "-dark"
		}
		p.keep(name+shade, 1280, 900)
		p.keep(name+"-phone"+shade, 375, 812)
	}
	p.narrow()
	if wide := value[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
		p.t.Errorf("%s: the page is %d pixels wider than a phone", name, wide)
	}
}

// wantLinksToLead fails unless pages follow each other, each number of the overview leads to the list behind it, and a user's ID is isolated from the
// text around it.
func (p *tab) wantLinksToLead() {
	p.t.Helper()
	// What is shown of a user is isolated from the text around it.
	p.do("location.hash = '#/sessions?q=%s'", url.QueryEscape(hostileID))
	p.await("document.querySelector('td.user bdi .esc')?.innerText === 'U+202E'")
	// A page goes on after the one before.
	p.do("location.hash = '#/sessions'")
	p.says("Next page")
	first := value[string](p, "document.querySelector('td.user').innerText")
	p.click("main a", "Next page")
	p.await(fmt.Sprintf("document.querySelector('td.user') && ![...document.querySelectorAll('td.user')].some(e => e.innerText === %q)", first))
	// Each number of the overview leads to the list behind it.
	p.do("location.hash = '#/'")
	p.says("Who is in trouble")
	links := value[[]string](p, "[...new Set([...document.querySelectorAll('main a')].map(a => a.getAttribute('href')))]")
	if len(links) < 15 {
		p.t.Errorf("the overview has the links %q", links)
	}
	for _, link := range links {
		p.show(link)
		if title := value[string](p, "document.querySelector('h1').innerText"); title == "Overview" || title == "This cannot be shown" {
			p.t.Errorf("%s leads to %s", link, title)
		}
	}
}

// With many users, who come and go, each view has its first content within seconds, and pictures of all are kept where SCREENSHOTS is set.
func TestThePageWithManyUsers(t *testing.T) {
	browser(t)
	n := crowdSize()
	var talk *chat.Service
	var pushes *push.Service
	t.Cleanup(func() { _, _ = pushes.Close(context.Background()), talk.Close(context.Background()) })
	cfg := rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: time.Hour}, Authenticate: func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if l.UserID == "mallory" {
			return bridge.Identity{}, protocol.Unauthorized
		}
		return bridge.Identity{UserID: l.UserID}, nil
	}}
	cfg.Engine.Timeouts.Write, cfg.Engine.Limits.MaxOutbound = -1, 64<<20 // one client is slow, and stays
	s := rollcalltest.NewServer(t, cfg, func(srv *rollcall.Server) {
		echo(srv)
		talk, pushes = testkit.Must(chat.New(srv.Bridge, chat.Config{Store: chat.NewMemory()})), push.New(srv.Bridge)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for i := range n {
		if x := logOnCrowd(s.Users, i); i%997 == 0 {
			x.Dropped(1, 3, 400)
		}
	}
	t.Cleanup(func() { _, _ = s.Users.Clear(context.Background()) }) // a server that stops waits for 10 s
	for i := range 40 {
		for j := range 2 + 300/(i+1) {
			if err := s.Bridge.Group(fmt.Sprintf("room-%02d", i)).Join(bridge.Member{UserID: fmt.Sprintf("user-%06d", 7*j)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const liked = "user-000994"
	if err := s.Bridge.Group("room-00").Join(bridge.Member{UserID: liked}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		testkit.Must(talk.RequestFriend(t.Context(), liked, fmt.Sprintf("user-%06d", i), "hello"))
		testkit.Must(talk.CreateGroup(t.Context(), liked, chat.Group{Name: fmt.Sprint("Trip ", i)}))
	}
	ends := []protocol.CloseCode{protocol.ClientClosed, protocol.NetworkError, protocol.ClientClosed, protocol.HeartbeatTimeout}
	all.Go(func() {
		ticks := time.NewTicker(50 * time.Millisecond)
		defer ticks.Stop()
		for i := n; ctx.Err() == nil; i++ {
			if x := logOnCrowd(s.Users, i); i%3 > 0 {
				x.End(ends[i%len(ends)])
			}
			<-ticks.C
		}
	})
	for i := range 5 {
		c := s.Client(t, fmt.Sprintf("talker-%d", i), client.Config{})
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.Request(ctx, 1, make([]byte, 100+100*i)); err != nil {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
	for range 3 {
		if _, err := client.Dial(t.Context(), s.Addr, client.Config{UserID: "mallory", Reconnect: client.Reconnect{Max: -1}}); err == nil {
			t.Fatal("mallory is let in")
		}
	}
	cable := testkit.NewCable(t, s.Addr)
	slow := testkit.Must(client.Dial(t.Context(), cable.Addr(), client.Config{UserID: "slow", Reconnect: client.Reconnect{Max: -1}}))
	defer slow.Close()
	defer cable.Break()
	cable.Hold()
	for range 64 { // 16 MB, of which the system takes a part
		if err := s.Send("slow", 1, make([]byte, 256<<10)); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "bytes wait", func() bool { return s.Engine.Stats().OutboundQueue > 1<<20 })
	s.Client(t, hostileID, client.Config{})
	s.Users.SetTag(hostileID, "<b>tag</b>")
	talker, _ := s.Users.User("talker-1")
	address, token, _ := pagesWith(t, s.Server, "", func(c *admin.Config) {
		c.Chat, c.Presence, c.Send, c.Push = talk, talk.Presence(), true, pushes
	})
	p, said := openPage(t, address)
	for _, v := range []struct{ name, hash, has string }{
		{"admin-view-sessions", "#/sessions", "Next page"}, {"admin-view-user", "#/user?id=" + liked, "Trip 4"},
		{"admin-view-offline", "#/user?id=zoe", "offline"},
		{"admin-view-conn", fmt.Sprintf("#/conn?n=%d", talker.Sessions[0].Conn), "Last sign of life"},
		{"admin-view", "#/", "Read only"},
	} {
		p.look(v.name, v.hash, v.has)
	}
	p.await("document.querySelector('td.user')?.innerText === 'slow'") // the one for whom most waits is the first of those in trouble
	p.unlock(token)
	if os.Getenv("SCREENSHOTS") != "" { // a chart that shows something
		p.await("document.querySelector('polyline').getAttribute('points').split(' ').length > 40")
	}
	for _, v := range []struct{ name, hash, has string }{
		{"admin", "#/", "Who is in trouble"}, {"admin-sessions", "#/sessions", "Next page"}, {"admin-trouble", "#/sessions?trouble=1", "lost messages"},
		{"admin-search", "#/sessions?q=00199", "sessions"}, {"admin-search-none", "#/sessions?q=zoe", "keep out"}, {"admin-top", "#/sessions?top=in", "received most"},
		{"admin-filtered", "#/sessions?device=1&via=tls&idle=5", "looked at"}, {"admin-top-dropped", "#/sessions?top=dropped", "lost most"}, {"admin-top-age", "#/sessions?top=age", "longest online"},
		{"admin-top-waiting", "#/sessions?top=waiting", "most waits"}, {"admin-search-exact", "#/sessions?q=" + liked, "Online"}, {"admin-search-network", "#/sessions?q=203.0.113.7", "looked at"},
		{"admin-search-conn", fmt.Sprintf("#/sessions?q=%%23%d", talker.Sessions[0].Conn), "talker-1"}, {"admin-ended-code", "#/ended?code=HeartbeatTimeout", "HeartbeatTimeout"},
		{"admin-user", "#/user?id=" + liked, "Trip 4"}, {"admin-offline", "#/user?id=zoe", "Keep out"},
		{"admin-hostile", "#/user?id=" + url.QueryEscape(hostileID), "U+202E"}, {"admin-conn", fmt.Sprintf("#/conn?n=%d", talker.Sessions[0].Conn), "Last sign of life"},
		{"admin-rooms", "#/rooms", "40 rooms"}, {"admin-room", "#/room?engine=main&name=room-00", "members"},
		{"admin-ended", "#/ended", "NetworkError"}, {"admin-events", "#/events", "ended: ClientClosed"}, {"admin-refused", "#/refused", "log-on: Unauthorized"},
	} {
		p.look(v.name, v.hash, v.has)
	}
	p.wantLinksToLead()
	p.do("location.hash = '#/user?id=%s'", liked)
	for _, d := range []struct{ name, button string }{{"admin-kick", "Throw out …"}, {"admin-send", "Send …"}} {
		p.click("main button", d.button)
		p.await("document.querySelector('#ask').open")
		p.keepAll(d.name)
		p.click("dialog button", "Cancel")
	}
	p.do("location.hash = '#/sessions?trouble=1'")
	p.says("lost messages")
	p.do("document.querySelectorAll('tbody input').forEach((box, i) => i < 3 && box.click())")
	p.says("Throw out 3 picked")
	if n := value[int](p, "document.querySelectorAll('tbody :checked').length"); n != 3 {
		t.Errorf("%d boxes are ticked", n)
	}
	p.keepAll("admin-picked")
	p.click("main button", "Throw out 3 picked")
	p.typing("#ask input", "bye\r")
	p.says("3 users: ")
	p.keepAll("admin-thrown-out")
	p.wantNoComplaint(said)
	p.look("admin-conn-none", "#/conn?n=7777777", "cannot be shown") // at which the browser says that there is none
}
