//go:build linux

package nodes

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// node is one node of the cluster, with a client of its own.
type node struct {
	users *usermgr.Manager
	*cluster.Node
}

type world struct {
	nodes []node
	redis rueidis.Client
	conns atomic.Uint64
	ctx   context.Context
}

func dial(addr string) (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
}

func (w *world) start(s Settings, name string, running *sync.WaitGroup) (n node, err error) {
	client, err := dial(s.Redis)
	if err != nil {
		return n, err
	}
	store, err := redisdir.New(w.ctx, client, redisdir.Config{Logger: zap.NewNop()})
	if err != nil {
		return n, err
	}
	mesh := redisdir.NewMesh(client, redisdir.MeshConfig{Logger: zap.NewNop()})
	if n.Node, err = cluster.New(cluster.Config{Directory: store, Mesh: mesh, Name: name, Logger: zap.NewNop()}); err != nil {
		return n, err
	}
	if n.users, err = usermgr.New(usermgr.Config{Claims: n.Node, HeartbeatTimeout: -1, Devices: usermgr.Devices{OnePerClass: s.Sessions > 1}}); err != nil {
		return n, err
	}
	running.Go(func() {
		_ = n.Run(w.ctx)
		mesh.Close()
		client.Close()
	})
	return n, nil
}

// link is a connection that does nothing.
type link struct{ conn uint64 }

func (l link) Address() usermgr.Address {
	return usermgr.Address{Conn: l.conn, Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1), Via: "tcp"}
}
func (l link) Quiesce(done func()) { done() }
func (l link) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

func (w *world) logOn(m *usermgr.Manager, user string) (usermgr.Session, error) {
	return w.logOnAs(m, usermgr.Logon{UserID: user})
}

func (w *world) logOnAs(m *usermgr.Manager, logon usermgr.Logon) (usermgr.Session, error) {
	l := link{w.conns.Add(1)}
	logon.Address = l.Address()
	return m.Register(w.ctx, logon, l)
}

func userID(i int) string { return fmt.Sprintf("user%09d", i) }

// calls returns how often a command was called at the server, functions' own calls not included.
func (w *world) calls(command string) (n float64, err error) {
	info, err := w.redis.Do(w.ctx, w.redis.B().Info().Section("commandstats").Build()).ToString()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			_, err = fmt.Sscanf(rest, "%f", &n)
		}
	}
	return n, err
}

// info returns a number of the server's INFO.
func (w *world) info(section, name string) (v float64, err error) {
	info, err := w.redis.Do(w.ctx, w.redis.B().Info().Section(section).Build()).ToString()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			_, err = fmt.Sscanf(rest, "%f", &v)
			return v, err
		}
	}
	return 0, fmt.Errorf("the server's INFO has no %s", name)
}

// cpu returns the server's processor time so far, in seconds.
func (w *world) cpu() (float64, error) {
	user, err := w.info("cpu", "used_cpu_user")
	if err != nil {
		return 0, err
	}
	sys, err := w.info("cpu", "used_cpu_sys")
	return user + sys, err
}

// during returns how many calls of the store's functions were made while do ran. Renewals are among them, too few to matter where
// there are many others.
func (w *world) during(do func() error) (float64, error) {
	before, err := w.calls("fcall")
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := w.calls("fcall")
	return after - before, err
}

// clear ends all sessions of a node, and waits until the store has none.
func (w *world) clear(nodes ...node) error {
	for _, n := range nodes {
		if _, err := n.users.Clear(w.ctx); err != nil {
			return err
		}
	}
	return w.await(func() (bool, error) {
		for _, n := range nodes {
			if n.users.Count() > 0 {
				return false, nil
			}
		}
		keys, err := w.redis.Do(w.ctx, w.redis.B().Dbsize().Build()).AsInt64()
		return keys <= 2, err // the table of nodes, and what goes with it
	})
}

func (w *world) await(done func() (bool, error)) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("what was waited for did not come within a minute")
		}
	}
}

// parallel runs do n times at a time, and returns the first error.
func parallel(n int, do func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- do(i) }()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// taken returns what a user takes of the server's memory, once all have logged on.
func (w *world) taken(users int, logOn func() error) (bytes float64, err error) {
	before, err := w.info("memory", "used_memory")
	if err != nil {
		return 0, err
	}
	if err := logOn(); err != nil {
		return 0, err
	}
	after, err := w.info("memory", "used_memory")
	return (after - before) / float64(users), err
}

// fill has users log on, each at the manager that is the one of its number, and returns what a user takes of the heap.
func (w *world) fill(users int, of func(i int) *usermgr.Manager) (bytes float64, err error) {
	before := process.Heap()
	err = parallel(64, func(g int) error {
		for i := g; i < users; i += 64 {
			if _, err := w.logOn(of(i), userID(i)); err != nil {
				return err
			}
		}
		return nil
	})
	return (process.Heap() - before) / float64(users), err
}
