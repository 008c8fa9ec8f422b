package redisdir_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// electionLease is longer than an election takes, on a machine with much else to do too: nodes that are fenced have no sessions that could be
// there twice.
const electionLease = 16 * time.Second

// connectTo returns a client for several servers.
func connectTo(t testing.TB, o rueidis.ClientOption) rueidis.Client {
	t.Helper()
	o.DisableCache, o.PipelineMultiplex = true, -1
	c, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eachElection runs a test in which the primary dies, and one in which it stands still until another one is elected, and then goes on.
func eachElection(t *testing.T, f func(t *testing.T, comesBack bool)) {
	for name, comesBack := range map[string]bool{"the primary dies": false, "the primary comes back": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, comesBack)
		})
	}
}

// elects has users log on crosswise at three nodes while the primary is killed, or stands still, and a replica is elected. The replicas lack the last
// logons: without the barrier, users would be let in beside sessions that the replica does not know.
func elects(t *testing.T, primary *server, comesBack bool, connect func(n *member) (store, way rueidis.Client)) {
	const users, clients = 60, 36 // many wait for the store when it is there again
	s := &stand{t: t, lease: electionLease}
	for _, name := range []string{"a", "b", "c"} {
		s.nodes = append(s.nodes, &member{name: name})
	}
	s.run(1, connect)
	stop := s.storm(users, clients)
	s.grow(500)
	lives := fmt.Sprint(s.nodes[0].Incarnation(), s.nodes[1].Incarnation(), s.nodes[2].Incarnation())
	lost := s.log.Count().Lost
	c := primary.client()
	for _, line := range []string{"ACL SETUSER default -psync -sync", "CLIENT KILL TYPE replica"} {
		if err := primary.do(c, line); err != nil {
			t.Fatal(err)
		}
	}
	cut := time.Now() // no renewal counts from here on
	before := s.log.Count().Logons
	testkit.Eventually(t, "users come in, or no node acts any more", func() bool {
		return s.log.Count().Logons > before+100 || !s.nodes[0].May()
	})
	if comesBack {
		primary.signal(syscall.SIGSTOP)
		s.grow(250)
		primary.signal(syscall.SIGCONT) // calls that were on their way to it are answered now
		s.grow(250)
	} else {
		primary.kill()
		s.grow(500)
	}
	took := time.Since(cut)
	in, refused := stop()
	s.awaitNodes()
	s.letAllIn(users)
	s.settled(users)
	now := fmt.Sprint(s.nodes[0].Incarnation(), s.nodes[1].Incarnation(), s.nodes[2].Incarnation())
	total := s.log.Count()
	t.Logf("500 logons %v after the replicas were cut off; %d logons came in, %d were refused, %d evictions, %d sessions lost",
		took.Round(time.Millisecond), in, refused, total.Evicted, total.Lost-lost)
	if took < electionLease && now != lives { // the recovery has taken two renewals of that
		t.Errorf("the nodes were %s, and are %s: the election took less than their lease", lives, now)
	}
}

// Rules 19 to 21 over an election by Sentinel: three sentinels, a primary and two replicas.
func TestNoUserIsTwiceWhileSentinelElects(t *testing.T) { eachElection(t, sentinelElects) }

func sentinelElects(t *testing.T, comesBack bool) {
	primary := startServer(t)
	for range 2 {
		r := startServer(t)
		r.follow(r.client(), primary)
	}
	var sentinels []string
	for range 3 {
		sentinels = append(sentinels, testkit.Sentinel(t, primary.addr))
	}
	testkit.Eventually(t, "the sentinels know each other and the replicas", func() bool {
		for _, addr := range sentinels {
			known, err := connect(t, addr).Do(context.Background(), connect(t, addr).B().Arbitrary("SENTINEL", "MASTER", "users").Build()).AsStrMap()
			if err != nil || known["num-slaves"] != "2" || known["num-other-sentinels"] != "2" {
				return false
			}
		}
		return true
	})
	o := rueidis.ClientOption{InitAddress: sentinels, Sentinel: rueidis.SentinelOption{MasterSet: "users"}, ConnWriteTimeout: electionLease / 8}
	elects(t, primary, comesBack, func(*member) (store, way rueidis.Client) { return connectTo(t, o), connectTo(t, o) })
}

// Rules 19 to 21 over an election in a Redis Cluster: three primaries, and two replicas of the one that has the keys.
func TestNoUserIsTwiceWhileARedisClusterElects(t *testing.T) { eachElection(t, aRedisClusterElects) }

func aRedisClusterElects(t *testing.T, comesBack bool) {
	var all []*server
	for range 5 {
		_, bus, _ := net.SplitHostPort(testkit.FreeAddr(t))
		all = append(all, startServer(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1500",
			"--cluster-port", bus, "--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"))
	}
	do := func(s *server, line string) string {
		t.Helper()
		c := s.client()
		answer, err := c.Do(context.Background(), c.B().Arbitrary(strings.Fields(line)...).Build()).ToAny()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return fmt.Sprint(answer)
	}
	const slots = 16384
	var slot int
	_, _ = fmt.Sscan(do(all[0], "CLUSTER KEYSLOT {rollcall}:nodes"), &slot)
	holder := slot * 3 / slots
	for i, s := range all {
		if i < 3 {
			do(s, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", (i*slots+2)/3, ((i+1)*slots+2)/3-1))
		}
		if i > 0 {
			_, port, _ := net.SplitHostPort(s.addr)
			do(all[0], "CLUSTER MEET 127.0.0.1 "+port+" "+s.args[slices.Index(s.args, "--cluster-port")+1])
		}
	}
	id := do(all[holder], "CLUSTER MYID")
	for _, s := range all[3:] {
		testkit.Eventually(t, "the replica knows its primary", func() bool { return strings.Contains(do(s, "CLUSTER NODES"), id) })
		do(s, "CLUSTER REPLICATE "+id)
	}
	for _, s := range all {
		testkit.EventuallyIn(t, time.Minute, "the cluster is whole", func() bool {
			nodes := do(s, "CLUSTER NODES")
			return strings.Contains(do(s, "CLUSTER INFO"), "cluster_state:ok") && strings.Count(nodes, "slave "+id) == 2
		})
	}
	testkit.Eventually(t, "both replicas follow", func() bool {
		return strings.Count(do(all[holder], "INFO replication"), "state=online") == 2
	})
	var addrs []string
	for _, s := range all {
		addrs = append(addrs, s.addr)
	}
	o := rueidis.ClientOption{InitAddress: addrs, ConnWriteTimeout: electionLease / 8}
	elects(t, all[holder], comesBack, func(*member) (store, way rueidis.Client) { return connectTo(t, o), connectTo(t, o) })
}
