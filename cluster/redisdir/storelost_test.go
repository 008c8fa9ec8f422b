package redisdir_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// Rule 24, StoreLost Open, on a real server: the server is killed, users go on and log on at two nodes, and the server is started again with nothing in
// it. Then each user has one session, the one that came last, and users move between the nodes again.
func TestOpenNodesGoOnWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	const users = 20
	s := &stand{t: t, server: startServer(t), lease: lease, lost: cluster.Open}
	s.nodes = []*member{{name: "a"}, {name: "b"}}
	s.run(0, func(*member) (store, way rueidis.Client) { return connect(t, s.server.addr), connect(t, s.server.addr) })
	a, b := s.nodes[0], s.nodes[1]
	s.letAllIn(users)
	s.server.kill()
	for _, n := range s.nodes {
		testkit.Eventually(t, n.name+" goes on without the server", func() bool { return n.Stats().StoreLost && n.May() })
	}
	if lost := s.log.Count().Lost; lost != 0 {
		t.Fatalf("%d sessions have ended", lost)
	}
	var all sync.WaitGroup
	for _, n := range s.nodes { // at the same time
		all.Go(func() {
			for i := range users {
				if _, err := s.logOn(n, fmt.Sprint("user", i)); err != nil {
					t.Errorf("user%d was refused at %s: %v", i, n.name, err)
				}
			}
		})
	}
	all.Wait()
	last := testkit.Must(s.logOn(a, "user0"))
	s.server.start()
	for _, n := range s.nodes {
		testkit.Eventually(t, n.name+" is back", func() bool { return !n.Stats().StoreLost && n.May() })
	}
	s.settled(users)
	s.log.CheckNoRivals(t, 1)
	if _, ok := a.users.Session(last.ID()); !ok {
		t.Errorf("user0's last session has ended\n%s", s.log)
	}
	for i := range users {
		testkit.Eventually(t, fmt.Sprint("user", i, " moves"), func() bool {
			_, err := s.logOn(b, fmt.Sprint("user", i))
			return err == nil
		})
	}
	s.settled(users)
	if lost := s.log.Count().Lost; lost != 0 {
		t.Errorf("%d sessions have ended with NodeLost", lost)
	}
}
