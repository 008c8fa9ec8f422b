package browsertest

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/admin"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// A view says what it has nothing of, and why it cannot show what it was asked for. Pictures are kept of each.
func TestThePageWithNothingToShow(t *testing.T) {
	browser(t)
	var talk *chat.Service
	t.Cleanup(func() { _ = talk.Close(context.Background()) })
	s := rollcalltest.NewServer(t, rollcall.Config{}, func(srv *rollcall.Server) {
		talk = testkit.Must(chat.New(srv.Bridge, chat.Config{Store: chat.NewMemory()}))
	})
	var refuses atomic.Bool
	address, token, stop := pagesWith(t, s.Server, "", func(c *admin.Config) {
		c.Chat, c.Presence = talk, talk.Presence()
		loopback := c.Authorize
		c.Authorize = func(r *http.Request) (string, admin.Permission) {
			if refuses.Load() {
				return "", admin.None
			}
			return loopback(r)
		}
	})
	p, said := openPage(t, address)
	for _, v := range []struct{ name, hash, has string }{
		{"admin-empty", "#/", "No session has lost messages"}, {"admin-empty-sessions", "#/sessions", "None."}, {"admin-empty-trouble", "#/sessions?trouble=1", "None."},
		{"admin-empty-top", "#/sessions?top=out", "None."}, {"admin-empty-search", "#/sessions?q=zoe", "No user with this ID"}, {"admin-empty-user", "#/user?id=zoe", "offline"},
		{"admin-empty-rooms", "#/rooms", "None."}, {"admin-empty-room", "#/room?name=lobby&engine=main", "0 members"}, {"admin-empty-ended", "#/ended", "None."},
		{"admin-empty-events", "#/events", "Pause"}, {"admin-empty-refused", "#/refused", "None."},
	} {
		p.look(v.name, v.hash, v.has)
	}
	p.click("#mode", "Read only")
	p.await("document.querySelector('#ask').open")
	p.keepAll("admin-token")
	p.typing("#ask input", "wrong\r")
	p.says("allows nothing more")
	p.keepAll("admin-token-wrong")
	p.do("document.querySelector('#ask input').value = ''")
	p.typing("#ask input", token+"\r")
	p.await("!document.querySelector('#ask').open")

	// Keep out who is not online, and lift it.
	p.do("location.hash = '#/user?id=zoe'")
	p.click("main button", "Keep out …")
	p.await("document.querySelector('#ask').open")
	if text := value[string](p, "document.querySelector('#ask').innerText"); strings.Contains(text, "Throw out") || strings.Contains(text, "all sessions") {
		t.Errorf("the form that keeps a user out says %q", text)
	}
	p.keepAll("admin-keep-out")
	p.typing("#ask input", "no\r")
	p.says("stays out until")
	p.says("Kept out until")
	p.keepAll("admin-kept-out")
	p.click("main button", "Lift a ban")
	p.says("may come back")
	p.await("!document.body.innerText.includes('Kept out until')")
	p.keepAll("admin-lifted")
	s.Engine.Ban(netip.MustParseAddr("203.0.113.7"), time.Hour)
	p.show("#/")
	p.await("[...document.querySelectorAll('dd a[href=\"#/refused\"]')].some(a => a.innerText === '1')")
	p.look("admin-bans", "#/refused", "by the application")
	s.Engine.Ban(netip.MustParseAddr("203.0.113.8"), time.Hour)
	p.says("203.0.113.8/32") // which is asked for anew
	p.click("main td a", "203.0.113.7/32")
	p.says("Search for 203.0.113.7/32")

	p.wantNoComplaint(said)
	p.look("admin-error-view", "#/nodes", "cannot be shown")
	p.look("admin-error-filter", "#/sessions?device=x", "cannot be shown")
	p.look("admin-error-nowhere", "#/nothing", "Overview")
	s.Client(t, "alice", client.Config{})
	p.do("location.hash = '#/user?id=alice'")
	p.says("online for")
	p.click("main button", "Throw out …")
	p.await("document.querySelector('#ask').open")
	refuses.Store(true)
	p.typing("#ask input", "no\r")
	p.await("document.querySelector('#ask .bad')?.textContent.includes('may see nothing')")
	p.keepAll("admin-error-act")
	p.click("dialog button", "Cancel")
	p.look("admin-error-refused", "#/sessions", "cannot be shown")
	refuses.Store(false)
	stop()
	p.look("admin-error-away", "#/ended", "does not answer")
	p.look("admin-error-away-overview", "#/", "does not answer")
}
