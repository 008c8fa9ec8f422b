package redisdir_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/dirtest"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// All tests of the suite share a server; each has keys of its own.
func TestDirectory(t *testing.T) {
	s := startServer(t)
	c := s.client()
	n := 0
	dirtest.Run(t, func(t *testing.T) dirtest.Store {
		n++
		d := open(t, c, redisdir.Config{Prefix: fmt.Sprint("suite", n), Buckets: 1000})
		return dirtest.Store{Directory: d, Restart: func() {
			s.restart()
			for range 20 { // the client has several connections, and notices with a command that one has ended
				testkit.Eventually(t, "the client is connected again", func() bool {
					_, err := d.Renew(context.Background(), 1, cluster.Member{}, 0)
					return s.do(c, "PING") == nil && errors.Is(err, cluster.ErrUnknown)
				})
			}
		}}
	})
}

// What a server must have is looked at, and the error says what to do. A server of a Redis Cluster must keep its replicas, if they are
// waited for.
func TestAServerWithTheWrongSettingsIsRefused(t *testing.T) {
	_, bus, _ := net.SplitHostPort(testkit.FreeAddr(t))
	s := startServer(t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-allow-replica-migration", "no")
	c := s.client()
	replicated := redisdir.Config{WaitReplicas: 1, Logger: zap.NewNop()}
	for _, v := range []struct{ wrong, right, says string }{
		{"CONFIG SET save 3600:1", `CONFIG SET save ""`, `CONFIG SET save ""`},
		{"CONFIG SET appendonly yes", "CONFIG SET appendonly no", "CONFIG SET appendonly no"},
		{"CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory-policy noeviction"},
		{"CONFIG SET stop-writes-on-bgsave-error yes", "CONFIG SET stop-writes-on-bgsave-error no", "CONFIG SET stop-writes-on-bgsave-error no"},
		{"CONFIG SET cluster-allow-replica-migration yes", "CONFIG SET cluster-allow-replica-migration no", "CONFIG SET cluster-allow-replica-migration no"},
	} {
		if err := s.do(c, v.wrong); err != nil {
			t.Fatal(err)
		}
		_, err := redisdir.New(t.Context(), c, replicated)
		if err == nil || !strings.Contains(err.Error(), v.says) {
			t.Errorf("after %s the error is %v", v.wrong, err)
		}
		if err := s.do(c, v.right); err != nil {
			t.Fatal(err)
		}
	}
	open(t, c, replicated)
	if err := s.do(c, "CONFIG SET cluster-allow-replica-migration yes"); err != nil {
		t.Fatal(err)
	}
	open(t, c, redisdir.Config{})
	open(t, startServer(t).client(), replicated) // not of a Redis Cluster
}

// A server whose hashes take more memory than they have to is used, and the log says what to set.
func TestAServerThatTakesMoreMemoryThanItHasToIsToldOf(t *testing.T) {
	for setting, warnings := range map[string]int{"64": 1, "256": 0} {
		core, logged := observer.New(zap.WarnLevel)
		c := startServer(t, "--hash-max-listpack-value", setting).client()
		if _, err := redisdir.New(t.Context(), c, redisdir.Config{Logger: zap.New(core)}); err != nil {
			t.Fatal(err)
		}
		if got := logged.FilterMessageSnippet("have hash-max-listpack-value 256").Len(); got != warnings {
			t.Errorf("with hash-max-listpack-value %s there are %d warnings", setting, got)
		}
	}
}

// A number that makes no sense is refused by an error that names it, or it works.
func TestEveryNumberOfADirectoryIsRefusedByNameOrWorks(t *testing.T) {
	s := startServer(t)
	for _, n := range []int{-1, 1, math.MinInt, math.MaxInt} {
		for name, cfg := range map[string]redisdir.Config{
			"Buckets": {Buckets: n}, "WaitReplicas": {WaitReplicas: n}, "WaitFor": {WaitReplicas: 1, WaitFor: time.Duration(n)},
		} {
			cfg.Prefix, cfg.Logger = fmt.Sprint(name, n), zap.NewNop()
			d, err := redisdir.New(t.Context(), s.client(), cfg)
			if err != nil {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%s %d: the error is %v", name, n, err)
				}
				continue
			}
			me := join(t, d)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // no replica comes
			if _, err := d.Renew(ctx, me, cluster.Member{}, 0); err != nil && cfg.WaitReplicas <= 0 {
				t.Errorf("%s %d: a renewal was answered with %v", name, n, err)
			}
			cancel()
			if count, err := d.Count(t.Context()); count != 0 || err != nil {
				t.Errorf("%s %d: the count is %d, %v", name, n, count, err)
			}
		}
		m := redisdir.NewMesh(s.client(), redisdir.MeshConfig{Queue: n, QueueBytes: n})
		if err := m.Send(1, []byte("a frame")); err != nil {
			t.Errorf("with Queue %d a frame was refused: %v", n, err)
		}
		m.Close()
	}
}

