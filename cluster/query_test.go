package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// busyWorld has three nodes and some users: ann at a and b, and 20 others at one node each.
func busyWorld(t *testing.T) *world {
	w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true, Known: []uint16{1, 2}}})
	w.mustLogOn(w.nodes[0], "ann", 1)
	w.mustLogOn(w.nodes[1], "ann", 2)
	for i := range 20 {
		w.mustLogOn(w.nodes[i%3], fmt.Sprintf("user%02d", i), 1)
	}
	return w
}

// silence has a node hear and say nothing any more on the mesh.
func (w *world) silence(n *member) {
	life := n.Incarnation()
	w.mesh.Lose(func(to cluster.Incarnation, frame []byte) bool {
		return to == life || cluster.Incarnation(frame[3])<<8|cluster.Incarnation(frame[4]) == life
	})
}

// Rule 22: a user's sessions are told from all nodes, the oldest first, without secrets.
func TestSessionsAreThoseOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := busyWorld(t)
		for _, n := range w.nodes {
			r, err := n.Sessions(context.Background(), "ann")
			if err != nil || len(r.Missing) > 0 || len(r.Value) != 2 {
				t.Fatalf("%s tells %+v, %v", n.name, r, err)
			}
			for i, s := range r.Value {
				if s.UserID != "ann" || s.Node != w.nodes[i].name || s.Device != uint16(i+1) || s.ID != "" || s.Token != "" || s.Generation == 0 {
					t.Errorf("%s tells %+v", n.name, s)
				}
			}
		}
		if r, err := w.nodes[2].Sessions(context.Background(), "nobody"); err != nil || len(r.Value)+len(r.Missing) > 0 {
			t.Errorf("of a user who is offline: %+v, %v", r, err)
		}
	})
}

// Rule 22: users are counted by the store, and sessions by the nodes; a count of the store is good for a second.
func TestCountsAreThoseOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := busyWorld(t)
		count := func() cluster.Counts {
			t.Helper()
			r, err := w.nodes[0].Count(context.Background())
			if err != nil || len(r.Missing) > 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			return r.Value
		}
		want := func(users, sessions, ones int) {
			t.Helper()
			if c := count(); c.Users != users || c.Sessions != sessions || c.Devices[1] != ones || c.Devices[2] != 1 {
				t.Errorf("%+v, want %d users, %d sessions, %d on devices 1", c, users, sessions, ones)
			}
		}
		want(21, 22, 21)
		w.mustLogOn(w.nodes[1], "bob", 1)
		want(21, 23, 22)
		time.Sleep(time.Second)
		want(22, 23, 22)
	})
}

// Rule 22: each node tells of itself.
func TestNodesTellOfThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := busyWorld(t)
		r, err := w.nodes[1].Nodes(context.Background())
		if err != nil || len(r.Missing) > 0 || len(r.Value) != 3 {
			t.Fatalf("%+v, %v", r, err)
		}
		for i, n := range r.Value {
			want := w.nodes[i].users.Stats()
			if n.Name != w.nodes[i].name || n.Incarnation != w.nodes[i].Incarnation() || n.Users != want.Users || n.Sessions != want.Sessions || n.Sessions < 6 ||
				n.LeaseLeft <= 0 || n.LeaseLeft > lease || n.StoreLost {
				t.Errorf("%+v, and not %+v", n, want)
			}
		}
	})
}

// Rule 22: pages have each user, and each session, once, and only those that match.
func TestPagesHaveEachOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := busyWorld(t)
		ctx := context.Background()
		var users []string
		for from := ""; ; {
			p, err := w.nodes[1].UserPage(ctx, from, 4)
			if err != nil || len(p.Items) > 4 {
				t.Fatalf("%+v, %v", p, err)
			}
			for _, u := range p.Items {
				var at []string
				for _, place := range u.Places {
					at = append(at, place.Node)
				}
				users = append(users, u.UserID+"@"+strings.Join(at, "+"))
			}
			if from = p.Next; from == "" {
				break
			}
		}
		sort.Strings(users)
		want := []string{"ann@a+b"}
		for i := range 20 {
			want = append(want, fmt.Sprintf("user%02d@%s", i, w.nodes[i%3].name))
		}
		if !slices.Equal(users, want) {
			t.Errorf("the users are %q, want %q", users, want)
		}

		sessions := func(q usermgr.PageQuery) (all []string) {
			for pages := 0; pages < 100; pages++ {
				r, err := w.nodes[1].SessionPage(ctx, q)
				if err != nil || len(r.Missing) > 0 || q.Limit > 0 && len(r.Value.Items) > q.Limit {
					t.Fatalf("%+v, %v", r, err)
				}
				for _, s := range r.Value.Items {
					all = append(all, fmt.Sprint(s.UserID, "@", s.Node))
				}
				if q.Cursor = r.Value.Next; q.Cursor == "" {
					break
				}
			}
			sort.Strings(all)
			return all
		}
		want = append([]string{"ann@a", "ann@b"}, want[1:]...)
		for _, limit := range []int{1, 4, 7, 0} {
			if got := sessions(usermgr.PageQuery{Limit: limit}); !slices.Equal(got, want) {
				t.Errorf("with Limit %d the sessions are %q, want %q", limit, got, want)
			}
		}
		if got := sessions(usermgr.PageQuery{Filter: usermgr.Filter{Devices: []uint16{2}}}); !slices.Equal(got, []string{"ann@b"}) {
			t.Errorf("the sessions on device 2 are %q", got)
		}
		for _, q := range []usermgr.PageQuery{{Page: 1}, {Limit: -1}, {Limit: 1001}, {Cursor: "x"}, {Cursor: fmt.Sprint(w.nodes[0].Incarnation(), " x")}} {
			if _, err := w.nodes[1].SessionPage(ctx, q); !errors.Is(err, usermgr.ErrBadQuery) {
				t.Errorf("of the query %+v the error is %v", q, err)
			}
		}
		if _, err := w.nodes[1].UserPage(ctx, "", 1001); !errors.Is(err, usermgr.ErrBadQuery) {
			t.Errorf("the error is %v", err)
		}
	})
}

