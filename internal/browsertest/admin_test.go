package browsertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/admin"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// hostileID is a user's ID that a page may take for markup, with a mark that turns the text around.
const hostileID = "<img src=x onerror=\"document.title='taken'\">\u202Eexe"

// console has what the browser has complained about.
type console struct {
	mu   sync.Mutex
	said []string
}

func (c *console) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, text)
}

// taken returns what was complained about since the last call.
func (c *console) taken() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.said
	c.said = nil
	return all
}

// openPage opens the page of live users, and listens to complaints from its first byte on.
func openPage(t *testing.T, url string) (*tab, *console) {
	t.Helper()
	p, said := open(t, browser(t), "about:blank"), new(console)
	if err := chromedp.Listen(p.ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			said.add(ev.ExceptionDetails.Text + " " + fmt.Sprint(ev.ExceptionDetails.Exception))
		case *log.EventEntryAdded:
			said.add(ev.Entry.Text + " " + ev.Entry.URL)
		case *runtime.EventConsoleAPICalled:
			said.add(string(ev.Type))
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(p, log.Enable, cdp.Empty{})
	p.run(chromedp.Navigate(url))
	p.await("document.querySelector('h1')")
	return p, said
}

// wantNoComplaint fails where the browser has complained, or the page has asked another host.
func (p *tab) wantNoComplaint(said *console) {
	p.t.Helper()
	if all := said.taken(); len(all) > 0 {
		p.t.Errorf("the browser complains: %q", all)
	}
	if got := value[string](p, "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin)).join()"); got != "" {
		p.t.Errorf("the page asks another host: %s", got)
	}
}

// pages serves the page, by Loopback, and returns its URL and the token.
func pages(t *testing.T, s *rollcall.Server, addr string) (url, token string, stop func()) {
	t.Helper()
	return pagesWith(t, s, addr, func(*admin.Config) {})
}

// pagesWith is pages; change changes the settings.
func pagesWith(t *testing.T, s *rollcall.Server, addr string, change func(*admin.Config)) (url, token string, stop func()) {
	t.Helper()
	authorize, token := admin.Loopback()
	cfg := admin.Config{Users: s.Users, Engines: []admin.Engine{{Name: "main", Engine: s.Engine, Bridge: s.Bridge}}, Authorize: authorize,
		ShowFields: []string{"app"}, Audit: func(admin.Action) {}}
	change(&cfg)
	a := testkit.Must(admin.New(cfg))
	mux := http.NewServeMux()
	mux.Handle("/admin/", http.StripPrefix("/admin", a))
	server := httptest.NewUnstartedServer(mux)
	if addr != "" {
		server.Listener = testkit.Must(net.Listen("tcp", addr))
	}
	server.Start()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = a.Close()
			server.CloseClientConnections()
			server.Close()
		})
	}
	t.Cleanup(stop)
	return server.URL + "/admin/", token, stop
}

func echo(s *rollcall.Server) {
	s.HandleDefault(func(c *rollcall.Conn, m *rollcall.Message) error { return c.Reply(m, m.Body) })
}

// click clicks the first element with this text.
func (p *tab) click(selector, text string) {
	p.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll(%q)].find(e => e.textContent.trim().startsWith(%q))", selector, text)
	p.await(find)
	p.do("%s.click()", find)
}

// unlock enters the token.
func (p *tab) unlock(token string) {
	p.t.Helper()
	p.click("#mode", "Read only")
	p.typing("#ask input", token+"\r")
	p.await("!document.querySelector('#ask').open")
}

