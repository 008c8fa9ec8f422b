//go:build linux

package nodes

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bench/internal/histogram"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// RelayFigures are what was found of requests from user to user. Direct and Redis are the ways between two nodes.
type RelayFigures struct{ OneNode, Direct, Redis RelayFigure }

// RelayFigure is a request from user to user, and its answer.
type RelayFigure struct {
	There Spread  // one at a time
	PerS  float64 // underWay at a time
}

// underWay is how many requests RelayFigure.PerS has under way.
const underWay = 64

// MeasureRelay measures requests from user to user: engines, bridges and clients, all in this process.
func MeasureRelay(s Settings) (f RelayFigures, err error) {
	overRedis := func(name string) (cluster.Mesh, func(), error) {
		c, err := dial(s.Redis)
		if err != nil {
			return nil, nil, err
		}
		m := redisdir.NewMesh(c, redisdir.MeshConfig{Prefix: name, Logger: zap.NewNop()})
		return m, func() { m.Close(); c.Close() }, nil
	}
	direct := func(string) (cluster.Mesh, func(), error) {
		m, err := mesh.New(mesh.Config{Listen: "127.0.0.1:0", Secret: []byte("a secret of the benchmark"), Logger: zap.NewNop()})
		if err != nil {
			return nil, nil, err
		}
		return m, m.Close, nil
	}
	if f.OneNode, err = relay(s, "one", 1, overRedis); err == nil {
		f.Direct, err = relay(s, "direct", 2, direct)
	}
	if err == nil {
		f.Redis, err = relay(s, "redis", 2, overRedis)
	}
	return f, err
}

// relay measures with ann at the first node, and bob at the last.
func relay(s Settings, name string, nodes int, makeMesh func(name string) (cluster.Mesh, func(), error)) (f RelayFigure, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var addrs []string
	for i := range nodes {
		addr, err := serve(ctx, s, name, fmt.Sprintf("%s-%d", name, i), makeMesh, &running)
		if err != nil {
			return f, err
		}
		addrs = append(addrs, addr)
	}
	bob, err := client.Dial(ctx, addrs[nodes-1], client.Config{UserID: "bob", Handle: map[uint16]client.Handler{
		1: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, m.Body) },
	}})
	if err != nil {
		return f, err
	}
	defer bob.Close()
	ann, err := client.Dial(ctx, addrs[0], client.Config{UserID: "ann"})
	if err != nil {
		return f, err
	}
	defer ann.Close()
	body := make([]byte, FrameSize)
	ask := func() error {
		_, err := ann.RequestTo(ctx, "bob", 1, body)
		return err
	}
	h := new(histogram.Histogram)
	for end := time.Now().Add(s.For); time.Now().Before(end); {
		began := time.Now()
		if err := ask(); err != nil {
			return f, err
		}
		h.Record(time.Since(began))
	}
	f.There = spread(h)
	var asked atomic.Int64
	began := time.Now()
	end := began.Add(s.For)
	err = parallel(underWay, func(int) error {
		for time.Now().Before(end) {
			if err := ask(); err != nil {
				return err
			}
			asked.Add(1)
		}
		return nil
	})
	f.PerS = float64(asked.Load()) / time.Since(began).Seconds()
	return f, err
}

// serve starts a node with an engine, and returns where it listens.
func serve(ctx context.Context, s Settings, prefix, name string, makeMesh func(name string) (cluster.Mesh, func(), error), running *sync.WaitGroup) (addr string, err error) {
	c, err := dial(s.Redis)
	if err != nil {
		return "", err
	}
	store, err := redisdir.New(ctx, c, redisdir.Config{Prefix: prefix, Logger: zap.NewNop()})
	if err != nil {
		return "", err
	}
	m, closeMesh, err := makeMesh(prefix)
	if err != nil {
		return "", err
	}
	n, err := cluster.New(cluster.Config{Directory: store, Mesh: m, Name: name, Lease: 4 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return "", err
	}
	users, err := usermgr.New(usermgr.Config{Claims: n})
	if err != nil {
		return "", err
	}
	e, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}, Logger: zap.NewNop()})
	if err != nil {
		return "", err
	}
	if _, err := bridge.Attach(e, users, nil, bridge.Config{Elsewhere: n, Relay: &bridge.Relay{}, Logger: zap.NewNop()}); err != nil {
		return "", err
	}
	if err := e.Listen(); err != nil {
		return "", err
	}
	running.Go(func() {
		_ = n.Run(ctx)
		closeMesh()
		c.Close()
	})
	running.Go(func() { _ = e.Run(ctx) })
	return e.Addrs()[0].String(), n.Joined(ctx)
}
