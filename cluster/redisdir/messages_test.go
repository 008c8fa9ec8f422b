package redisdir_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 23 with real clients, a real server, and the mesh over it: messages come in order, follow a user who moves, and are confirmed; a kick
// ends the session elsewhere.
func TestMessagesPushesAndKicksReachAUserOnAnotherNode(t *testing.T) {
	const chat = 0x0101
	redis := startServer(t)
	var servers []*rollcalltest.Server
	var nodes []*cluster.Node
	var services []*push.Service
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range 2 {
		c := connect(t, redis.addr)
		mesh := redisdir.NewMesh(c, redisdir.MeshConfig{Logger: zap.NewNop()})
		n := testkit.Must(cluster.New(cluster.Config{
			Directory: open(t, c, redisdir.Config{}), Mesh: mesh, Name: string(rune('a' + i)), Lease: lease, Logger: zap.NewNop(),
		}))
		servers = append(servers, rollcalltest.NewServer(t, rollcall.Config{
			Users: usermgr.Config{Claims: n}, Bridge: bridge.Config{Elsewhere: n, Relay: &bridge.Relay{}}, Logger: zap.NewNop(),
		}, func(s *rollcall.Server) {
			p := push.New(s.Bridge)
			p.Register("cluster", n.Pusher(p))
			services = append(services, p)
		}))
		running.Go(func() {
			defer mesh.Close()
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, n)
	}
	t.Cleanup(func() {
		end()
		running.Wait()
		for _, p := range services {
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	for _, n := range nodes {
		testkit.Eventually(t, "the node is in the cluster", n.May)
	}

	got := make(chan string, 1000)
	bob := client.Config{
		Handle: map[uint16]client.Handler{
			chat: func(_ *client.Client, m *protocol.Message) error {
				got <- string(m.Body)
				return nil
			},
			chat + 1: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, []byte("yes")) },
		},
		OnPush: func(_ *client.Client, m *protocol.PushMessage) { got <- string(m.Content) },
	}
	expect := func(want ...string) {
		t.Helper()
		var all []string
		for range want {
			all = append(all, testkit.Receive(t, "a message", got))
		}
		if !slices.Equal(all, want) {
			t.Errorf("bob has got %q, want %q", all, want)
		}
	}
	servers[1].Client(t, "bob", bob)
	ann := servers[0].Client(t, "ann", client.Config{})
	var want []string
	for i := range 300 {
		if err := servers[0].Send("bob", chat, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprint(i))
	}
	expect(want...)
	if reply, err := ann.RequestTo(t.Context(), "bob", chat+1, nil); err != nil || string(reply.Body) != "yes" {
		t.Errorf("bob answered %v, %v", reply, err)
	}
	r, err := services[0].Push(t.Context(), push.ToUsers("bob"), push.Text("pushed"), &push.Options{Confirm: true})
	if err != nil || r.Confirmed() != 1 {
		t.Errorf("the push: %+v, %v", r, err)
	}
	expect("pushed")

	servers[0].Client(t, "bob", bob) // moves
	for _, s := range servers {
		if err := s.Send("bob", chat, []byte("moved")); err != nil {
			t.Fatal(err)
		}
	}
	expect("moved", "moved")
	k, err := nodes[1].Kick(t.Context(), "bob", nil)
	if err != nil || len(k.Value) != 1 || len(k.Missing) > 0 {
		t.Errorf("the kick: %+v, %v", k, err)
	}
	testkit.Eventually(t, "bob has left the store", func() bool { // soon after his session has ended
		online, err := nodes[1].Online(t.Context(), "bob", "ann")
		return err == nil && slices.Equal(online, []string{"ann"})
	})
}
