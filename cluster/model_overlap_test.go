package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// TestModelOfOverlappingFaults draws programs as TestModel does, with faults that come while others are not over: the store restarts empty or takes
// over without its last writes again and again, while nodes are cut off for longer than a lease. Nodes go on without the store. Rules 19,
// 20 and 24 hold as TestModel says. make soak has many programs.
func TestModelOfOverlappingFaults(t *testing.T) {
	runPrograms(t, 1, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { runOverlapping(t, seed) })
	})
}

func runOverlapping(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 77))
	cfg := drawUsers(r, 6, 20_000)
	p := &program{world: newWorld(t, 0, cfg), rand: r}
	p.lost, p.pace = cluster.Open, 200
	clocks := rand.New(rand.NewPCG(seed, 2))
	for range 2 + r.IntN(3) {
		p.drawClock(clocks)
		p.addNode()
	}
	p.log.Notef("%d nodes with %+v", len(p.nodes), cfg)
	p.awaitNodes()
	for _, n := range p.nodes {
		p.heal(n)
	}
	p.setBad(true)
	var users sync.WaitGroup
	over := make(chan struct{})
	for i := range 6 {
		users.Go(func() { p.user(fmt.Sprint("user", i/3), over) })
	}
	wait := func(ms int) bool {
		select {
		case <-over:
			return false
		case <-time.After(time.Duration(p.draw(ms)) * time.Millisecond):
			return true
		}
	}
	var faults sync.WaitGroup
	faults.Go(func() {
		for wait(30_000) {
			if p.draw(2) == 0 {
				p.log.Notef("the store restarts empty")
				p.store.Restart()
				continue
			}
			before := p.store.Snapshot()
			wait(1000)
			p.log.Notef("the replica takes over")
			p.store.Promote(before)
		}
	})
	for _, n := range p.nodes {
		faults.Go(func() {
			for wait(40_000) {
				p.cut(n)
				wait(45_000)
				p.log.Notef("%s is cut off no more", n.name)
				p.heal(n)
			}
		})
	}
	time.Sleep(150 * time.Second)
	close(over)
	users.Wait()
	faults.Wait()
	p.healAll()
	most := max(cfg.Devices.MaxSessions, 1)
	if cfg.Devices.OnePerClass {
		most = 3
	}
	p.staysSettled()
	p.log.CheckNoRivals(t, most)
	for i := range 2 {
		user := fmt.Sprint("user", i)
		if _, err := p.logOn(p.nodes[p.draw(len(p.nodes))], usermgr.Logon{UserID: user}); err != nil && codeOf(err) != protocol.AlreadyLoggedOn {
			t.Errorf("when all is healed %s is refused: %v\n%s", user, err, p.log)
		}
	}
	p.staysSettled()
	p.log.CheckNoRivals(t, most)
	for _, s := range p.all {
		s.End(protocol.ClientClosed)
	}
	p.staysSettled()
}
