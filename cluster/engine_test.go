package cluster_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 21: an engine whose bridge has the node's user manager delivers nothing when the node's lease is over, before the node has ended
// its first session.
func TestAnEngineOfTheNodeDeliversNothingAfterTheLease(t *testing.T) {
	for _, workers := range []int{0, 2} {
		node := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh(), Logger: zap.NewNop()}))
		users := testkit.Must(usermgr.New(usermgr.Config{Claims: node, Logger: zap.NewNop()}))
		e := testkit.Must(engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}, Workers: workers, Logger: zap.NewNop()}))
		testkit.Must(bridge.Attach(e, users, nil, bridge.Config{Logger: zap.NewNop()}))
		var handled atomic.Int64
		e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
			handled.Add(1)
			return c.Reply(m, nil)
		})
		if err := e.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() {
			if err := node.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			if err := e.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() {
			end()
			running.Wait()
			if err := users.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		within, cancel := context.WithTimeout(ctx, testkit.Patience)
		defer cancel()
		if err := node.Joined(within); err != nil {
			t.Fatal(err)
		}
		lost := make(chan error, 1)
		c := testkit.Must(client.Dial(within, e.Addrs()[0].String(), client.Config{
			UserID: "ann", Reconnect: client.Reconnect{Max: -1},
			OnState: func(_ *client.Client, s client.State, err error) {
				if s == client.Closed {
					lost <- err
				}
			},
		}))
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Request(within, 1, nil); err != nil {
			t.Fatal(err)
		}
		node.EndLease()
		if err := c.Send(1, nil); err != nil {
			t.Fatal(err)
		}
		if err := testkit.Receive(t, "the end of the client", lost); codeOf(err) != protocol.NodeLost {
			t.Errorf("the client ended with %v", err)
		}
		if n := handled.Load(); n != 1 {
			t.Errorf("%d messages were handled, and 1 came before the end of the lease", n)
		}
	}
}
