package redisdir_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/internal/clustertest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// stand is a cluster of real nodes on a real server. Each node reaches the server by cables of its own, one for the store and one for
// the mesh.
type stand struct {
	t        *testing.T
	devices  usermgr.Devices
	lease    time.Duration
	lost     cluster.StoreLost
	server   *server // the primary
	replicas []*server
	log      *clustertest.Log
	nodes    []*member
	conns    atomic.Uint64
}

type member struct {
	*cluster.Node
	name       string
	users      *usermgr.Manager
	store, way *testkit.Cable // way is the mesh's
}

// lead has the node reach another server.
func (n *member) lead(to string) {
	for _, c := range []*testkit.Cable{n.store, n.way} {
		c.Lead(to)
		c.Break()
	}
}

// lease is long: a node whose processor is taken for a whole lease, on a busy machine, is fenced.
const lease = 6 * time.Second

// newStand starts nodes on a server with so many replicas. A function of meshes makes a node's mesh of the one over the server.
func newStand(t *testing.T, nodes, replicas int, devices usermgr.Devices, meshes ...func(cluster.Mesh) cluster.Mesh) *stand {
	s := &stand{t: t, devices: devices, server: startServer(t), lease: lease}
	for range replicas {
		r := startServer(t)
		r.follow(r.client(), s.server)
		s.replicas = append(s.replicas, r)
	}
	for i := range nodes {
		s.nodes = append(s.nodes, &member{name: string(rune('a' + i)), store: testkit.NewCable(t, s.server.addr), way: testkit.NewCable(t, s.server.addr)})
	}
	s.run(min(replicas, 1), func(n *member) (store, way rueidis.Client) {
		return connect(t, n.store.Addr()), connect(t, n.way.Addr())
	}, meshes...)
	return s
}

// run runs the nodes, with these clients for the store and for the mesh, and returns when they are in the cluster.
func (s *stand) run(waitReplicas int, clients func(n *member) (store, way rueidis.Client), meshes ...func(cluster.Mesh) cluster.Mesh) {
	t, devices := s.t, s.devices
	s.log = clustertest.NewLog(func(a, b uint16) bool {
		return !devices.OnePerClass || a == b || slices.Contains(devices.Exclusive, [2]uint16{min(a, b), max(a, b)})
	})
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, n := range s.nodes {
		store, way := clients(n)
		overServer := redisdir.NewMesh(way, redisdir.MeshConfig{Logger: zap.NewNop()})
		mesh := cluster.Mesh(overServer)
		for _, with := range meshes {
			mesh = with(mesh)
		}
		n.Node = testkit.Must(cluster.New(cluster.Config{
			Directory: open(t, store, redisdir.Config{WaitReplicas: waitReplicas}), Mesh: mesh, Name: n.name,
			Lease: s.lease, StoreLost: s.lost, Logger: zap.NewNop(),
		}))
		n.users = testkit.Must(usermgr.New(usermgr.Config{Claims: n.Node, Devices: devices, HeartbeatTimeout: -1, Logger: zap.NewNop()}))
		n.users.Subscribe(s.log.Events(n.name, n))
		running.Go(func() {
			defer overServer.Close()
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
		})
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
	logon := usermgr.Logon{UserID: user}
	if s.devices.OnePerClass {
		logon.Device = uint16(rand.IntN(4))
	}
	return n.users.Register(ctx, logon, clustertest.Link(s.conns.Add(1)))
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
	s.settledIn(testkit.Patience, users)
}

func (s *stand) settledIn(patience time.Duration, users int) {
	s.t.Helper()
	testkit.EventuallyIn(s.t, patience, "the store has the sessions of the nodes", func() bool {
		for i := range users {
			user := fmt.Sprint("user", i)
			here := 0
			for _, n := range s.nodes {
				u, _ := n.users.User(user)
				here += len(u.Sessions)
			}
			places, err := s.nodes[i%len(s.nodes)].Where(context.Background(), user)
			if err != nil || len(places) != here || here > 1 && !s.devices.OnePerClass {
				return false
			}
		}
		return true
	})
}

// letAllIn has each user come again until one of the nodes lets the user in.
func (s *stand) letAllIn(users int) {
	s.t.Helper()
	for i := range users {
		user := fmt.Sprint("user", i)
		testkit.EventuallyIn(s.t, time.Minute, user+" comes in", func() bool {
			_, err := s.logOn(s.nodes[i%len(s.nodes)], user)
			return err == nil
		})
	}
}

// grow waits for so many more logons, however long they take, as long as they go on.
func (s *stand) grow(n int) {
	s.t.Helper()
	for at, end := s.log.Count().Logons, s.log.Count().Logons+n; at < end; {
		at = min(at+100, end)
		testkit.EventuallyIn(s.t, time.Minute, "logons go on", func() bool { return s.log.Count().Logons >= at })
	}
}

// Without faults no logon is refused, and the store has exactly the users who are online.
func TestUsersLogOnCrosswiseOverRedis(t *testing.T) {
	const users = 40
	s := newStand(t, 3, 0, usermgr.Devices{})
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
