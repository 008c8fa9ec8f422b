package cluster_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// served is a node with an engine, on real sockets. Messages of type 1 are counted and answered.
type served struct {
	*cluster.Node
	addr    string
	users   *usermgr.Manager
	cut     atomic.Bool // from the store
	handled atomic.Int64
}

func serve(t *testing.T, lease time.Duration, cfg engine.Config, events usermgr.Events) *served {
	s := &served{}
	store := memory.New().With(memory.Faults{Before: func(context.Context, string) error {
		if s.cut.Load() {
			return errors.New("the store is cut off")
		}
		return nil
	}})
	s.Node = testkit.Must(cluster.New(cluster.Config{Directory: store, Mesh: memory.NewMesh(), Lease: lease, Logger: zap.NewNop()}))
	s.users = testkit.Must(usermgr.New(usermgr.Config{Claims: s.Node, Logger: zap.NewNop()}))
	s.users.Subscribe(events)
	cfg.Listeners, cfg.Logger = []engine.Listener{{Addr: "127.0.0.1:0"}}, zap.NewNop()
	e := testkit.Must(engine.New(cfg))
	testkit.Must(bridge.Attach(e, s.users, nil, bridge.Config{Logger: zap.NewNop()}))
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		s.handled.Add(1)
		return c.Reply(m, nil)
	})
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	s.addr = e.Addrs()[0].String()
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{s.Run, e.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		end()
		running.Wait()
		if err := s.users.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	testkit.Eventually(t, "the node is in the cluster", s.May)
	return s
}

// dial logs a client on that does not come back, and returns where the reason of its end comes.
func (s *served) dial(t *testing.T, user string) (c *client.Client, ended <-chan error) {
	t.Helper()
	reasons := make(chan error, 1)
	c, err := client.Dial(t.Context(), s.addr, client.Config{
		UserID: user, Reconnect: client.Reconnect{Max: -1},
		OnState: func(_ *client.Client, s client.State, err error) {
			if s == client.Closed {
				reasons <- err
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, reasons
}

// connect is dial for a client whose end nothing waits for.
func (s *served) connect(t *testing.T, user string) *client.Client {
	t.Helper()
	c, _ := s.dial(t, user)
	return c
}

// Rule 21: an engine whose bridge has the node's user manager delivers nothing when the node's lease is over, before the node has ended
// its first session.
func TestAnEngineOfTheNodeDeliversNothingAfterTheLease(t *testing.T) {
	for _, workers := range []int{0, 2} {
		s := serve(t, time.Minute, engine.Config{Workers: workers}, usermgr.Events{})
		c, ended := s.dial(t, "ann")
		if _, err := c.Request(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		s.EndLease()
		if err := c.Send(1, nil); err != nil {
			t.Fatal(err)
		}
		if err := testkit.Receive(t, "the end of the client", ended); codeOf(err) != protocol.NodeLost {
			t.Errorf("the client ended with %v", err)
		}
		if n := s.handled.Load(); n != 1 {
			t.Errorf("%d messages were handled, and 1 came before the end of the lease", n)
		}
	}
}

// Clients of a fenced node are told to come back over StopWindow, not all at once.
func TestClientsOfAFencedNodeComeBackOverStopWindow(t *testing.T) {
	const window, clients = time.Minute, 20
	s := serve(t, time.Second, engine.Config{Timeouts: engine.Timeouts{StopWindow: window}}, usermgr.Events{})
	var ends []<-chan error
	for i := range clients {
		_, ended := s.dial(t, strconv.Itoa(i))
		ends = append(ends, ended)
	}
	s.cut.Store(true)
	waits := make(map[time.Duration]bool)
	for _, ended := range ends {
		var ce *protocol.CloseError
		if err := testkit.Receive(t, "the end of a client", ended); !errors.As(err, &ce) || ce.Code != protocol.NodeLost {
			t.Fatalf("a client ended with %v", err)
		}
		ms, _ := strconv.Atoi(ce.Info[protocol.FieldRetryMS])
		wait := time.Duration(ms) * time.Millisecond
		if wait > window {
			t.Errorf("a client is told to wait %v", wait)
		}
		waits[wait/(window/10)] = true
	}
	if len(waits) < 3 { // 20 draws from ten parts of the window
		t.Errorf("all clients come back in %d tenths of the window", len(waits))
	}
}

// Rule 21: a session that a fence has ended takes no message when its node is back, also while an event handler holds its user's turn,
// so that the session's end is not told yet.
func TestNoMessageOfASessionThatAFenceEndedIsHandledWhenTheNodeIsBack(t *testing.T) {
	for _, workers := range []int{0, 2} {
		entered, free := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(free) })
		s := serve(t, time.Second, engine.Config{Workers: workers}, usermgr.Events{
			UserTagged: func(usermgr.UserData, string) {
				close(entered)
				<-free
			},
		})
		t.Cleanup(release)
		c, ended := s.dial(t, "ann")
		if _, err := c.Request(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		s.users.SetTag("ann", "tag")
		testkit.Receive(t, "the handler's start", entered)
		fences := s.Stats().Fences
		s.cut.Store(true)
		testkit.Eventually(t, "the node is fenced", func() bool { return s.Stats().Fences > fences })
		s.cut.Store(false)
		testkit.Eventually(t, "the node is back", s.May)
		if err := c.Send(1, nil); err != nil {
			t.Fatal(err)
		}
		bob := s.connect(t, "bob")
		for range 100 { // the node serves others, and has the time to read what ann has sent
			if _, err := bob.Request(t.Context(), 1, nil); err != nil {
				t.Fatal(err)
			}
		}
		release()
		if err := testkit.Receive(t, "the end of the client", ended); codeOf(err) != protocol.NodeLost {
			t.Errorf("the client ended with %v", err)
		}
		if n := s.handled.Load(); n != 101 {
			t.Errorf("%d messages were handled, and 101 were to be", n)
		}
	}
}
