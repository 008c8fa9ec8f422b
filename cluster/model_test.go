package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// TestModel draws programs: users log on crosswise over nodes and drop, while answers are lost and late, frames are lost, the store
// restarts empty or takes over without its last writes, and nodes are cut off, both ways or one way. The clocks of the nodes go at different rates. Users
// send each other messages meanwhile. Rules 19, 20, 21 and 23 hold throughout. When all is healed the store has the nodes' sessions, and Online and Offline are told of their users alone; then
// all users come in, and leave. In some programs nodes go on without the store: then rule 19 holds among those that have not lost it, and
// when all is healed it holds again. In others the store does not fail: then Online and Offline alternate (rule 17).
func TestModel(t *testing.T) {
	runPrograms(t, 20/lighter, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { runProgram(t, seed, false) })
	})
}

// lighter is by how much fewer programs the models run than make full does, and how much shorter a day of faults is: an eighth with the race
// detector, with which they take eight times as long.
var lighter = 1

// runPrograms runs so many programs, or as many as the environment says.
func runPrograms(t *testing.T, seeds int, run func(t *testing.T, seed uint64)) {
	if n, err := strconv.Atoi(os.Getenv("CLUSTER_PROGRAMS")); err == nil { // make soak
		seeds = n
	}
	first, _ := strconv.Atoi(os.Getenv("CLUSTER_FIRST")) // to run a part of the programs
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			run(t, uint64(seed))
		})
	}
}

// program is one run of TestModel.
type program struct {
	*world
	mu   sync.Mutex
	rand *rand.Rand
	calm bool // the store is slow, and fails not
	bad  bool // calls of the store fail or are late, and frames are lost
	pace int  // a client waits for less than so many milliseconds between what it does
	sent int  // messages
	all  []usermgr.Session

	refused int // messages, where nodes go on without the store

	kicks   bool
	tokens  int             // that were shown
	revoked []usermgr.Logon // their tokens are refused on all nodes, unless a user has too many; in the order of the kicks
}

func (p *program) draw(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rand.IntN(n)
}

var errBad = errors.New("the store was not reached")

// pass is what happens to a call or an answer.
func (p *program) pass(ctx context.Context) error {
	p.mu.Lock()
	bad := p.bad
	p.mu.Unlock()
	time.Sleep(time.Duration(p.draw(1000)) * time.Microsecond)
	if p.calm {
		if bad && p.draw(20) == 0 {
			time.Sleep(time.Duration(p.draw(300)) * time.Millisecond)
		}
		return nil
	}
	if !bad {
		return ctx.Err()
	}
	switch p.draw(20) {
	case 0:
		return errBad
	case 1:
		time.Sleep(time.Duration(p.draw(300)) * time.Millisecond)
	}
	return nil
}

func (p *program) setBad(bad bool) {
	p.mu.Lock()
	p.bad = bad
	p.mu.Unlock()
	p.mesh.Lose(nil)
	if bad {
		p.mesh.Lose(func(cluster.Incarnation, []byte) bool { return p.draw(10) == 0 })
	}
}

// drawClock draws the rate of the clock of the next node: as far from that of others as Margin covers.
func (p *program) drawClock(r *rand.Rand) { p.rate = 0.96 + 0.08*r.Float64() }

func (p *program) heal(n *member) {
	before := func(ctx context.Context, _ string) error { return p.pass(ctx) }
	n.setFaults(memory.Faults{Before: before, After: before})
}

// TestModelWithMarks is TestModel with nodes that keep messages for the users, and kick them, and so write marks and bars into their records.
// When all is healed the users have the messages, and no mark is left. Where the store does not fail, tokens that a kick has revoked are
// refused on all nodes (rule 26).
func TestModelWithMarks(t *testing.T) {
	runPrograms(t, 12/lighter, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { runProgram(t, seed, true) })
	})
}

// drawUsers draws how the users of a program may log on: one in so many programs has IgnoreNew, and every second one a grace below a limit.
func drawUsers(r *rand.Rand, ignoreNew, graceMS int) usermgr.Config {
	policies := []usermgr.Devices{{}, usermgr.Devices{OnePerClass: true}, usermgr.Devices{MaxSessions: 2}}
	cfg := usermgr.Config{Devices: policies[r.IntN(len(policies))]}
	if r.IntN(ignoreNew) == 0 {
		cfg.RelogonMode = usermgr.IgnoreNew
	}
	if r.IntN(2) == 0 {
		cfg.OfflineGrace = time.Duration(1+r.IntN(graceMS)) * time.Millisecond
	}
	return cfg
}

