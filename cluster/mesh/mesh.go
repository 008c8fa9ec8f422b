// Package mesh carries the frames of a cluster's nodes directly from node to node, over TCP. The other way is the mesh of package
// cluster/redisdir, over the store's server, which needs no listener and carries far less.
//
//	direct, err := mesh.New(mesh.Config{Listen: "10.0.0.7:9100", Secret: secret})
//	defer direct.Close()
//	node, err := cluster.New(cluster.Config{Directory: store, Mesh: direct, Name: "gate-1"})
//
// Each node listens on an address of its own, which stands in its row of the table of nodes, and connects to each other node: so there are
// two connections between two nodes, each of which carries the frames of one direction. Nodes prove to each other that they belong to the
// cluster, by client certificates (Config.TLS), by a secret that all share (Config.Secret), or by both. The secret never crosses the
// network: each side proves that it has it by a keyed hash (HMAC-SHA256) of two random numbers, the dialler's and the listener's. Without
// TLS frames are neither encrypted nor protected on their way, so a network that others can reach needs TLS.
//
// A node whose connection to another has been lost for 3 s gets cluster.ErrNoRoute for its frames to that node. Until then they wait. A
// connection is lost when the other side has answered no heartbeat for 3 s, too; heartbeats are sent each second.
//
// # Goroutines and locks
//
// The listener is an engine with one event loop, on which all frames for this node are delivered, one at a time. For each other node a
// goroutine connects and sends (peer.go). The mesh has a lock, each peer has one, and so has each open incarnation. A peer's lock
// may be taken while the mesh's is held. No function of the caller is called while one is held.
package mesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/protocol"
)

// Config holds the settings of a Mesh. Listen is needed, and TLS or Secret.
type Config struct {
	// Listen is the TCP address to listen on for other nodes, such as "10.0.0.7:9100". Port 0 takes a free port. Clients must not
	// reach it.
	Listen string
	// Advertise is the address under which other nodes reach this one: a host and a port. Empty means Listen, with the port that was
	// taken; then Listen must name a host.
	Advertise string
	// TLS, when set, has all connections encrypted: as the listener's and as the dialler's settings. It needs a certificate for both,
	// and RootCAs. Its ServerName, when set, is the name that the certificates of all nodes must have; otherwise a node's certificate
	// must be for the host of its address. Without a Secret ClientAuth must be tls.RequireAndVerifyClientCert. Nil means plain TCP.
	TLS *tls.Config
	// Secret is the same at all nodes of the cluster, and known to no one else: at least 16 random bytes. Empty means none.
	Secret []byte
	// Queue is how many bytes of frames may wait for one node; then Send returns cluster.ErrPeerSlow. No frame may be larger. 0 or less
	// means 16 MiB, and more than 256 MiB means that.
	Queue int
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger

	silence time.Duration // for tests: see the constant
}

const (
	defaultQueue = 16 << 20
	mostQueue    = 256 << 20
	leastBody    = 4096 // has room for a logon, and for a proof
	leastSecret  = 16
	// beat is how often a side that sends nothing sends a heartbeat.
	beat = time.Second
	// silence is how long a connection may be silent, and how long frames wait for a lost one.
	silence = 3 * time.Second
)

// complete sets the defaults.
func (c *Config) complete() error {
	if c.Queue <= 0 {
		c.Queue = defaultQueue
	}
	c.Queue = min(c.Queue, mostQueue)
	if c.silence <= 0 {
		c.silence = silence
	}
	verified := c.TLS != nil && c.TLS.ClientAuth == tls.RequireAndVerifyClientCert
	switch {
	case c.Listen == "":
		return errors.New("rollcall: the mesh needs an address to listen on")
	case len(c.Secret) == 0 && !verified:
		return errors.New("rollcall: the mesh needs a Secret, or TLS with ClientAuth RequireAndVerifyClientCert: otherwise any program could end sessions")
	case len(c.Secret) > 0 && len(c.Secret) < leastSecret:
		return fmt.Errorf("rollcall: the mesh's Secret has %d bytes, and %d are needed", len(c.Secret), leastSecret)
	}
	return nil
}

// maxBody is how large a message may be: a frame, a logon or a proof.
func (c *Config) maxBody() int { return max(c.Queue, leastBody) + frameHead }

// Mesh is a cluster.Mesh over TCP. Make one with New. All methods may be called from any goroutine.
type Mesh struct {
	cfg     Config
	id      string // of this Mesh: another one at the same address has another
	addr    string
	log     *zap.Logger
	engine  *engine.Engine
	ctx     context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup
	figures figures

	// The maps are never changed; they are replaced under mu.
	open   atomic.Pointer[map[cluster.Incarnation]*inbox]
	routes atomic.Pointer[map[cluster.Incarnation]*peer]

	// Only the engine's event loop uses it: the last proven connection of each dialler.
	links map[string]*link

	mu    sync.Mutex
	peers map[string]*peer // by address
}

var _ cluster.Addressed = (*Mesh)(nil)