// A library of the same name that is another is not replaced, and not used.
func TestAnotherLibraryOfTheSameNameIsRefused(t *testing.T) {
	s := startServer(t)
	c := s.client()
	other := "#!lua name=rollcall1\nredis.register_function('f', function() return 1 end)"
	if err := c.Do(t.Context(), c.B().FunctionLoad().FunctionCode(other).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	_, err := redisdir.New(t.Context(), c, redisdir.Config{Logger: zap.NewNop()})
	if err == nil || !strings.Contains(err.Error(), "FUNCTION DELETE rollcall1") {
		t.Errorf("the error is %v", err)
	}
}

// Rule 19: a node that starts leaves the library alone where it is loaded: the server would forget its epoch with it, and recover.
func TestANodeThatStartsDoesNotHaveTheServerRecover(t *testing.T) {
	s := startServer(t)
	a := open(t, s.client(), redisdir.Config{})
	join(t, a)
	before := testkit.Must(a.Table(t.Context()))
	open(t, s.client(), redisdir.Config{})
	if v := testkit.Must(a.Table(t.Context())); !before.Armed || !v.Armed || v.Epoch != before.Epoch {
		t.Errorf("the table was %+v, and is %+v", before, v)
	}
	testkit.Must(a.Swap(t.Context(), "ann", 0, []byte("1"), cluster.SwapOptions{Epoch: before.Epoch}))
}

// A node of a later version may say more of itself: what this version does not know is skipped.
func TestARowOfALaterVersionIsRead(t *testing.T) {
	s := startServer(t)
	c := s.client()
	d := open(t, c, redisdir.Config{})
	me := join(t, d)
	later := fmt.Sprint(me + 1)
	row := `A3` + "\n" + `{"Name":"later","Policy":"p","Knows":7,"Zone":{"rack":[1,2]}}`
	if err := c.Do(t.Context(), c.B().Hset().Key("{rollcall}:nodes").FieldValue().FieldValue(later, row).FieldValue("later", "x").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	v, err := d.Renew(t.Context(), me, cluster.Member{}, 0)
	if err != nil || len(v.Members) != 2 || v.Members[1].Renewals != 3 || v.Members[1].Dead || v.Members[1].Member != (cluster.Member{Name: "later", Policy: "p", Knows: 7}) {
		t.Errorf("the table is %+v, %v", v, err)
	}
}

// A node with another number of buckets does not join.
func TestTheNumberOfBucketsIsFixed(t *testing.T) {
	s := startServer(t)
	c := s.client()
	a, b := open(t, c, redisdir.Config{Buckets: 10}), open(t, c, redisdir.Config{Buckets: 20})
	join(t, a)
	_, err := b.Join(t.Context(), cluster.Member{}, cluster.JoinOptions{})
	if err == nil || !strings.Contains(err.Error(), "10 buckets") {
		t.Errorf("the error is %v", err)
	}
}

// While the server recovers, nodes that come back fix the number of buckets, not a newcomer: their sessions are in the buckets that they
// know.
func TestANewcomerDoesNotFixTheNumberOfBuckets(t *testing.T) {
	s := startServer(t)
	c := s.client()
	a, b := open(t, c, redisdir.Config{Buckets: 10}), open(t, c, redisdir.Config{Buckets: 20})
	me := join(t, a)
	if err := s.do(c, "FUNCTION DELETE rollcall1"); err != nil { // as in a restart, it knows nothing any more
		t.Fatal(err)
	}
	if err := s.do(c, "FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Join(t.Context(), cluster.Member{}, cluster.JoinOptions{}); !errors.Is(err, cluster.ErrRecovering) {
		t.Errorf("a newcomer was answered with %v", err)
	}
	if err := a.Rejoin(t.Context(), me, cluster.Member{}, cluster.RejoinOptions{}); err != nil {
		t.Fatal(err)
	}
	epoch := testkit.Must(a.Table(t.Context())).Epoch
	if armed, err := a.Ready(t.Context(), me, cluster.ReadyOptions{Epoch: epoch, Settled: true}); !armed || err != nil {
		t.Fatalf("has the server recovered: %v, %v", armed, err)
	}
	_, err := b.Join(t.Context(), cluster.Member{}, cluster.JoinOptions{})
	if err == nil || !strings.Contains(err.Error(), "10 buckets") {
		t.Errorf("the error is %v", err)
	}
}

// join joins, as the first node where the store recovers.
func join(t testing.TB, d *redisdir.Directory) cluster.Incarnation {
	t.Helper()
	v, err := d.Table(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var o cluster.JoinOptions
	if !v.Armed {
		o.Bootstrap = v.Stamp
	}
	return testkit.Must(d.Join(context.Background(), cluster.Member{}, o))
}

// Without memory nothing is claimed; nodes renew and leave, and claims are given back.
func TestAServerWithoutMemoryKeepsItsNodes(t *testing.T) {
	s := startServer(t)
	c := s.client()
	d := open(t, c, redisdir.Config{})
	me := join(t, d)
	v := testkit.Must(d.Renew(t.Context(), me, cluster.Member{}, 0))
	o := cluster.SwapOptions{Epoch: v.Epoch}
	version := testkit.Must(d.Swap(t.Context(), "ann", 0, []byte("1"), o))
	two := testkit.Must(d.Swap(t.Context(), "two", 0, []byte("12"), o))
	if err := s.do(c, "CONFIG SET maxmemory 100kb"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Swap(t.Context(), "bob", 0, []byte("1"), o); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("a claim was answered with %v", err)
	}
	if _, err := d.Swap(t.Context(), "two", two, []byte("34"), o); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("a claim in the place of another was answered with %v", err)
	}
	var conflict *cluster.Conflict
	if _, err := d.Swap(t.Context(), "two", 0, []byte("12"), o); !errors.As(err, &conflict) || conflict.Version != two {
		t.Errorf("a claim over another was answered with %v", err)
	}
	if _, err := d.Swap(t.Context(), "two", two, []byte("1"), o); err != nil {
		t.Errorf("the release of one of two sessions was answered with %v", err)
	}
	again := cluster.SwapOptions{Epoch: v.Epoch, Recovering: true}
	if _, err := d.Swap(t.Context(), "eve", 0, []byte("1"), again); err != nil {
		t.Errorf("a session that is written again was answered with %v", err)
	}
	if _, err := d.Renew(t.Context(), me, cluster.Member{}, 0); err != nil {
		t.Errorf("a renewal was answered with %v", err)
	}
	if err := d.Remove(t.Context(), "ann", version, o); err != nil {
		t.Errorf("a release was answered with %v", err)
	}
	other := join(t, d)
	if err := d.Leave(t.Context(), other); err != nil {
		t.Errorf("a node could not leave: %v", err)
	}
}

// A renewal counts when a replica has it. A replica that takes over has another epoch, and recovers; so has a primary that was a replica
// in between, although its process is the same.
func TestARenewalCountsWhenAReplicaHasIt(t *testing.T) {
	primary := startServer(t)
	pc := primary.client()
	if err := primary.do(pc, "CONFIG SET repl-diskless-sync-delay 0"); err != nil {
		t.Fatal(err)
	}
	d := open(t, pc, redisdir.Config{WaitReplicas: 1})
	me := join(t, d)
	if _, err := d.Renew(t.Context(), me, cluster.Member{}, 0); !errors.Is(err, cluster.ErrNotDurable) {
		t.Errorf("without a replica a renewal was answered with %v", err)
	}
	replica := startServer(t)
	rc := replica.client()
	replica.follow(rc, primary)
	testkit.Eventually(t, "a renewal counts", func() bool {
		_, err := d.Renew(t.Context(), me, cluster.Member{}, 0)
		return err == nil
	})
	me = join(t, d) // the first replica changes the server's replication ID, so that it recovers
	var before cluster.View
	testkit.Eventually(t, "a renewal counts again", func() bool {
		v, err := d.Renew(t.Context(), me, cluster.Member{}, 0)
		before = v
		return err == nil
	})
	body := []byte("1")
	testkit.Must(d.Swap(t.Context(), "ann", 0, body, cluster.SwapOptions{Epoch: before.Epoch}))

	testkit.Eventually(t, "the replica has the record", func() bool {
		return testkit.Must(rc.Do(t.Context(), rc.B().Dbsize().Build()).AsInt64()) == 2
	})
	if err := replica.do(rc, "REPLICAOF NO ONE"); err != nil {
		t.Fatal(err)
	}
	promoted := open(t, rc, redisdir.Config{WaitReplicas: 1})
	if _, err := promoted.Swap(t.Context(), "ann", 0, body, cluster.SwapOptions{Epoch: before.Epoch}); !errors.Is(err, cluster.ErrRecovering) {
		t.Errorf("a replica that has taken over answered a claim with %v", err)
	}
	v := testkit.Must(promoted.Table(t.Context()))
	if v.Armed || v.Epoch == before.Epoch || len(v.Members) != 2 { // the first life, and the second
		t.Errorf("a replica that has taken over has the table %+v", v)
	}

	// The old primary follows the promoted one, and takes over again. It asks for its replication ID at each swap.
	primary.follow(pc, replica)
	if err := primary.do(pc, "REPLICAOF NO ONE"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Swap(t.Context(), "bob", 0, body, cluster.SwapOptions{Epoch: before.Epoch}); !errors.Is(err, cluster.ErrRecovering) {
		t.Errorf("the old primary has taken over again, and answered a claim with %v", err)
	}
	again := testkit.Must(d.Table(t.Context()))
	if again.Armed || again.Epoch == before.Epoch || again.Epoch == v.Epoch {
		t.Errorf("the old primary has taken over again, and has the table %+v", again)
	}
}

// Rule 21: how many replicas must have a renewal is configured. Those that are there do not count: a backup is a replica for a while, and
// all nodes would be fenced when it is over.
func TestAReplicaThatIsNotConfiguredIsNotWaitedFor(t *testing.T) {
	primary := startServer(t)
	pc := primary.client()
	if err := primary.do(pc, "CONFIG SET repl-diskless-sync-delay 0"); err != nil {
		t.Fatal(err)
	}
	d := open(t, pc, redisdir.Config{})
	me := join(t, d)
	counts := func(when string) {
		t.Helper()
		if _, err := d.Renew(t.Context(), me, cluster.Member{}, 0); err != nil {
			t.Errorf("%s a renewal was answered with %v", when, err)
		}
	}
	counts("before the backup")
	replica := startServer(t)
	replica.follow(replica.client(), primary)
	counts("during the backup")
	replica.kill()
	testkit.Eventually(t, "the primary has no replica", func() bool {
		info := testkit.Must(pc.Do(t.Context(), pc.B().Info().Section("replication").Build()).ToString())
		return strings.Contains(info, "connected_slaves:0")
	})
	counts("after the backup")
}

// A frame reaches the incarnation that it is for, in order.
func TestMeshDeliversInOrder(t *testing.T) {
	s := startServer(t)
	a, b := redisdir.NewMesh(s.client(), redisdir.MeshConfig{}), redisdir.NewMesh(s.client(), redisdir.MeshConfig{})
	defer a.Close()
	defer b.Close()
	got := make(chan string, 2000)
	stop, err := b.Open(7, func(frame []byte) { got <- string(frame) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	const frames = 1000
	for i := range frames {
		if err := a.Send(7, fmt.Appendf(nil, "%d\x00", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range frames {
		if frame := testkit.Receive(t, "a frame", got); frame != fmt.Sprintf("%d\x00", i) {
			t.Fatalf("frame %d is %q", i, frame)
		}
	}
	s.restart()
	testkit.Eventually(t, "a frame comes after the server was restarted", func() bool {
		_ = a.Send(7, []byte("again"))
		select {
		case frame := <-got:
			return frame == "again"
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
}

// A value that another program has written is told as a record that no node can read, and can be written over and removed; the records beside
// it are told, and versions go on from where they were.
func TestAValueOfAnotherProgramIsARecord(t *testing.T) {
	s := startServer(t)
	c := s.client()
	d := open(t, c, redisdir.Config{Buckets: 1})
	me := join(t, d)
	v := testkit.Must(d.Renew(t.Context(), me, cluster.Member{}, 0))
	o := cluster.SwapOptions{Epoch: v.Epoch}
	before := testkit.Must(d.Swap(t.Context(), "ann", 0, []byte("1"), o))
	for _, raw := range []string{`""`, "short", "a-text-that-is-long-enough-to-have-a-version"} {
		for _, user := range []string{"bob", "eve"} {
			if err := s.do(c, "HSET {rollcall}:u:0 "+user+" "+raw); err != nil {
				t.Fatal(err)
			}
		}
		records := testkit.Must(d.Look(t.Context(), "ann", "bob"))
		if r := records[1]; string(records[0].Body) != "1" || r.Version != 1 || string(r.Body) != "\x00" {
			t.Errorf("with %q the records are %+v", raw, records)
		}
		if l := testkit.Must(d.Walk(t.Context(), "", 10)); len(l.Records) != 3 {
			t.Errorf("with %q all records are %+v", raw, l.Records)
		}
		var conflict *cluster.Conflict
		if _, err := d.Swap(t.Context(), "bob", 0, []byte("2"), o); !errors.As(err, &conflict) || conflict.Version != 1 || string(conflict.Body) != "\x00" {
			t.Errorf("with %q a claim was answered with %v", raw, err)
		}
		if now, err := d.Swap(t.Context(), "bob", 1, []byte("2"), o); err != nil || now <= before || now > before+3600e6 {
			t.Errorf("with %q writing over it was answered with %d after %d, %v", raw, now, before, err)
		}
		if err := d.Remove(t.Context(), "eve", 1, o); err != nil {
			t.Errorf("with %q removing it was answered with %v", raw, err)
		}
	}
}