func runProgram(t *testing.T, seed uint64, marks bool) {
	r := rand.New(rand.NewPCG(seed, 1))
	cfg := drawUsers(r, 4, 5000)
	p := &program{world: newWorld(t, 0, cfg), rand: r, calm: r.IntN(4) == 0}
	p.lost, p.kicks = cluster.StoreLost(r.IntN(2)), marks
	p.pace = []int{200, 1000, 1000, 1000, 5000, 5000, 5000, 5000}[r.IntN(8)] // fast clients meet, slow ones stay until a lease is over
	around, twoWays := memory.NewMesh(), r.IntN(2) == 0
	around.Lose(func(cluster.Incarnation, []byte) bool { return p.draw(20) == 0 })
	clocks := rand.New(rand.NewPCG(seed, 2))
	for range 2 + r.IntN(3) {
		if twoWays {
			p.way = cluster.WithDetour(p.mesh, around)
		}
		p.drawClock(clocks)
		p.addNode()
	}
	p.log.Notef("%d nodes with %+v, two ways: %v, calm: %v, StoreLost %v, a pace of %d ms", len(p.nodes), cfg, twoWays, p.calm, p.lost, p.pace)
	p.awaitNodes()
	for _, n := range p.nodes {
		p.heal(n)
	}
	p.setBad(true)

	var users sync.WaitGroup
	over := make(chan struct{})
	for i := range 12 {
		users.Go(func() { p.user(fmt.Sprint("user", i/3), over) }) // three clients a user
	}
	keep := keepers{world: p.world}
	if marks {
		for _, n := range p.nodes {
			k := newKeptHere(n)
			keep.all = append(keep.all, k)
			users.Go(func() { p.keep(k, over) })
		}
	}
	for range 4 {
		time.Sleep(time.Duration(p.draw(20)) * time.Second)
		p.fault()
	}
	time.Sleep(10 * time.Second)
	close(over)
	users.Wait()

	p.healAll()
	p.staysSettled()
	for i := range 4 {
		user := fmt.Sprint("user", i)
		if _, err := p.logOn(p.nodes[p.draw(len(p.nodes))], usermgr.Logon{UserID: user}); err != nil && codeOf(err) != protocol.AlreadyLoggedOn {
			t.Errorf("when all is healed %s is refused: %v\n%s", user, err, p.log)
		}
	}
	p.staysSettled()
	for i := range 4 {
		p.staysRevoked(fmt.Sprint("user", i))
	}
	p.eachCameOnce()
	most := max(cfg.Devices.MaxSessions, 1)
	if cfg.Devices.OnePerClass {
		most = 3
	}
	p.log.CheckNoRivals(t, most)
	if marks {
		time.Sleep(auditEvery) // it tells where no logon does
		p.settled()
		keep.allIsThere()
	}
	p.log.Notef("all users leave")
	for _, s := range p.all {
		s.End(protocol.ClientClosed)
	}
	p.staysSettled()
	if p.calm {
		p.log.CheckPresence(p.t)
	}
}

// healAll ends all faults, and waits until the nodes and the store are as without them.
func (p *program) healAll() {
	p.t.Helper()
	p.log.Notef("all is healed")
	p.setBad(false)
	for _, n := range p.nodes {
		p.heal(n)
	}
	p.await("all nodes are back, know which former nodes are dead, and know that the store has recovered", func() bool {
		alive := p.alive()
		return !slices.ContainsFunc(p.nodes, func(n *member) bool { return !n.IsHealed(alive) })
	})
}

// staysSettled waits until all is settled, and holds that it stays so when nothing more happens.
func (p *program) staysSettled() {
	p.t.Helper()
	p.settled()
	time.Sleep(p.cfg.OfflineGrace + 2*lease)
	if differs := p.differs(); differs != "" {
		p.t.Fatalf("it was settled, and is so no more: %s", differs)
	}
}

// logOn is world's, and notes the session.
func (p *program) logOn(n *member, l usermgr.Logon) (usermgr.Session, error) {
	s, err := p.world.logOn(n, l)
	if err == nil {
		p.mu.Lock()
		p.all = append(p.all, s)
		p.mu.Unlock()
	}
	return s, err
}

// keep keeps messages for the users, and drops some.
func (p *program) keep(k *keptHere, over <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(p.draw(2000)) * time.Millisecond):
		}
		user := fmt.Sprint("user", p.draw(4))
		if p.draw(5) == 0 {
			k.drop(user)
			continue
		}
		k.keep(user, fmt.Sprint(i), time.Duration(1+p.draw(48))*time.Hour)
	}
}

// user logs on and drops, at random nodes.
func (p *program) user(name string, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		default:
		}
		n := p.nodes[p.draw(len(p.nodes))]
		l := usermgr.Logon{UserID: name, Device: uint16(p.draw(3))}
		if p.kicks {
			l.Token = p.newToken()
		}
		s, err := p.logOn(n, l)
		time.Sleep(time.Duration(p.draw(p.pace)) * time.Millisecond)
		if err == nil {
			p.send(n)
		}
		if err == nil && p.kicks && p.draw(5) == 0 {
			p.kick(s, l)
		}
		if err == nil && (p.cfg.RelogonMode == usermgr.IgnoreNew || p.draw(2) == 0) {
			s.End([]protocol.CloseCode{protocol.ClientClosed, protocol.HeartbeatTimeout}[p.draw(2)])
		}
	}
}

func (p *program) newToken() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens++
	return fmt.Sprint("token", p.tokens)
}

