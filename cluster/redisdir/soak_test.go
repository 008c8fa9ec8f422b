package redisdir_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rules 19 to 21 with real clients, in a process of their own, that log on at any node, stay for a while, ask, and go, while one fault
// follows the other. At the end the store has the sessions that the nodes have, and no others; and none when the clients have gone.
// In make soak it is 5 nodes with 2,000 clients each, for SOAK_CLUSTER, with a fault each 20 s.
func TestSoak(t *testing.T) {
	nodes, clients, every := 3, 150, time.Duration(0)
	length, err := time.ParseDuration(os.Getenv("SOAK_CLUSTER"))
	if err == nil {
		nodes, clients, every = 5, 10_000, 20*time.Second
	}
	s := newStand(t, nodes, 2, usermgr.Devices{})
	addrs := s.serve()
	users := clients * 3 / 4
	c := startChild(t, "clients", crowd{Addrs: addrs, Clients: clients, Users: users})
	s.grow(clients / 2)
	began, times := time.Now(), 0
	for i := 0; time.Since(began) < length || i < len(faults); i++ {
		due := time.Now().Add(every)
		f := &faults[i%len(faults)]
		if length == 0 && f.happens != nil && i%3 != 1 {
			continue // a few will do
		}
		f.happens(s)
		s.awaitNodes()
		s.grow(20)
		times++
		lasts(time.Until(due))
	}
	t.Log(strings.TrimSpace(c.ask("hold")))
	online := 0
	s.settledIn(2*time.Minute, users)
	for i := range users {
		for _, n := range s.nodes {
			if n.users.IsOnline(fmt.Sprint("user", i)) {
				online++
			}
		}
	}
	store := open(t, connect(t, s.server.addr), redisdir.Config{WaitReplicas: 1})
	count := func() int { return testkit.Must(store.Count(t.Context())) }
	testkit.EventuallyIn(t, time.Minute, "the store has a record for each user who is online", func() bool { return count() == online })
	if online == 0 {
		t.Error("no user is online")
	}
	c.kill()
	testkit.EventuallyIn(t, time.Minute, "the store is empty when all have gone", func() bool { return count() == 0 })
	total := s.log.Count()
	t.Logf("%d faults in %v; %d logons, %d evictions, %d sessions lost; %d users online at the end", times, time.Since(began).Round(time.Second), total.Logons, total.Evicted, total.Lost, online)
}

// serve gives each node an engine, and returns where they listen.
func (s *stand) serve() (addrs []string) {
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, n := range s.nodes {
		e := testkit.Must(engine.New(engine.Config{
			Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}, Logger: zap.NewNop(),
			Bans: engine.Bans{FailedLogons: -1, Flaps: -1},
		}))
		testkit.Must(bridge.Attach(e, n.users, nil, bridge.Config{Logger: zap.NewNop(), RelogonBurst: -1}))
		e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
		if err := e.Listen(); err != nil {
			s.t.Fatal(err)
		}
		addrs = append(addrs, e.Addrs()[0].String())
		running.Go(func() {
			if err := e.Run(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.t.Cleanup(func() {
		end()
		running.Wait()
	})
	return addrs
}

// crowd is the argument of the job "clients".
type crowd struct {
	Addrs          []string
	Clients, Users int
}

// runClients has clients come and go until its standard input ends. After "hold" those that are there stay, and no others come; the
// answer says how many there are.
func runClients(arg []byte) {
	var c crowd
	if err := json.Unmarshal(arg, &c); err != nil {
		panic(err)
	}
	held := make(chan struct{})
	var online atomic.Int64
	for range c.Clients {
		go func() {
			for {
				select {
				case <-held:
					return
				default:
				}
				c.visit(held, &online)
			}
		}()
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "hold" {
			close(held)
			fmt.Println(online.Load(), "clients are online when they are held")
		}
	}
}

// visit is one client, from its logon to its end.
func (c *crowd) visit(held chan struct{}, online *atomic.Int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cl, err := client.Dial(ctx, "any:0", client.Config{
		UserID:    fmt.Sprint("user", rand.IntN(c.Users)),
		Reconnect: client.Reconnect{Max: time.Second, First: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.Addrs[rand.IntN(len(c.Addrs))])
		},
	})
	if err != nil {
		return
	}
	online.Add(1)
	defer online.Add(-1)
	defer cl.Close()
	for stays := 1 + rand.IntN(10); stays > 0; {
		select {
		case <-time.After(time.Duration(rand.IntN(2000)) * time.Millisecond):
			stays--
			_, _ = cl.Request(ctx, 1, []byte("hello")) // it fails while the client reconnects
		case <-cl.Done(): // pushed out
			return
		case <-held:
			<-cl.Done()
			return
		}
	}
}