// New returns a Mesh that listens. The error names the invalid setting, or says why it cannot listen. Call Close when the node's Run has
// returned.
func New(cfg Config) (*Mesh, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // it has no error
	m := &Mesh{
		cfg: cfg, id: hex.EncodeToString(id[:]), log: logging.OrDefault(cfg.Logger),
		links: make(map[string]*link),
	}
	m.open.Store(&map[cluster.Incarnation]*inbox{})
	m.routes.Store(new(map[cluster.Incarnation]*peer))
	e, err := engine.New(engine.Config{
		Listeners: []engine.Listener{{Addr: cfg.Listen, TLS: cfg.TLS}},
		Loops:     1,                                                                   // all frames are delivered one at a time
		Limits:    engine.Limits{MaxBody: cfg.maxBody(), MaxMemory: 4 * cfg.maxBody()}, // of strangers too
		Timeouts:  engine.Timeouts{FirstMessage: cfg.silence, Handshake: cfg.silence, Stop: time.Second},
		Logger:    cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	m.engine = e
	m.setHandlers()
	if err := e.Listen(); err != nil {
		return nil, err
	}
	m.ctx, m.end = context.WithCancel(context.Background())
	if m.addr, err = advertised(&cfg, e.Addrs()[0]); err != nil {
		m.end() // Run then closes the listener
	}
	m.running.Go(func() {
		if err := e.Run(m.ctx); err != nil {
			m.log.Error("the mesh listens no more", zap.Error(err))
		}
	})
	if err != nil {
		m.running.Wait()
		return nil, err
	}
	return m, nil
}

// advertised returns the address for other nodes.
func advertised(cfg *Config, bound net.Addr) (string, error) {
	addr := cfg.Advertise
	if addr == "" {
		host, _, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return "", err
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			return "", fmt.Errorf("rollcall: the mesh listens on %q, so it needs Advertise: the address under which other nodes reach it", cfg.Listen)
		}
		_, port, _ := net.SplitHostPort(bound.String())
		addr = net.JoinHostPort(host, port)
	}
	if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" || port == "0" {
		return "", fmt.Errorf("rollcall: the mesh's address %q has no host, or no port", addr)
	}
	return addr, nil
}

// Close ends all connections. Frames that wait may be lost. It waits for the mesh's goroutines.
func (m *Mesh) Close() {
	m.mu.Lock()
	m.end()
	m.routes.Store(new(map[cluster.Incarnation]*peer))
	m.mu.Unlock()
	m.running.Wait()
}

// Addr implements cluster.Addressed: it returns the address under which other nodes reach this one.
func (m *Mesh) Addr() string { return m.addr }

// Route implements cluster.Addressed: it connects to nodes that are new, and ends the connections to those that are gone. It makes no
// connection to its own address: a node sends itself nothing.
func (m *Mesh) Route(nodes map[cluster.Incarnation]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return
	}
	routes, peers := make(map[cluster.Incarnation]*peer, len(nodes)), make(map[string]*peer, len(nodes))
	for inc, addr := range nodes {
		if addr == "" || addr == m.addr {
			continue
		}
		p := peers[addr]
		if p == nil {
			if p = m.peers[addr]; p == nil {
				p = newPeer(m, addr)
				m.running.Go(p.run)
			}
			peers[addr] = p
		}
		routes[inc] = p
	}
	for addr, p := range m.peers {
		if peers[addr] == nil {
			p.end()
		}
	}
	m.peers = peers
	m.routes.Store(&routes)
}

// Send implements cluster.Mesh. Beside its errors there is one for a frame that is larger than Config.Queue.
func (m *Mesh) Send(to cluster.Incarnation, frame []byte) error {
	err := m.send(to, frame)
	if err != nil {
		m.figures.refused.Add(1)
	}
	return err
}

func (m *Mesh) send(to cluster.Incarnation, frame []byte) error {
	p := (*m.routes.Load())[to]
	if p == nil {
		return cluster.ErrNoRoute
	}
	if len(frame) > m.cfg.Queue {
		return protocol.Errorf(protocol.MessageTooLarge, "a frame of %d bytes for another node, and the mesh's Queue is %d", len(frame), m.cfg.Queue)
	}
	return p.send(to, frame)
}

// Open implements cluster.Mesh. f runs on an event loop and must not block. stop returns when f does not run any more.
func (m *Mesh) Open(me cluster.Incarnation, f func(frame []byte)) (stop func(), err error) {
	in := &inbox{f: f}
	in.quiet.L = &in.mu
	m.change(func(open map[cluster.Incarnation]*inbox) { open[me] = in })
	return func() {
		m.change(func(open map[cluster.Incarnation]*inbox) {
			if open[me] == in {
				delete(open, me)
			}
		})
		in.close()
	}, nil
}

// change replaces the open incarnations.
func (m *Mesh) change(f func(map[cluster.Incarnation]*inbox)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	open := maps.Clone(*m.open.Load())
	f(open)
	m.open.Store(&open)
}

// inbox is an open incarnation.
type inbox struct {
	f func(frame []byte)

	mu      sync.Mutex
	running bool
	closed  bool
	quiet   sync.Cond // f does not run, and will not
}

// deliver runs on the event loop.
func (in *inbox) deliver(frame []byte) {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return
	}
	in.running = true
	in.mu.Unlock()
	defer func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.running = false
		if in.closed {
			in.quiet.Broadcast()
		}
	}()
	in.f(frame)
}

func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	for in.running {
		in.quiet.Wait()
	}
}
