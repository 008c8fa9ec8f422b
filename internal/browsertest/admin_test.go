package browsertest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/admin"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
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

// add keeps a complaint. A scan that is refused because another one runs is none: the page asks again.
func (c *console) add(text string) {
	if strings.Contains(text, "429 (Too Many Requests)") {
		return
	}
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
	if got := value[string](p, "performance.getEntriesByType('resource').map(e => e.name).filter(n => new URL(n).origin !== location.origin).join()"); got != "" {
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
	p.await("document.querySelector('#events')")
	p.showsEventsOf(s.Users, "alice", "seen")
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
	p.showsEventsOf(s.Users, "bob", "before")
	stop()
	p.says("does not answer")
	said.taken() // that there was no answer
	pages(t, s.Server, strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/admin/"))
	p.await("document.querySelector('#banner').hidden")
	p.says("Read only")
	p.showsEventsOf(s.Users, "bob", "again")
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

// The address that a person types may have the name and the password that the page asks for.
func TestThePageAtAnAddressWithAPassword(t *testing.T) {
	s := rollcalltest.NewServer(t, rollcall.Config{}, echo)
	url, _, _ := pagesWith(t, s.Server, "", func(c *admin.Config) { c.Authorize = admin.Basic("olga", "secret", admin.View) })
	p, said := openPage(t, strings.Replace(url, "://", "://olga:secret@", 1))
	p.await("document.querySelector('.good')?.textContent.includes('No session')")
	testkit.Must(client.Dial(t.Context(), s.Addr, client.Config{UserID: "ann"}))
	p.do("location.hash = '#/events'")
	p.await("document.querySelector('#events')")
	p.showsEventsOf(s.Users, "ann", "seen")
	p.wantNoComplaint(said)
}

// showsEventsOf tags a user until the page shows it: what happens before its stream of events is open is not told.
func (p *tab) showsEventsOf(users *usermgr.Manager, user, tag string) {
	p.t.Helper()
	testkit.Eventually(p.t, "events come", func() bool {
		users.SetTag(user, "")
		users.SetTag(user, tag)
		return value[bool](p, fmt.Sprintf("document.querySelector('#events').innerText.includes('→ %s')", tag))
	})
}