// says waits until the page shows a text.
func (p *tab) says(text string) {
	p.t.Helper()
	p.await(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// The page of live users: what an operator sees, finds and does. Nothing of another host is asked for, and the browser has nothing to complain
// about.
func TestThePageOfLiveUsers(t *testing.T) {
	browser(t)
	s := rollcalltest.NewServer(t, rollcall.Config{}, echo)
	alice := s.Client(t, "alice", client.Config{Fields: map[string]string{"app": "v7"}})
	s.Client(t, hostileID, client.Config{})
	s.Client(t, "bob", client.Config{Device: 2})
	url, token, stop := pages(t, s.Server, "")
	p, said := openPage(t, url)
	p.await("[...document.querySelectorAll('.tiles a')].some(a => a.innerText.startsWith('Users online') && a.querySelector('b').innerText === '3')")
	p.says("Read only")

	// Each number leads to the list behind it.
	p.click(".tiles a", "Users online")
	p.await("document.querySelectorAll('tbody tr').length === 3")
	p.says("U+202E")
	if got := value[string](p, "document.title"); got != "Sessions – Rollcall" || value[int](p, "document.querySelectorAll('main img').length") != 0 {
		t.Errorf("a user ID was taken for markup: %s", got)
	}
	if value[bool](p, "[...document.querySelectorAll('main button')].some(b => b.innerText.startsWith('Throw'))") {
		t.Error("a page that may look shows a button to throw out")
	}

	// With the keyboard alone: find a user, open it.
	p.do("document.activeElement.blur()")
	p.bringToFront()
	p.run(chromedp.KeyEvent("/"), chromedp.KeyEvent("alic"), chromedp.KeyEvent("\r"))
	p.says("Search for alic")
	p.await("document.querySelectorAll('tbody tr').length === 1")
	p.await("document.activeElement === document.querySelector('main')")
	p.pressLink("main td.user a")
	p.await("document.querySelector('h1').innerText === 'User alice'")
	p.says("v7")

	// Unlock, with a wrong token first.
	p.click("#mode", "Read only")
	p.typing("#ask input", "wrong\r")
	p.says("allows nothing more")
	p.do("document.querySelector('#ask input').value = ''")
	p.typing("#ask input", token+"\r")
	p.await("!document.querySelector('#ask').open")

	// Throw alice out: she is told, her events come, and she stays out.
	tagged := func(user, tag string) { // until the stream of events is open, what happens is not told
		testkit.Eventually(t, "events come", func() bool {
			s.Users.SetTag(user, "")
			s.Users.SetTag(user, tag)
			return value[bool](p, fmt.Sprintf("document.querySelector('#events').innerText.includes('→ %s')", tag))
		})
	}
	p.await("document.querySelector('#events')")
	tagged("alice", "seen")
	p.click("main button", "Throw out …")
	p.await("document.querySelector('#ask').open")
	p.do("document.querySelector('#ask select').value = '600'")
	p.typing("#ask input", "too many puns\r")
	p.says("told, and ended")
	<-alice.Done()
	if why := alice.Err().Error(); !strings.Contains(why, "too many puns") {
		t.Error(why)
	}
	p.await("document.querySelector('#events').innerText.includes('ended: KickedOut')")
	p.says("offline")
	if _, err := client.Dial(t.Context(), s.Addr, client.Config{UserID: "alice"}); err == nil {
		t.Error("alice is back")
	}
	p.click("main button", "Lift a ban")
	p.says("may come back")
	s.Client(t, "alice", client.Config{})
	p.await("document.querySelector('#events').innerText.includes('logged on')")
	p.wantNoComplaint(said)

	// The server of the page restarts: the page says so, and is back by itself, to look only.
	p.click("nav a", "Events")
	p.says("Pause")
	tagged("bob", "before")
	stop()
	p.says("does not answer")
	said.taken() // that there was no answer
	pages(t, s.Server, strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/admin/"))
	p.await("document.querySelector('#banner').hidden")
	p.says("Read only")
	tagged("bob", "again")
	p.says("Some events before are missing")
	said.taken()
	p.click("nav a", "Ended")
	p.says("KickedOut (2002)")
	p.click("nav a", "Overview")
	p.says("No session has lost messages")
	p.wantNoComplaint(said)
}

// pressLink is the enter key on a link that the tab key can reach. A browser without a window acts on neither key by itself.
func (p *tab) pressLink(selector string) {
	p.t.Helper()
	p.await(fmt.Sprintf("document.querySelector(%q)?.tabIndex === 0", selector))
	p.do("document.querySelector(%q).focus(); document.activeElement.click()", selector)
}

// crowd is the connection of a user who is not really there.
type crowd struct{ address usermgr.Address }

func (c crowd) Address() usermgr.Address { return c.address }
func (c crowd) Quiesce(done func())      { done() }
func (c crowd) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// With many users, who come and go, each view has its first content within seconds, and pictures of all are kept where SCREENSHOTS is set.
func TestThePageWithManyUsers(t *testing.T) {
	browser(t)
	n := 3000
	if os.Getenv("SCREENSHOTS") != "" {
		n = 200_000
	}
	s := rollcalltest.NewServer(t, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: time.Hour}}, echo)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	vias := []string{"tcp", "tls", "wss", "udp"}
	logOn := func(i int) usermgr.Session {
		remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), uint16(1024+i%60000))
		return testkit.Must(s.Users.Register(context.Background(), usermgr.Logon{UserID: fmt.Sprintf("user-%06d", i), Device: uint16(i % 4),
			Fields: map[string]string{"app": "v7"}}, crowd{usermgr.Address{Conn: 1<<40 + uint64(i), Remote: remote, Via: vias[i%4]}}))
	}
	for i := range n {
		x := logOn(i)
		if i%997 == 0 {
			x.Dropped(1, 3, 400)
		}
		x.Received(7, 1+i%50, 40*(1+i%50))
	}
	t.Cleanup(func() { _, _ = s.Users.Clear(context.Background()) }) // a server that stops waits for 10 s
	ends := []protocol.CloseCode{protocol.ClientClosed, protocol.NetworkError, protocol.ClientClosed, protocol.HeartbeatTimeout}
	all.Go(func() {
		ticks := time.NewTicker(50 * time.Millisecond)
		defer ticks.Stop()
		for i := n; ctx.Err() == nil; i++ {
			x := logOn(i)
			x.Received(7, 3, 120)
			if i%3 > 0 {
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
	s.Client(t, hostileID, client.Config{})
	address, token, _ := pages(t, s.Server, "")
	p, said := openPage(t, address)
	p.unlock(token)
	if os.Getenv("SCREENSHOTS") != "" { // a chart that shows something
		p.await("document.querySelector('polyline').getAttribute('points').split(' ').length > 40")
	}
	for _, v := range []struct{ name, hash, has string }{
		{"overview", "#/", "Who is in trouble"}, {"sessions", "#/sessions", "Next page"}, {"trouble", "#/sessions?trouble=1", "lost messages"},
		{"search", "#/sessions?q=00199", "sessions"}, {"top", "#/sessions?top=in", "received most"}, {"user", "#/user?id=user-000997", "Throw out"},
		{"hostile", "#/user?id=" + url.QueryEscape(hostileID), "U+202E"}, {"ended", "#/ended", "NetworkError"}, {"events", "#/events", "ended: ClientClosed"},
		{"refused", "#/refused", "not let in"},
	} {
		p.do("location.hash = %q", v.hash)
		p.says(v.has)
		for _, dark := range []bool{false, true} {
			p.setDark(dark)
			shade := "light"
			if dark {
				shade = "dark"
			}
			p.keep("admin-"+v.name+"-"+shade, 1280, 900)
			p.keep("admin-"+v.name+"-phone-"+shade, 390, 844)
		}
		if wide := value[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
			t.Errorf("%s: the page is %d pixels wider than the screen", v.name, wide)
		}
	}
	if os.Getenv("SCREENSHOTS") != "" {
		p.do("location.hash = '#/user?id=user-000997'")
		p.click("main button", "Throw out …")
		p.setDark(false)
		p.keep("admin-kick-phone-light", 390, 844)
		p.keep("admin-kick-light", 1280, 900)
	}
	p.wantNoComplaint(said)
}
