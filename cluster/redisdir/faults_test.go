package redisdir_test

import (
	"cmp"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// fault is what happens to a cluster while users log on crosswise.
type fault struct {
	name     string
	replicas int
	// happens makes the fault and ends it again. It returns which nodes may have been fenced; the others keep their sessions.
	happens func(s *stand) (fenced []*member)
}

var faults = []fault{
	{"none", 0, func(s *stand) []*member { return nil }},
	{"a node is cut off", 0, func(s *stand) []*member {
		n := s.nodes[0]
		n.store.SetCut(true)
		n.way.SetCut(true)
		testkit.Eventually(s.t, "the node is fenced", func() bool { return !n.May() })
		s.grow(100) // its users log on elsewhere
		n.store.SetCut(false)
		n.way.SetCut(false)
		return s.nodes[:1]
	}},
	{"a node is cut off from the store", 0, func(s *stand) []*member {
		n := s.nodes[0]
		n.store.SetCut(true)
		testkit.Eventually(s.t, "the node is fenced", func() bool { return !n.May() })
		s.grow(100)
		n.store.SetCut(false)
		return s.nodes[:1]
	}},
	{"the mesh of a node is cut", 0, func(s *stand) []*member {
		s.nodes[0].way.SetCut(true)
		lasts(s.lease)
		s.nodes[0].way.SetCut(false)
		return nil
	}},
	{"the store stands still for less than a lease", 0, func(s *stand) []*member {
		began := time.Now()
		s.server.signal(syscall.SIGSTOP)
		lasts(s.lease / 4)
		s.server.signal(syscall.SIGCONT)
		s.grow(1)
		if time.Since(began) < s.lease-s.lease/5-s.lease/10 { // Renew and Margin
			return nil
		}
		return s.nodes // the machine was too slow
	}},
	{"the store stands still for more than a lease", 0, func(s *stand) []*member {
		s.server.signal(syscall.SIGSTOP)
		for _, n := range s.nodes {
			testkit.Eventually(s.t, "all nodes are fenced", func() bool { return !n.May() })
		}
		s.server.signal(syscall.SIGCONT)
		return s.nodes
	}},
	{"the store is restarted empty", 0, func(s *stand) []*member {
		s.server.restart()
		return nil
	}},
	{"a replica without the last writes takes over", 2, func(s *stand) []*member {
		next := s.replicas[0]
		c := next.client()
		s.replicas[1].follow(s.replicas[1].client(), next)
		if err := next.do(c, "REPLICAOF NO ONE"); err != nil { // from here on its copy is old
			s.t.Fatal(err)
		}
		before := s.log.Count().Logons
		testkit.Eventually(s.t, "users come in, or no renewal counts any more", func() bool {
			return s.log.Count().Logons > before+100 || !s.nodes[0].May()
		})
		for _, n := range s.nodes {
			n.lead(next.addr)
		}
		s.server.kill()
		s.server, s.replicas = next, s.replicas[1:]
		s.addReplica()
		return s.nodes // renewals did not count while no replica followed
	}},
	{"the store is split in two", 2, func(s *stand) []*member {
		next, old := s.replicas[0], s.server
		if err := next.do(next.client(), "REPLICAOF NO ONE"); err != nil {
			s.t.Fatal(err)
		}
		s.replicas[1].follow(s.replicas[1].client(), next)
		for _, n := range s.nodes[1:] { // the first node stays with the old primary
			n.lead(next.addr)
		}
		testkit.Eventually(s.t, "the node of the minority is fenced", func() bool { return !s.nodes[0].May() })
		s.server = next
		s.grow(100)
		s.nodes[0].lead(next.addr)
		old.kill()
		s.replicas = s.replicas[1:]
		s.addReplica()
		return s.nodes
	}},
}

// lasts lets a fault go on for a time.
func lasts(d time.Duration) { time.Sleep(d) }

// lighter is by how much fewer logons each fault stands than make full has it stand: a quarter with the race detector, with which a logon
// takes eight times as long.
var lighter = 1

// relogons is how many logons each fault has to stand: 10,000, fewer with the race detector, and in make soak what SOAK_RELOGONS says.
func relogons(t *testing.T) int {
	text := cmp.Or(os.Getenv("SOAK_RELOGONS"), strconv.Itoa(10_000/lighter))
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SOAK_RELOGONS is %q: %v", text, err)
	}
	return n
}

// Rules 19 to 21 on a real server: no user acts twice, and the order of no replacement is broken, whatever happens meanwhile. After each
// fault all nodes are back, and at the end the store has the sessions of the nodes and no others.
func TestNoUserIsTwice(t *testing.T) {
	policies := []usermgr.Devices{{}, {OnePerClass: true, Exclusive: [][2]uint16{{1, 2}}}}
	for i, f := range faults {
		for j, devices := range policies {
			if os.Getenv("SOAK_RELOGONS") == "" && i%2 != j && i > 0 {
				continue // one of the policies for each fault will do
			}
			name := f.name
			if devices.OnePerClass {
				name += ", a session a device class"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f.stand(t, devices)
			})
		}
	}
}

func (f *fault) stand(t *testing.T, devices usermgr.Devices) {
	const users, clients = 60, 24
	s := newStand(t, 3, f.replicas, devices)
	stop := s.storm(users, clients)
	want := relogons(t)
	times := 0
	for s.log.Count().Logons < want || times == 0 {
		s.grow(want / 4)
		lives := make([]cluster.Incarnation, len(s.nodes))
		for i, n := range s.nodes {
			lives[i] = n.Incarnation()
		}
		fenced := f.happens(s)
		times++
		s.awaitNodes()
		for i, n := range s.nodes[len(fenced):] {
			if n.Incarnation() != lives[len(fenced)+i] {
				t.Errorf("node %s was fenced", n.name)
			}
		}
	}
	in, refused := stop()
	s.letAllIn(users)
	s.settled(users)
	total := s.log.Count()
	t.Logf("%d times; %d logons came in, %d were refused, %d evictions, %d sessions lost", times, in, refused, total.Evicted, total.Lost)
}

func (s *stand) addReplica() {
	s.t.Helper()
	r := startServer(s.t)
	r.follow(r.client(), s.server)
	s.replicas = append(s.replicas, r)
}
