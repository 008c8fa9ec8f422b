package browsertest

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/admin"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A user's page has the state that others see, rooms, contacts and groups, and each leads on.
func TestThePageShowsRoomsAndContacts(t *testing.T) {
	browser(t)
	var talk *chat.Service
	t.Cleanup(func() { _ = talk.Close(context.Background()) })
	s := rollcalltest.NewServer(t, rollcall.Config{}, func(srv *rollcall.Server) {
		talk = testkit.Must(chat.New(srv.Bridge, chat.Config{Store: chat.NewMemory()}))
	})
	s.Client(t, "alice", client.Config{})
	s.Client(t, hostileID, client.Config{})
	testkit.Must(talk.RequestFriend(t.Context(), "alice", hostileID, "hello"))
	testkit.Must(talk.CreateGroup(t.Context(), "alice", chat.Group{Name: "<i>group</i>"}))
	for _, room := range []string{"<u>room</u>", "lobby"} {
		if err := s.Bridge.Group(room).Join(bridge.Member{UserID: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	address, _, _ := pagesWith(t, s.Server, "", func(c *admin.Config) { c.Chat, c.Presence = talk, talk.Presence() })
	p, said := openPage(t, address)
	p.do("location.hash = '#/user?id=alice'")
	for _, text := range []string{"Others see", "online", "<u>room</u>", "<i>group</i>", "asked by me", "U+202E"} {
		p.says(text)
	}
	p.click("main dd a", "<u>room</u>")
	p.await("document.querySelector('h1').innerText === 'Room <u>room</u>'")
	p.says("1 member")
	p.click("main td a", "alice")
	p.await("document.querySelector('h1').innerText === 'User alice'")
	p.click("nav a", "Rooms")
	p.says("2 rooms with 2 members")
	p.typing("main input", "lob\r")
	p.says("1 room with 1 member")
	p.wantNoComplaint(said)
}

// More events than a page can show hold up neither the server nor the page: it lists the last ones, and says how many it has left out.
func TestThePageLeavesEventsOut(t *testing.T) {
	browser(t)
	s := rollcalltest.NewServer(t, rollcall.Config{}, echo)
	s.Client(t, "alice", client.Config{})
	address, _, _ := pages(t, s.Server, "")
	p, said := openPage(t, address)
	p.click("nav a", "Events")
	p.says("Pause")
	n := 0
	testkit.Eventually(t, "the page watches", func() bool {
		n++
		s.Users.SetTag("alice", fmt.Sprint(n))
		return value[int](p, "document.querySelectorAll('#events li').length") > 0
	})
	for end := n + 150; n < end; { // more than are painted at a time, and fewer than would be too many
		n++
		s.Users.SetTag("alice", fmt.Sprint(n))
	}
	p.await(fmt.Sprintf("document.querySelector('#events li').innerText.includes('→ %d')", n))
	if got := value[int](p, "document.querySelectorAll('#events li').length"); got < 150 || value[bool](p, "document.body.innerText.includes('left out')") {
		t.Errorf("of 150 events at once %d are listed", got)
	}
	testkit.Eventually(t, "events are left out", func() bool {
		for range 5000 {
			n++
			s.Users.SetTag("alice", fmt.Sprint(n))
		}
		return value[bool](p, "document.body.innerText.includes('events were left out')")
	})
	flood := n
	testkit.Eventually(t, "a later event is listed", func() bool { // the last one of the flood may be one of those left out
		n++
		s.Users.SetTag("alice", fmt.Sprint(n))
		return value[int](p, "Number(document.querySelector('#events li').innerText.match(/→ (\\d+)/)[1])") > flood
	})
	if got := value[int](p, "document.querySelectorAll('#events li').length"); got != 200 {
		t.Errorf("%d events are listed", got)
	}
	p.wantNoComplaint(said)
}

// A page in the background watches no events, and asks for none of the rest.
func TestAHiddenPageWatchesNothing(t *testing.T) {
	browser(t)
	s := rollcalltest.NewServer(t, rollcall.Config{}, echo)
	s.Client(t, "alice", client.Config{})
	address, _, _ := pages(t, s.Server, "")
	p, said := openPage(t, address)
	p.click("nav a", "Events")
	watchers := func(n int) func() bool {
		return func() bool {
			return value[int](p, "fetch('api/v1/overview').then(r => r.json()).then(o => o.watchers)") == n
		}
	}
	testkit.Eventually(t, "the page watches", watchers(1))
	hide := func(hidden bool) {
		p.do("Object.defineProperty(document, 'hidden', {value: %t, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))", hidden)
	}
	hide(true)
	testkit.Eventually(t, "a hidden page watches nothing", watchers(0))
	hide(false)
	testkit.Eventually(t, "it watches again", watchers(1))
	p.wantNoComplaint(said)
}

// A page that may send has a form for it.
func TestThePageSends(t *testing.T) {
	browser(t)
	var pushes *push.Service
	t.Cleanup(func() { _ = pushes.Close(context.Background()) })
	s := rollcalltest.NewServer(t, rollcall.Config{}, func(srv *rollcall.Server) { pushes = push.New(srv.Bridge) })
	got := make(chan string, 10)
	s.Client(t, "alice", client.Config{OnPush: func(_ *client.Client, m *protocol.PushMessage) { got <- string(m.Content) },
		HandleDefault: func(_ *client.Client, m *protocol.Message) error {
			got <- fmt.Sprint(m.Type, " ", string(m.Body))
			return nil
		}})
	address, token, _ := pagesWith(t, s.Server, "", func(c *admin.Config) { c.Send, c.Push = true, pushes })
	p, said := openPage(t, address)
	p.do("location.hash = '#/user?id=alice'")
	p.says("User alice")
	if value[bool](p, "document.body.innerText.includes('Send')") {
		t.Error("a page that may look has a form to send")
	}
	p.unlock(token)
	look := p.accessibility()
	p.everyWay(func(how string) {
		p.click("main button", "Send")
		p.await("document.querySelector('#ask').open")
		look("the form to send" + how)
		p.click("dialog button", "Cancel")
	})
	for kind, want := range map[string]string{"notification": "lunch", "": "7 lunch"} {
		p.click("main button", "Send")
		p.await("document.querySelector('#ask').open")
		p.do("document.querySelector('#ask select').value = %q; document.querySelector('#ask [name=type]').value = 7", kind)
		p.typing("#ask [name=text]", "lunch\r")
		if text := testkit.Receive(t, "the message", got); text != want {
			t.Errorf("alice gets %q, and not %q", text, want)
		}
		p.await("!document.querySelector('#ask').open")
	}
	p.wantNoComplaint(said)
}

// numbered is how the page writes a number below a million.
func numbered(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// The page of a cluster's node shows all nodes and their sessions, and who does not answer.
func TestThePageOfACluster(t *testing.T) {
	browser(t)
	store, mesh := memory.New(), memory.NewMesh()
	ctx, end := context.WithCancel(context.Background())
	var over sync.WaitGroup
	var all []*rollcalltest.Server
	var nodes []*cluster.Node
	for i := range 3 {
		node := testkit.Must(cluster.New(cluster.Config{Directory: store, Mesh: mesh, Name: fmt.Sprint("gate-", i), QueryTimeout: time.Second}))
		nodes = append(nodes, node)
		s := rollcalltest.NewServer(t, rollcall.Config{Users: usermgr.Config{Claims: node, Devices: usermgr.Devices{OnePerClass: true}, HeartbeatTimeout: time.Hour},
			Bridge: bridge.Config{Elsewhere: node}}, echo)
		t.Cleanup(func() { _, _ = s.Users.Clear(context.Background()) })
		all = append(all, s)
		over.Go(func() { _ = node.Run(ctx) })
	}
	t.Cleanup(func() { end(); over.Wait() })
	for _, node := range nodes {
		if err := node.Joined(ctx); err != nil {
			t.Fatal(err)
		}
	}
	each := crowdSize() / 10
	for i, s := range all {
		for j := range each {
			logOnCrowd(s.Users, 100_000*i+j)
		}
	}
	all[0].Client(t, "alice", client.Config{Device: 1})
	tablet := all[1].Client(t, "alice", client.Config{Device: 2})
	all[2].Client(t, hostileID, client.Config{})
	address, token, _ := pagesWith(t, all[0].Server, "", func(c *admin.Config) { c.Cluster = nodes[0] })
	p, said := openPage(t, address)
	p.unlock(token)
	const scope = "are those of one node"
	p.look("admin-cluster", "#/", scope)
	p.click(".tiles a", "Nodes")
	p.says("gate-2")
	p.says(numbered(3*each+3) + " sessions")
	p.keepAll("admin-nodes")
	if value[bool](p, fmt.Sprintf("document.body.innerText.includes(%q)", scope)) {
		t.Error("the list of all nodes says that it is of one")
	}
	// The count of a node's sessions leads to them: the list begins there. That of the node that joined last begins elsewhere without it.
	last := value[string](p, "fetch('api/v1/nodes').then(r => r.json()).then(v => v.nodes.sort((a, b) => b.number - a.number)[0].name)")
	p.do("[...document.querySelectorAll('tbody tr')].find(r => r.innerText.startsWith(%q)).querySelector('a').click()", last)
	p.says("Sessions of all nodes")
	p.await("document.querySelectorAll('tbody tr').length === 100")
	if got := value[string](p, "document.querySelector('td[data-label=Node]').innerText"); got != last {
		t.Errorf("the sessions of %s begin with those of %s", last, got)
	}
	p.show("#/nodes")
	p.says("gate-2")
	p.click("main a", numbered(3*each+3)+" sessions")
	p.await("document.querySelectorAll('tbody tr').length === 100")
	p.keepAll("admin-everywhere")
	p.do("location.hash = '#/user?id=alice'")
	p.says("On all nodes")
	p.says("gate-1")
	p.look("admin-cluster-user", "#/user?id=alice", scope)
	p.do("location.hash = '#/user?id=%s'", url.QueryEscape(hostileID))
	p.says("not on this node")
	if !value[bool](p, "[...document.querySelectorAll('main button')].some(b => b.innerText.startsWith('Throw out'))") {
		t.Error("a user of another node cannot be thrown out")
	}
	p.do("location.hash = '#/user?id=alice'")
	p.await("document.querySelector('h1').innerText === 'User alice'")
	life := nodes[2].Incarnation()
	mesh.Lose(func(to cluster.Incarnation, frame []byte) bool { // gate-2 neither hears nor says anything
		return to == life || cluster.Incarnation(frame[3])<<8|cluster.Incarnation(frame[4]) == life
	})
	p.click("main button", "Throw out …")
	p.typing("#ask input", "enough\r")
	p.says("no answer from gate-2")
	<-tablet.Done()
	p.show("#/nodes")
	p.says("No answer came from gate-2")
	p.keepAll("admin-nodes-missing")
	p.look("admin-everywhere-missing", fmt.Sprintf("#/everywhere?cursor=%d+", life), "No answer came from gate-2")
	p.look("admin-cluster-user-missing", "#/user?id="+url.QueryEscape(hostileID), "No answer came from gate-2")
	if value[bool](p, "document.body.innerText.includes('offline')") {
		t.Error("a user of a node that does not answer is said to be offline")
	}
	p.show("#/nodes")
	p.says("No answer came from gate-2")
	look := p.accessibility()
	p.everyWay(func(how string) { look("the nodes" + how) })
	mesh.Lose(nil)
	p.await("!document.body.innerText.includes('No answer came') && document.querySelectorAll('tbody tr').length === 3") // it is asked for anew
	p.do("location.hash = '#/everywhere'")
	p.await("document.querySelectorAll('tbody tr').length > 0")
	p.everyWay(func(how string) { look("the sessions of all nodes" + how) })
	p.wantNoComplaint(said)
}
