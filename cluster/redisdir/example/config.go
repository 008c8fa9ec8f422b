package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// finish makes settings of the flags.
func (n *nodeConfig) finish() error {
	switch n.relogon {
	case "replace-old":
	case "ignore-new":
		n.users.RelogonMode = usermgr.IgnoreNew
	default:
		return fmt.Errorf("-relogon %s: must be replace-old or ignore-new", n.relogon)
	}
	switch number, err := strconv.Atoi(n.devices); {
	case n.devices == "one":
	case n.devices == "per-device":
		n.users.Devices.OnePerClass = true
	case err == nil && number > 0:
		n.users.Devices.MaxSessions = number
	default:
		return fmt.Errorf("-devices %s: must be one, per-device or a number", n.devices)
	}
	n.users.HeartbeatTimeout = -1
	if n.timeout > 0 {
		n.users.HeartbeatTimeout, n.users.HeartbeatCheckInterval = n.timeout, n.interval
	}
	n.bridge.Relay = &bridge.Relay{}
	n.bridge.MayAskWhoIsOnline = func(string, []string) bool { return true }
	if n.token != "" {
		n.auth = func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
			if l.Fields[protocol.FieldToken] != n.token {
				return bridge.Identity{}, protocol.Errorf(protocol.Unauthorized, "wrong token")
			}
			return bridge.Identity{UserID: l.UserID}, nil
		}
	}
	if n.cert != "" || n.key != "" || n.clientCA != "" {
		var err error
		if n.frames.TLS, err = tlsConfig(n.cert, n.key, n.clientCA); err != nil {
			return err
		}
	}
	n.engine.Listeners = []engine.Listener{n.frames}
	for _, l := range []engine.Listener{
		{Addr: n.lines, Codec: protocol.Line},
		{Addr: n.web, TLS: n.frames.TLS, WebSocket: new(engine.WebSocket)},
		{Network: "unix", Addr: n.unix},
		{Network: "udp", Addr: n.udp, Cleartext: true},
	} {
		if l.Addr != "" {
			n.engine.Listeners = append(n.engine.Listeners, l)
		}
	}
	return n.store.check()
}

// tlsConfig returns the settings of the flags -tls-cert, -tls-key and -tls-client-ca.
func tlsConfig(certFile, keyFile, clientCA string) (*tls.Config, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("TLS needs both -tls-cert and -tls-key")
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	if clientCA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, err
	}
	cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", clientCA)
	}
	return cfg, nil
}

// storeConfig has the settings of the cluster.
type storeConfig struct {
	redis, sentinel, node, mesh, lost string
	lease                             time.Duration
	replicas                          int
}

func (s *storeConfig) flags() {
	flag.StringVar(&s.redis, "redis", "127.0.0.1:6379", "addresses of the server, or of a Redis Cluster's servers, with commas; the environment variable REDIS_PASSWORD may have the password")
	flag.StringVar(&s.sentinel, "sentinel", "", "the name by which Sentinel knows the server: -redis then has the addresses of the sentinels")
	flag.StringVar(&s.node, "node", "", "the node's name; empty for the host's name")
	flag.StringVar(&s.mesh, "mesh", "", "TCP address to listen on for other nodes, which then reach this one directly, and with the secret of the environment variable MESH_SECRET; empty: over Redis")
	flag.DurationVar(&s.lease, "lease", 0, "how long a node acts without the store, and how long the users of a dead node wait; 0 for 20 s")
	flag.StringVar(&s.lost, "store-lost", "closed", "what happens when the store is lost for longer than a lease: closed ends all sessions; open has nodes go on, and a user may then be at several")
	flag.IntVar(&s.replicas, "wait-replicas", 0, "how many replicas must have a renewal: 1 with Sentinel or a Redis Cluster")
}

var storeLost = map[string]cluster.StoreLost{"closed": cluster.Closed, "open": cluster.Open}

func (s *storeConfig) check() error {
	if _, ok := storeLost[s.lost]; !ok {
		return fmt.Errorf("-store-lost %s: must be closed or open", s.lost)
	}
	if s.mesh != "" && len(os.Getenv("MESH_SECRET")) < 16 {
		return errors.New("-mesh needs the environment variable MESH_SECRET, with at least 16 random bytes, the same at all nodes")
	}
	if s.node == "" {
		s.node, _ = os.Hostname()
	}
	return nil
}

// open returns the settings of the node, and a function that ends what they need.
func (s *storeConfig) open(ctx context.Context) (cfg cluster.Config, end func(), err error) {
	addrs := strings.Split(s.redis, ",")
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: addrs, Password: os.Getenv("REDIS_PASSWORD"), ForceSingleClient: len(addrs) == 1, DisableCache: true,
		ConnWriteTimeout: max(cmp.Or(s.lease, 20*time.Second)/10, time.Second), // after it a server that hangs is given up
		Sentinel:         rueidis.SentinelOption{MasterSet: s.sentinel, TopologyRefreshInterval: 5 * time.Second},
	})
	if err != nil {
		return cfg, nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	store, err := redisdir.New(ctx, c, redisdir.Config{WaitReplicas: s.replicas})
	if err != nil {
		return cfg, nil, err
	}
	around := redisdir.NewMesh(c, redisdir.MeshConfig{})
	cfg = cluster.Config{Directory: store, Mesh: around, Name: s.node, Lease: s.lease, StoreLost: storeLost[s.lost]}
	if s.mesh == "" {
		return cfg, func() { around.Close(); c.Close() }, nil
	}
	direct, err := mesh.New(mesh.Config{Listen: s.mesh, Secret: []byte(os.Getenv("MESH_SECRET"))})
	if err != nil {
		around.Close()
		return cfg, nil, err
	}
	cfg.Mesh = cluster.WithDetour(direct, around)
	return cfg, func() { direct.Close(); around.Close(); c.Close() }, nil
}
