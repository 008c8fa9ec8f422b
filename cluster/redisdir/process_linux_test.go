package redisdir_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func init() { jobs["node"] = runNode }

// job says what a node in a process of its own does.
type job struct {
	Name    string
	Redis   []string
	Lease   time.Duration
	NoGuard bool   // the engine does not look at the lease
	Listen  string // for clients; empty for a port of 127.0.0.1
	Mesh    string // for other nodes; empty for the mesh over the server
	Space   string // the network namespace; empty for the test's
}

// happening is a line that such a process prints. At is by clock.SinceBoot, which all processes of a machine have in common.
type happening struct {
	What string
	At   time.Duration
	User string `json:",omitempty"`
	Why  string `json:",omitempty"`
}

// runNode is a node until its standard input ends, or a signal ends it.
func runNode(arg []byte) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var j job
	err := json.Unmarshal(arg, &j)
	if err == nil {
		err = j.run()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (j *job) run() error {
	out := json.NewEncoder(os.Stdout)
	var mu sync.Mutex
	tellAt := func(at time.Duration, what, user, why string) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(happening{what, at, user, why})
	}
	tell := func(what, user, why string) { tellAt(clock.SinceBoot(), what, user, why) }
	ctx := context.Background()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: j.Redis, ForceSingleClient: true, DisableCache: true, PipelineMultiplex: -1})
	if err != nil {
		return err
	}
	store, err := redisdir.New(ctx, c, redisdir.Config{Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	ways := cluster.Mesh(redisdir.NewMesh(c, redisdir.MeshConfig{Logger: zap.NewNop()}))
	if j.Mesh != "" {
		direct, err := mesh.New(mesh.Config{Listen: j.Mesh, Secret: []byte("a secret of the test's"), Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		ways = cluster.WithDetour(direct, ways)
	}
	dir := renewing{store, func(at time.Duration) { tellAt(at, "renewed", "", "") }}
	node, err := cluster.New(cluster.Config{Directory: dir, Mesh: ways, Name: j.Name, Lease: j.Lease, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	srv, err := rollcall.New(rollcall.Config{
		Addr: cmp.Or(j.Listen, "127.0.0.1:0"), Engine: engine.Config{Loops: 1}, Users: usermgr.Config{Claims: node, HeartbeatTimeout: -1}, Logger: zap.NewNop(),
	})
	if err != nil {
		return err
	}
	if j.NoGuard {
		seam.EngineOf(srv.Engine).(seam.Lessee).SetLease(nil)
	}
	srv.Users.Subscribe(usermgr.Events{
		Connected:    func(s usermgr.SessionInfo) { tell("connected", s.UserID, "") },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) { tell("disconnected", s.UserID, fmt.Sprint(why)) },
	})
	srv.Handle(1, func(_ *engine.Conn, m *protocol.Message) error {
		tell("handled", m.UserID, "")
		return nil
	})
	if err := srv.Listen(); err != nil {
		return err
	}
	go func() {
		if err := node.Joined(ctx); err == nil {
			tell("listening", "", srv.Addrs()[0].String())
		}
	}()
	go func() {
		if err := node.Run(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
	return srv.Run(ctx)
}

// renewing tells when the last renewal that the node knows of was asked for.
type renewing struct {
	*redisdir.Directory
	tell func(at time.Duration)
}

func (r renewing) Renew(ctx context.Context, me cluster.Incarnation, m cluster.Member, floor cluster.Version) (cluster.View, error) {
	at := clock.SinceBoot()
	v, err := r.Directory.Renew(ctx, me, m, floor)
	if err == nil {
		r.tell(at)
	}
	return v, err
}

// process is a node in a process of its own.
type process struct {
	job
	*child
	addr string

	mu  sync.Mutex
	all []happening
}

func startProcess(t testing.TB, j job) *process {
	t.Helper()
	var before []string
	if j.Space != "" {
		before = []string{"ip", "netns", "exec", j.Space}
	}
	p := &process{job: j, child: startChild(t, "node", j, before...)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(p.out); s.Scan(); {
			var h happening
			if json.Unmarshal(s.Bytes(), &h) == nil {
				p.mu.Lock()
				p.all = append(p.all, h)
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		p.kill()
		<-ended
	})
	testkit.Eventually(t, j.Name+" is in the cluster", func() bool {
		all := p.find("listening", "")
		if len(all) > 0 {
			p.addr = all[0].Why
		}
		return len(all) > 0
	})
	return p
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// stop has the process stand still. It returns when all threads do: on a machine with much to do some go on for a while.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.signal(syscall.SIGSTOP)
	testkit.Eventually(t, "the process stands still", func() bool {
		tasks := testkit.Must(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid)))
		return len(tasks) > 0 && !slices.ContainsFunc(tasks, func(task string) bool {
			stat, err := os.ReadFile(task)
			_, state, _ := strings.Cut(string(stat), ") ") // behind the name
			return err == nil && !strings.HasPrefix(state, "T")
		})
	})
}

// find returns what has happened to a user; "" is every user.
func (p *process) find(what, user string) (all []happening) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.all {
		if h.What == what && (user == "" || h.User == user) {
			all = append(all, h)
		}
	}
	return all
}

// dial logs a user on who does not come back.
func (p *process) dial(t testing.TB, user string) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	c, err := client.Dial(ctx, p.addr, client.Config{UserID: user, Reconnect: client.Reconnect{Max: -1}})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// letIn has a user come again until the node lets the user in.
func (p *process) letIn(t testing.TB, user string) {
	t.Helper()
	testkit.EventuallyIn(t, time.Minute, user+" comes in at "+p.Name, func() bool {
		_, err := p.dial(t, user)
		return err == nil
	})
	testkit.Eventually(t, user+"'s logon is told", func() bool { return len(p.find("connected", user)) > 0 })
}

// chatter has each of the clients send a message 25 times a second until it ends.
func chatter(t testing.TB, clients []*client.Client) {
	ctx, end := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	for _, c := range clients {
		sending.Go(func() {
			for tick := time.NewTicker(40 * time.Millisecond); ; {
				select {
				case <-tick.C:
					_ = c.Send(1, nil)
				case <-ctx.Done():
					tick.Stop()
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		end()
		sending.Wait()
	})
}

const (
	processLease = 2 * time.Second
	talkers      = 60
)

// lateAfterAStop stops one of two nodes for longer than its lease while its users talk, and lets the users in at the other. It returns
// the messages of each user that the stopped node has handled after that.
func lateAfterAStop(t *testing.T, noGuard bool) (late map[string]int) {
	server := startServer(t)
	a := startProcess(t, job{Name: "a", Redis: []string{server.addr}, Lease: processLease, NoGuard: noGuard})
	b := startProcess(t, job{Name: "b", Redis: []string{server.addr}, Lease: processLease})
	var users []string
	var clients []*client.Client
	for i := range talkers {
		users = append(users, fmt.Sprint("user", i))
		clients = append(clients, testkit.Must(a.dial(t, users[i])))
	}
	chatter(t, clients)
	for _, user := range users {
		testkit.Eventually(t, "all talk", func() bool { return len(a.find("handled", user)) > 10 })
	}

	a.stop(t)
	stopped := time.Now()
	for _, user := range users {
		b.letIn(t, user)
	}
	t.Logf("all users were in at the other node %v after the stop, with a lease of %v", time.Since(stopped).Round(time.Millisecond), processLease)
	a.signal(syscall.SIGCONT)
	for _, user := range users {
		testkit.Eventually(t, user+"'s session at the stopped node ends", func() bool {
			return len(a.find("disconnected", user)) > 0
		})
		if why := a.find("disconnected", user)[0].Why; why != fmt.Sprint(protocol.NodeLost) {
			t.Errorf("%s's session at the stopped node ended with %s", user, why)
		}
	}
	return handledLate(users, a, b)
}

// handledLate returns how many messages of each user a has handled after the user's session at b had begun.
func handledLate(users []string, a, b *process) (late map[string]int) {
	late = make(map[string]int)
	for _, user := range users {
		connected := b.find("connected", user)[0].At
		for _, h := range a.find("handled", user) {
			if h.At >= connected {
				late[user]++
			}
		}
	}
	return late
}

// handledAfterLease returns how many messages of each user the node has handled since its last lease is over.
func (p *process) handledAfterLease() (late map[string]int) {
	renewed := p.find("renewed", "")
	over := renewed[len(renewed)-1].At + processLease
	late = make(map[string]int)
	for _, h := range p.find("handled", "") {
		if h.At >= over {
			late[h.User]++
		}
	}
	return late
}

// Rules 19 and 21: a node whose process stood still for longer than its lease handles no message that has piled up meanwhile: its users
// are at another node. A read that was under way may be finished, which brings messages of one connection.
func TestAProcessThatStoodStillHandlesNothingAfterItsLease(t *testing.T) {
	t.Parallel()
	if late := lateAfterAStop(t, false); len(late) > 1 {
		t.Errorf("the stopped node handled messages of users who were at another node: %v", late)
	}
}

// Without the engine's look at the lease the test above would find late messages: this one does.
func TestWithoutTheGuardAProcessThatStoodStillHandlesMessagesAfterItsLease(t *testing.T) {
	for try := 0; try < 20 && !t.Failed(); try++ {
		var late map[string]int
		t.Run(fmt.Sprint("try ", try), func(t *testing.T) { late = lateAfterAStop(t, true) })
		if len(late) > 1 {
			t.Logf("messages of %d users were handled late", len(late))
			return
		}
	}
	t.Error("no message was handled late: the test of the guard shows nothing")
}

// Rule 19: the users of a node that was killed come in elsewhere when its lease is over, and not before.
func TestUsersOfAKilledProcessComeInElsewhere(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	a := startProcess(t, job{Name: "a", Redis: []string{server.addr}, Lease: processLease})
	b := startProcess(t, job{Name: "b", Redis: []string{server.addr}, Lease: processLease})
	var users []string
	for i := range talkers {
		users = append(users, fmt.Sprint("user", i))
		testkit.Must(a.dial(t, users[i]))
	}
	a.signal(syscall.SIGKILL)
	killed := clock.SinceBoot()
	for _, user := range users {
		b.letIn(t, user)
	}
	all, renewed := b.find("connected", ""), a.find("renewed", "")
	if took := all[0].At - renewed[len(renewed)-1].At; took < processLease {
		t.Errorf("the first user was in %v after the last renewal of the node that was killed", took)
	}
	t.Logf("%d users were in between %v and %v after the kill, with a lease of %v and a renewal each %v", len(users),
		(all[0].At - killed).Round(time.Millisecond), (all[len(all)-1].At - killed).Round(time.Millisecond), processLease, processLease/5)
}