// Rule 22: where a node does not answer each query is answered in time without it, and names it.
func TestAnAnswerNamesTheNodeThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := busyWorld(t)
		ctx := context.Background()
		a := w.nodes[0]
		w.silence(w.nodes[1])
		for name, ask := range map[string]func() (missing []string, found int, err error){
			"Sessions": func() ([]string, int, error) {
				r, err := a.Sessions(ctx, "ann")
				return r.Missing, len(r.Value), err
			},
			"Count": func() ([]string, int, error) {
				r, err := a.Count(ctx)
				return r.Missing, r.Value.Sessions - 13, err
			},
			"Nodes": func() ([]string, int, error) {
				r, err := a.Nodes(ctx)
				return r.Missing, len(r.Value) - 1, err
			},
			"SessionPage": func() ([]string, int, error) {
				r, err := a.SessionPage(ctx, usermgr.PageQuery{})
				found, missing := len(r.Value.Items), r.Missing
				for pages := 1; err == nil && r.Value.Next != "" && pages < 5; pages++ { // the next page goes on behind the node
					r, err = a.SessionPage(ctx, usermgr.PageQuery{Cursor: r.Value.Next})
					found, missing = found+len(r.Value.Items), append(missing, r.Missing...)
				}
				return missing, found - 13, err
			},
			"Broadcast": func() ([]string, int, error) {
				r, err := a.Broadcast(ctx, &protocol.Message{Type: 1}, nil)
				return r.Missing, r.Value + 1, err
			},
		} {
			began := time.Now()
			missing, found, err := ask()
			if took := time.Since(began); took > 2500*time.Millisecond {
				t.Errorf("%s took %v", name, took)
			}
			if err != nil || !slices.Equal(missing, []string{"b"}) || found != 1 {
				t.Errorf("%s: missing %q, %d more than those that are sure, %v", name, missing, found, err)
			}
		}
		w.mesh.Lose(nil)
		if r, err := a.Sessions(ctx, "ann"); err != nil || len(r.Missing) > 0 || len(r.Value) != 2 {
			t.Errorf("when the node is back: %+v, %v", r, err)
		}
	})
}

// Rule 22: what the store does not tell is an error, and not a short answer.
func TestAQueryWithoutTheStoreIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := busyWorld(t)
		ctx := context.Background()
		a := w.nodes[0]
		a.setFaults(refusing("Look", "Walk", "Count"))
		_, sessions := a.Sessions(ctx, "ann")
		count, counts := a.Count(ctx)
		_, page := a.UserPage(ctx, "", 0)
		for _, err := range []error{sessions, counts, page} {
			if !errors.Is(err, errCut) {
				t.Errorf("the error is %v", err)
			}
		}
		if count.Value.Sessions != 22 {
			t.Errorf("the sessions, which do not need the store, are %d", count.Value.Sessions)
		}
	})
}

// Rule 22: a message for everyone reaches the clients of all nodes, once each.
func TestABroadcastReachesTheClientsOfAllNodes(t *testing.T) {
	w := newServers(t, 2, nil, nil)
	came := make(chan string, 100)
	for i, s := range w.all {
		for j := range 3 {
			user := fmt.Sprintf("user%d%d", i, j)
			s.Client(t, user, client.Config{Handle: map[uint16]client.Handler{7: func(_ *client.Client, m *protocol.Message) error {
				came <- user + " " + string(m.Body)
				return nil
			}}})
		}
	}
	r, err := w.all[0].node.Broadcast(context.Background(), &protocol.Message{Type: 7, Body: []byte("hi")}, nil)
	if err != nil || r.Value != 6 || len(r.Missing) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	var got []string
	for range 6 {
		got = append(got, <-came)
	}
	sort.Strings(got)
	if want := []string{"user00 hi", "user01 hi", "user02 hi", "user10 hi", "user11 hi", "user12 hi"}; !slices.Equal(got, want) {
		t.Errorf("%q came", got)
	}
}
