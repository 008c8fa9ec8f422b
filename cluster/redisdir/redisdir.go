// Package redisdir keeps a cluster's store on a Redis or Valkey server. It also carries the messages between the cluster's nodes.
//
//	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"redis:6379"}})
//	store, err := redisdir.New(ctx, client, redisdir.Config{})
//	node, err := cluster.New(cluster.Config{Directory: store, Mesh: redisdir.NewMesh(client, redisdir.MeshConfig{}), Name: "a"})
//	users, err := usermgr.New(usermgr.Config{Claims: node})
//	go node.Run(ctx)
//
// The server must be Redis 7.0 or newer, or Valkey, and must have no persistence (save "", appendonly no). After a restart the nodes write
// their sessions again; a server that loaded a file would serve an old state instead. All keys have the same hash tag, so in a Redis
// Cluster one shard holds them all.
//
// With Sentinel or a Redis Cluster set the client's ConnWriteTimeout to a tenth of the nodes' lease: a server that hangs is given up after it, and another
// is elected by then.
//
// If FLUSHALL or a DEL removes this package's keys, claims are lost, and two sessions of one user may then live at once.
package redisdir

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/logging"
)

// Config holds the settings of a Directory. All nodes of a cluster must have the same.
type Config struct {
	// Prefix is the beginning of all keys' names, between braces. Empty means "rollcall". Clusters that share a server need
	// different ones.
	Prefix string
	// Buckets is the number of hashes that users are spread over: at most 16 million. It is fixed at the first start. 0 or less means
	// 16,384, which is good for 8 million users.
	Buckets int
	// WaitReplicas is how many replicas must have a renewal, so that a server that was cut off from them does not count: 1 with
	// Sentinel or Redis Cluster, which then need two replicas, so that one may be away; at most 1,000. 0 or less means none, for a
	// single server.
	WaitReplicas int
	// WaitFor is how long a renewal waits for replicas. 0 or less means 100 ms.
	WaitFor time.Duration
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

const (
	defaultBuckets = 16384
	mostBuckets    = 16_000_000
	mostReplicas   = 1000
)

// Directory is a cluster.Directory on a Redis or Valkey server.
type Directory struct {
	client  rueidis.Client
	cfg     Config
	table   string // the key of the table of nodes
	log     *zap.Logger
	buckets string
}

var _ cluster.Directory = (*Directory)(nil)

//go:embed rollcall1.lua
var library string

// New returns a Directory on the client's server. It checks the server's settings, and loads the library of functions rollcall1 where it
// is absent. The error says what to change on the server. The client stays the caller's, who closes it after the last use of the
// Directory.
func New(ctx context.Context, client rueidis.Client, cfg Config) (*Directory, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "rollcall"
	}
	if strings.ContainsAny(cfg.Prefix, "{}") {
		return nil, fmt.Errorf("rollcall: Prefix %q has a brace", cfg.Prefix)
	}
	if cfg.Buckets <= 0 {
		cfg.Buckets = defaultBuckets
	}
	switch {
	case cfg.Buckets > mostBuckets:
		return nil, fmt.Errorf("rollcall: Buckets %d: %d are the most", cfg.Buckets, mostBuckets)
	case cfg.WaitReplicas > mostReplicas:
		return nil, fmt.Errorf("rollcall: WaitReplicas %d: %d are the most", cfg.WaitReplicas, mostReplicas)
	}
	if cfg.WaitFor <= 0 {
		cfg.WaitFor = 100 * time.Millisecond
	}
	d := &Directory{
		client: client, cfg: cfg, log: logging.OrDefault(cfg.Logger),
		table: "{" + cfg.Prefix + "}:nodes", buckets: strconv.Itoa(cfg.Buckets),
	}
	if err := d.check(ctx); err != nil {
		return nil, err
	}
	if err := d.load(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// recordKeys returns the keys that a function needs that writes a user's record.
func (d *Directory) recordKeys(user string) []string { return []string{d.bucket(user), d.uncounted()} }

// uncounted returns the key of the hash that has the number of records that are not counted.
func (d *Directory) uncounted() string { return "{" + d.cfg.Prefix + "}:uncounted" }

// bucket returns the key of a user's record.
func (d *Directory) bucket(user string) string {
	h := fnv.New64a()
	h.Write([]byte(user))
	return d.bucketKey(int(h.Sum64() % uint64(d.cfg.Buckets)))
}

func (d *Directory) bucketKey(n int) string { return "{" + d.cfg.Prefix + "}:u:" + strconv.Itoa(n) }

// call calls a function of the library. A server that does not have the library, because it was restarted, gets it.
func (d *Directory) call(ctx context.Context, function string, keys []string, args ...string) ([]rueidis.RedisMessage, error) {
	for again := false; ; again = true {
		answer, err := d.client.Do(ctx, d.command(function, keys, args)).ToArray()
		if again || !isMissing(err) {
			return answer, err
		}
		if err := d.load(ctx); err != nil {
			return nil, err
		}
	}
}

func (d *Directory) command(function string, keys, args []string) rueidis.Completed {
	return d.client.B().Fcall().Function("rollcall1_" + function).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

// isMissing reports whether the server does not have the library.
func isMissing(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && e.Error() == "Function not found"
}

// isFull reports whether the server has no memory for a call that may need more.
func isFull(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(e.Error(), "OOM")
}

var errAnswer = errors.New("rollcall: the server's answer is not one of the library rollcall1")

// status returns the answer's first text.
func status(answer []rueidis.RedisMessage) string {
	if len(answer) == 0 {
		return ""
	}
	s, _ := answer[0].ToString()
	return s
}

// statusError returns the error that a status stands for.
func statusError(answer []rueidis.RedisMessage) error {
	switch s := status(answer); s {
	case "OK":
		return nil
	case "RECOVERING":
		return cluster.ErrRecovering
	case "FENCED":
		return cluster.ErrFenced
	case "UNKNOWN":
		return cluster.ErrUnknown
	case "CONFLICT":
		return conflict(answer)
	default:
		return fmt.Errorf("%w: %q", errAnswer, s)
	}
}

func conflict(answer []rueidis.RedisMessage) error {
	if len(answer) != 3 {
		return errAnswer
	}
	v, err := version(&answer[1])
	if err != nil {
		return err
	}
	body, err := answer[2].ToString()
	if err != nil {
		return err
	}
	return &cluster.Conflict{Version: v, Body: []byte(body)}
}

func version(m *rueidis.RedisMessage) (cluster.Version, error) {
	s, err := m.ToString()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(s, 10, 64)
	return cluster.Version(v), err
}

// flag is how the library is told a bool.
func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func number[T ~uint32 | ~uint64](n T) string { return strconv.FormatUint(uint64(n), 10) }
