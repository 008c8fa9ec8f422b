package browsertest

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Everything that can be used has a name, labels have fields, headings begin with one h1, and texts stand out against what is behind them, in the
// light and in the dark, wide and narrow: by checks of our own, and by those of axe-core, which finds nothing.
func TestThePageIsAccessible(t *testing.T) {
	browser(t)
	s := rollcalltest.NewServer(t, rollcall.Config{}, echo)
	s.Client(t, "alice", client.Config{Fields: map[string]string{"app": "v7"}})
	alice, _ := s.Users.User("alice")
	if err := s.Bridge.Group("lobby").Join(bridge.Member{UserID: "alice"}); err != nil {
		t.Fatal(err)
	}
	s.Engine.Ban(netip.MustParseAddr("203.0.113.7"), time.Hour)
	if _, err := s.Users.Kick("zoe", &usermgr.KickOptions{BanFor: time.Hour}); err != nil {
		t.Fatal(err)
	}
	url, token, _ := pages(t, s.Server, "")
	p, _ := openPage(t, url)
	p.unlock(token)
	look := p.accessibility()
	p.everyWay(func(how string) {
		for _, hash := range []string{"#/", "#/sessions", "#/sessions?q=alice", "#/sessions?top=age", "#/user?id=alice", "#/user?id=zoe", fmt.Sprintf("#/conn?n=%d", alice.Sessions[0].Conn),
			"#/conn?n=1", "#/rooms", "#/room?engine=main&name=lobby", "#/ended", "#/events", "#/refused", "#/nothing"} {
			p.do("location.hash = %q", hash)
			p.await(fmt.Sprintf("location.hash === %q && document.querySelector('h1')", hash))
			p.await("!document.querySelector('main').innerText.includes('Loading')")
			look(hash + how)
		}
		p.do("location.hash = '#/user?id=alice'")
		p.click("main button", "Throw out …")
		p.await("document.querySelector('#ask').open")
		look("the dialog" + how)
		p.click("dialog button", "Cancel")
	})
	p.do("document.querySelector('#search').append(document.createElement('select'))")
	if got := value[string](p, "axe.run().then(r => r.violations.map(v => v.id).join())"); !strings.Contains(got, "select-name") {
		t.Errorf("a select without a name is not found: %q", got)
	}
}

// accessibility loads axe-core into the page, and returns a function that looks at what the page shows.
func (p *tab) accessibility() (look func(view string)) {
	p.t.Helper()
	p.do("%s", string(testkit.Must(os.ReadFile(fromNPM(p.t, "axe-core/axe.min.js")))))
	check := string(testkit.Must(os.ReadFile("testdata/accessible.js")))
	return func(view string) {
		p.t.Helper()
		if faults := value[string](p, check); faults != "" {
			p.t.Errorf("%s: %s", view, faults)
		}
		if faults := value[string](p, `axe.run({resultTypes: ['violations']}).then(r => r.passes.length < 5 ? 'axe has looked at nothing' :
			r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).join(' | ')).join('; '))`); faults != "" {
			p.t.Errorf("axe: %s: %s", view, faults)
		}
	}
}

// everyWay calls f for a wide and for a narrow window, in the light and in the dark. how says which it is.
func (p *tab) everyWay(f func(how string)) {
	p.t.Helper()
	for _, width := range []int64{1280, 375} {
		p.run(chromedp.EmulateViewport(width, 844))
		for _, dark := range []bool{false, true} {
			p.setDark(dark)
			f(fmt.Sprintf(", %d wide, dark %t", width, dark))
		}
	}
}

func (p *tab) setDark(dark bool) {
	p.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}