// kick has a node kick a session, and revoke the token of its logon.
func (p *program) kick(s usermgr.Session, l usermgr.Logon) {
	ctx, cancel := context.WithTimeout(context.Background(), lease)
	defer cancel()
	n := p.nodes[p.draw(len(p.nodes))]
	r, err := n.KickSession(ctx, s.ID(), &usermgr.KickOptions{RevokeFor: 24 * time.Hour})
	if err != nil || len(r.Value) != 1 || !p.calm {
		return // elsewhere the store may lose it, and nodes that were not told may not know it
	}
	p.mu.Lock()
	p.revoked = append(p.revoked, l)
	p.mu.Unlock()
	p.staysOut(p.nodes[p.draw(len(p.nodes))], l)
}

// staysRevoked holds that the last tokens of a user that were revoked are refused on all nodes. Each kick leaves two bars.
func (p *program) staysRevoked(user string) {
	p.t.Helper()
	all := slices.DeleteFunc(slices.Clone(p.revoked), func(l usermgr.Logon) bool { return l.UserID != user })
	for _, l := range all[max(0, len(all)-cluster.MaxBars/4):] {
		for _, n := range p.nodes {
			p.staysOut(n, l)
		}
	}
}

// staysOut holds that a node does not let a client in whose token was revoked.
func (p *program) staysOut(n *member, l usermgr.Logon) {
	p.t.Helper()
	if _, err := p.logOn(n, l); err == nil {
		p.t.Errorf("rule 26: %s came in at %s with the revoked %s\n%s", l.UserID, n.name, l.Token, p.log)
	}
}

// send sends a message from a node to a user.
func (p *program) send(n *member) {
	p.mu.Lock()
	p.sent++
	body := fmt.Sprint(p.sent)
	p.mu.Unlock()
	if err := n.send(fmt.Sprint("user", p.draw(4)), body, func(error) {}); err != nil && p.lost == cluster.Open {
		p.mu.Lock()
		p.refused++ // without the store none goes to another node
		p.mu.Unlock()
	}
}

// eachCameOnce holds that no message came twice: to a user who has one session at a time, or to one node.
func (p *program) eachCameOnce() {
	p.t.Helper()
	came := make(map[string]int)
	for _, n := range p.nodes {
		for _, m := range n.sessions.take() {
			user, rest, _ := strings.Cut(m, "@")
			node, body, _ := strings.Cut(rest, ": ")
			if !p.nodes[0].Several() {
				node = ""
			}
			came[fmt.Sprint(user, node, " ", body)]++
		}
	}
	for m, times := range came {
		if times > 1 {
			p.t.Errorf("rule 23: the message %s came %d times", m, times)
		}
	}
	if taken := p.sent - p.refused; taken >= 100 && len(came) < taken/10 { // a program may have hardly a second in which all nodes have the store
		p.t.Errorf("rule 23: of %d messages only %d came, and %d were refused", p.sent, len(came), p.refused)
	}
}

// cut cuts a node off the store: both ways, or the store's answers alone.
func (p *program) cut(n *member) {
	if p.draw(3) == 0 {
		p.log.Notef("%s is cut off from the store's answers", n.name)
		n.cutAnswers()
		return
	}
	p.log.Notef("%s is cut off", n.name)
	n.cut()
}

// fault does something bad.
func (p *program) fault() {
	n := p.nodes[p.draw(len(p.nodes))]
	faults := 4
	if p.lost == cluster.Open {
		faults = 6
	}
	what := p.draw(faults)
	if p.calm {
		what = 3
	}
	switch what {
	case 0:
		p.log.Notef("the store restarts empty")
		p.store.Restart()
	case 1:
		p.log.Notef("a replica of the store gets nothing more")
		before := p.store.Snapshot()
		time.Sleep(time.Duration(p.draw(1000)) * time.Millisecond)
		p.log.Notef("the replica takes over")
		p.store.Promote(before)
	case 2: // for less than a lease, or more
		p.cut(n)
		alone := p.draw(2) == 0
		if alone {
			p.log.Notef("%s is cut off from the other nodes too", n.name)
			p.silence(n)
		}
		time.Sleep(time.Duration(p.draw(40_000)) * time.Millisecond)
		p.log.Notef("%s is cut off no more", n.name)
		if alone {
			p.setBad(true)
		}
		p.heal(n)
	case 3:
		p.log.Notef("frames to %s are lost", n.name)
		life := n.Incarnation()
		p.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == life })
		time.Sleep(time.Duration(p.draw(20_000)) * time.Millisecond)
		p.log.Notef("frames to %s are lost no more", n.name)
		p.setBad(true)
	default: // for all nodes, and they come back one after the other
		p.log.Notef("all nodes are cut off")
		for _, n := range p.nodes {
			n.cut()
		}
		time.Sleep(time.Duration(p.draw(60_000)) * time.Millisecond)
		if p.draw(2) == 0 {
			p.log.Notef("the store restarts empty")
			p.store.Restart()
		}
		for _, n := range p.nodes {
			time.Sleep(time.Duration(p.draw(2)*p.draw(20_000)) * time.Millisecond)
			p.log.Notef("%s is cut off no more", n.name)
			p.heal(n)
		}
	}
}
