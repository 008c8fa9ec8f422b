package redisdir_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/internal/clustertest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// stand is a cluster of real nodes on a real server. Each node reaches the server by a proxy of its own.
type stand struct {
	t      *testing.T
	server *server
	log    *clustertest.Log
	nodes  []*member
	conns  atomic.Uint64
}

type member struct {
	*cluster.Node
	name  string
	users *usermgr.Manager
	way   *proxy
}

const lease = 2 * time.Second

func newStand(t *testing.T, nodes int) *stand {
	s := &stand{t: t, server: startServer(t)}
	s.log = clustertest.NewLog(func(a, b uint16) bool { return true })
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range nodes {
		n := &member{name: string(rune('a' + i)), way: newProxy(t, s.server.addr)}
		client := connect(t, n.way.addr())
		mesh := redisdir.NewMesh(client, redisdir.MeshConfig{Logger: zap.NewNop()})
		n.Node = testkit.Must(cluster.New(cluster.Config{
			Directory: open(t, client, redisdir.Config{}), Mesh: mesh, Name: n.name, Lease: lease, Logger: zap.NewNop(),
		}))
		n.users = testkit.Must(usermgr.New(usermgr.Config{Claims: n.Node, HeartbeatTimeout: -1, Logger: zap.NewNop()}))
		n.users.Subscribe(s.log.Events(n.name, n))
		running.Go(func() {
			defer mesh.Close()
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		s.nodes = append(s.nodes, n)
	}
	t.Cleanup(func() {
		end()
		running.Wait()
		for _, n := range s.nodes {
			if err := n.users.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
		s.log.Check(t)
	})
	s.awaitNodes()
	return s
}

func (s *stand) awaitNodes() {
	s.t.Helper()
	for _, n := range s.nodes {
		testkit.Eventually(s.t, n.name+" is in the cluster", n.May)
	}
}

func (s *stand) logOn(n *member, user string) (usermgr.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return n.users.Register(ctx, usermgr.Logon{UserID: user}, clustertest.Link(s.conns.Add(1)))
}

// storm has users log on at random nodes, some at a time, until the function that it returns is called. That returns how many came in,
// and how many were refused.
func (s *stand) storm(users, clients int) (stop func() (in, refused int)) {
	var wg sync.WaitGroup
	var in, refused atomic.Int64
	over := make(chan struct{})
	for i := range clients {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				session, err := s.logOn(s.nodes[r.IntN(len(s.nodes))], fmt.Sprint("user", r.IntN(users)))
				switch {
				case err == nil:
					in.Add(1)
					if r.IntN(4) == 0 {
						session.End(protocol.ClientClosed)
					}
				default:
					refused.Add(1)
					time.Sleep(10 * time.Millisecond) // a client that is refused waits
				}
			}
		})
	}
	return func() (int, int) {
		close(over)
		wg.Wait()
		return int(in.Load()), int(refused.Load())
	}
}

// settled waits until the store has the sessions of the nodes, and no others of theirs.
func (s *stand) settled(users int) {
	s.t.Helper()
	testkit.Eventually(s.t, "the store has the sessions of the nodes", func() bool {
		for i := range users {
			user := fmt.Sprint("user", i)
			here := 0
			for _, n := range s.nodes {
				if n.users.IsOnline(user) {
					here++
				}
			}
			places, err := s.nodes[i%len(s.nodes)].Where(context.Background(), user)
			if err != nil || len(places) != here || here > 1 {
				return false
			}
		}
		return true
	})
}

// Rules 19 to 21 on a real server: users log on crosswise while the server is restarted empty and a node is cut off from it.
func TestNoUserIsTwiceWhileTheServerRestartsAndANodeIsCutOff(t *testing.T) {
	const users, clients = 60, 24
	s := newStand(t, 3)
	began := time.Now()
	stop := s.storm(users, clients)
	s.grow(500)
	before := s.log.Count()
	t.Logf("%d logons and %d evictions in %v", before.Logons, before.Evicted, time.Since(began).Round(time.Millisecond))

	restarted := time.Now()
	s.server.restart()
	s.grow(500)
	t.Logf("the server was restarted empty: 500 logons after %v", time.Since(restarted).Round(time.Millisecond))
	if got := s.log.Count().Lost; got != 0 {
		t.Errorf("%d sessions were lost by the restart", got)
	}

	a := s.nodes[0]
	life := a.Incarnation()
	a.way.setCut(true)
	cut := time.Now()
	testkit.Eventually(t, "the node is fenced", func() bool { return !a.May() })
	if took := time.Since(cut); took > lease {
		t.Errorf("the node was fenced after %v", took)
	}
	s.grow(500)
	a.way.setCut(false)
	testkit.Eventually(t, "the node is back", func() bool { return a.May() && a.Incarnation() != life })
	s.grow(500)
	in, refused := stop()
	for i := range users {
		user := fmt.Sprint("user", i)
		testkit.Eventually(t, user+" comes in", func() bool {
			_, err := s.logOn(s.nodes[i%3], user)
			return err == nil
		})
	}
	s.settled(users)
	total := s.log.Count()
	t.Logf("%d logons came in, %d were refused, %d evictions, %d sessions lost", in, refused, total.Evicted, total.Lost)
}

// Rules 19 to 21 over a failover to a replica that lacks the last writes: it asks the nodes for them before it grants anything.
func TestNoUserIsTwiceOverAFailover(t *testing.T) {
	const users, clients = 60, 24
	s := newStand(t, 3)
	replica := startServer(t)
	rc := replica.client()
	replica.follow(rc, s.server)
	stop := s.storm(users, clients)
	s.grow(500)
	if err := replica.do(rc, "REPLICAOF NO ONE"); err != nil { // from here on its copy is old
		t.Fatal(err)
	}
	s.grow(300)
	failed := time.Now()
	for _, n := range s.nodes {
		n.way.lead(replica.addr)
	}
	s.server.kill()
	s.grow(500)
	t.Logf("500 logons %v after the failover", time.Since(failed).Round(time.Millisecond))
	in, refused := stop()
	s.settled(users)
	total := s.log.Count()
	t.Logf("%d logons came in, %d were refused, %d evictions, %d sessions lost", in, refused, total.Evicted, total.Lost)
	if total.Lost != 0 {
		t.Errorf("%d sessions were lost by the failover", total.Lost)
	}
}

// grow waits for so many more logons.
func (s *stand) grow(n int) {
	s.t.Helper()
	want := s.log.Count().Logons + n
	testkit.EventuallyIn(s.t, time.Minute, "logons go on", func() bool { return s.log.Count().Logons >= want })
}

// Without faults no logon is refused, and the store has exactly the users who are online.
func TestUsersLogOnCrosswiseOverRedis(t *testing.T) {
	const users = 40
	s := newStand(t, 3)
	began := time.Now()
	stop := s.storm(users, 24)
	s.grow(3000)
	in, refused := stop()
	took := time.Since(began)
	if refused != 0 {
		t.Errorf("%d logons were refused", refused)
	}
	s.settled(users)
	t.Logf("%d logons, %d evictions, %.0f logons/s", in, s.log.Count().Evicted, float64(in)/took.Seconds())
	records := 0
	for i := range users {
		online := testkit.Must(s.nodes[0].IsOnline(t.Context(), fmt.Sprint("user", i)))
		if online {
			records++
		}
	}
	d := open(t, connect(t, s.server.addr), redisdir.Config{})
	if n := testkit.Must(d.Count(t.Context())); n != records {
		t.Errorf("%d users are online, and the store has %d records", records, n)
	}
}
