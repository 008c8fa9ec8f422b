package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/clustertest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// fleet is a cluster of three nodes, a, b and c, with the page of node a. It is used in a synctest bubble.
type fleet struct {
	*stand
	mesh  *memory.Mesh
	nodes []*cluster.Node
	users []*usermgr.Manager
	conns uint64
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{mesh: memory.NewMesh()}
	store := memory.New()
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	for _, name := range []string{"a", "b", "c"} {
		node := testkit.Must(cluster.New(cluster.Config{Directory: store, Mesh: f.mesh, Name: name, Logger: zap.NewNop()}))
		users := testkit.Must(usermgr.New(usermgr.Config{Claims: node, Logger: zap.NewNop(), Devices: usermgr.Devices{OnePerClass: true}}))
		f.nodes, f.users = append(f.nodes, node), append(f.users, users)
		go func() { ended <- node.Run(ctx) }()
	}
	for _, node := range f.nodes {
		if err := node.Joined(ctx); err != nil {
			t.Fatal(err)
		}
	}
	f.stand = &stand{t: t, may: Act}
	f.admin = testkit.Must(New(Config{Users: f.users[0], Cluster: f.nodes[0], Logger: zap.NewNop(),
		Authorize: func(*http.Request) (string, Permission) { return "olga", f.may }, Audit: f.audit}))
	t.Cleanup(func() {
		_ = f.admin.Close()
		end()
		for range f.nodes {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		for _, users := range f.users {
			if err := users.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return f
}

// logOn logs a user on at a node.
func (f *fleet) logOn(node int, user string, device uint16) {
	f.t.Helper()
	f.conns++
	if _, err := f.users[node].Register(context.Background(), usermgr.Logon{UserID: user, Device: device, Token: fmt.Sprint("secret-of-", user, f.conns)}, clustertest.Link(f.conns)); err != nil {
		f.t.Fatal(err)
	}
}

// silence has a node hear and say nothing on the mesh.
func (f *fleet) silence(node int) {
	life := f.nodes[node].Incarnation()
	f.mesh.Lose(func(to cluster.Incarnation, frame []byte) bool {
		return to == life || cluster.Incarnation(frame[3])<<8|cluster.Incarnation(frame[4]) == life
	})
}

// The page shows all nodes, and the sessions on them; where one does not answer it says so, and shows the others.
func TestTheNodesOfACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.logOn(0, "ann", 1)
		f.logOn(1, "ann", 2)
		for i := range 9 {
			f.logOn(i%3, fmt.Sprint("user", i), 1)
		}
		time.Sleep(2 * time.Second) // a count of the store is good for one
		o := get[overviewView](t, f.stand, "overview")
		if o.Cluster == nil || o.Cluster.Nodes != 3 || !o.Cluster.Acts || o.Cluster.LeaseLeft <= 0 || o.Cluster.StoreLost || !slices.Equal(o.Has, []string{"cluster"}) {
			t.Errorf("%+v", o.Cluster)
		}
		v := get[nodesView](t, f.stand, "nodes")
		if len(v.Nodes) != 3 || v.Users != 10 || v.Sessions != 11 || len(v.Missing) > 0 || v.Nodes[1].Name != "b" || v.Nodes[1].Sessions != 4 || v.Nodes[1].LeaseLeft <= 0 {
			t.Errorf("%+v", v)
		}
		if v := get[nodesSessionsView](t, f.stand, "nodes/sessions?user=ann"); len(v.Sessions) != 2 || v.Sessions[0].Node != "a" || v.Sessions[1].Node != "b" || v.Sessions[1].User != "ann" {
			t.Errorf("of ann: %+v", v)
		}
		list := func() (all, missing []string) {
			for next, pages := "", 0; pages == 0 || next != ""; pages++ {
				v := get[nodesSessionsView](t, f.stand, "nodes/sessions?limit=2&cursor="+strings.ReplaceAll(next, " ", "+"))
				for _, s := range v.Sessions {
					all = append(all, s.User+"@"+s.Node)
				}
				missing, next = append(missing, v.Missing...), v.Next
			}
			slices.Sort(all)
			return all, missing
		}
		want := []string{"ann@a", "ann@b", "user0@a", "user1@b", "user2@c", "user3@a", "user4@b", "user5@c", "user6@a", "user7@b", "user8@c"}
		if all, missing := list(); !slices.Equal(all, want) || len(missing) > 0 {
			t.Errorf("the sessions are %q, missing %q", all, missing)
		}
		for _, path := range []string{"nodes/sessions", "nodes/sessions?user=ann", "nodes"} {
			if body := f.ask("GET", apiPrefix+path, "").body; strings.Contains(body, "secret-of-") {
				t.Errorf("%s has a token: %s", path, body)
			}
		}

		for _, n := range v.Nodes {
			if v := get[nodesSessionsView](t, f.stand, fmt.Sprintf("nodes/sessions?limit=1&cursor=%d+", n.Number)); len(v.Sessions) != 1 || v.Sessions[0].Node != n.Name {
				t.Errorf("the listing from %s on: %+v", n.Name, v)
			}
		}

		f.silence(1)
		if v := get[nodesView](t, f.stand, "nodes"); len(v.Nodes) != 2 || v.Users != 10 || v.Sessions != 7 || !slices.Equal(v.Missing, []string{"b"}) {
			t.Errorf("when b does not answer: %+v", v)
		}
		if v := get[nodesSessionsView](t, f.stand, "nodes/sessions?user=ann"); len(v.Sessions) != 1 || !slices.Equal(v.Missing, []string{"b"}) {
			t.Errorf("of ann, when b does not answer: %+v", v)
		}
		if all, missing := list(); len(all) != 7 || !slices.Contains(all, "user8@c") || !slices.Equal(missing, []string{"b"}) {
			t.Errorf("when b does not answer the sessions are %q, missing %q", all, missing)
		}
		if got := f.ask("GET", apiPrefix+"nodes/sessions?cursor=x", ""); got.status != 400 {
			t.Errorf("a cursor of nothing: %d", got.status)
		}
	})
}

// A kick of a user reaches all nodes, and says which did not answer; so does the audit.
func TestAKickOverACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		for i := range f.nodes {
			f.logOn(i, "ann", uint16(i))
			f.logOn(i, fmt.Sprint("user", i), 1)
		}
		v := post[kicked](t, f.stand, "users/kick", map[string]any{"user": "ann", "text": "enough", "banSeconds": 60})
		if len(v.Sessions) != 3 || len(v.Missing) > 0 || v.Until == nil {
			t.Errorf("%+v", v)
		}
		for i, users := range f.users {
			if users.IsOnline("ann") {
				t.Errorf("ann is at node %d", i)
			}
		}
		wantAudit(t, f.stand, "kick and ban begun ann", "kick and ban done ann")
		type unbanned struct {
			User    string
			Banned  bool
			Missing []string
		}
		if v := post[unbanned](t, f.stand, "users/unban", map[string]any{"user": "ann"}); !v.Banned || len(v.Missing) > 0 {
			t.Errorf("%+v", v)
		}
		f.logOn(2, "ann", 1)
		if got := f.ask("POST", apiPrefix+"users/kick", `{"user":"zoe"}`); got.status != 404 {
			t.Errorf("a user who is offline: %d %s", got.status, got.body)
		}
		if got := f.ask("POST", apiPrefix+"users/kick", `{"user":""}`); got.status != 400 {
			t.Errorf("without a user: %d %s", got.status, got.body)
		}
		f.audited()

		f.silence(1)
		many := post[struct{ Kicked []*kicked }](t, f.stand, "kick", map[string]any{"users": []string{"user0", "user1", "user2", "ann"}})
		var sessions []int
		for _, k := range many.Kicked {
			sessions = append(sessions, len(k.Sessions))
			if !slices.Equal(k.Missing, []string{"b"}) {
				t.Errorf("of %s the nodes %q are missing", k.User, k.Missing)
			}
		}
		if !slices.Equal(sessions, []int{1, 0, 1, 1}) || f.users[0].Count()+f.users[2].Count() != 0 || !f.users[1].IsOnline("user1") {
			t.Errorf("%v sessions have ended", sessions)
		}
		for _, a := range f.audited() {
			if a.Stage == Done && !strings.HasSuffix(a.Outcome, "; nodes that have not answered: b") {
				t.Errorf("%+v", a)
			}
		}
	})
}

func TestWithoutACluster(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	for _, path := range []string{"nodes", "nodes/sessions", "nodes/sessions?user=ann"} {
		if got := s.ask("GET", apiPrefix+path, ""); got.status != 404 || !strings.Contains(got.body, "Config.Cluster") {
			t.Errorf("%s is answered %d: %s", path, got.status, got.body)
		}
	}
}
