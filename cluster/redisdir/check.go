package redisdir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// setting is one that the server must have.
type setting struct{ name, want, why string }

var (
	settings = []setting{
		{"save", "", "after a restart an old state would be taken for the present one"},
		{"appendonly", "no", "after a restart an old state would be taken for the present one"},
		{"maxmemory-policy", "noeviction", "another policy throws claims away when memory is short"},
		{"stop-writes-on-bgsave-error", "no", "a snapshot that fails would have all nodes fenced"},
	}
	// replicaSettings are those of a server of a Redis Cluster whose replicas are waited for.
	replicaSettings = []setting{
		{"cluster-allow-replica-migration", "no", "the replicas may be moved to another shard, and then no renewal counts"},
	}
)

// listpackValue is what hash-max-listpack-value should be at least. The server keeps the users of a bucket close together as long as each
// record is no larger: one of two sessions with tokens is larger than Redis's own 64 bytes, and costs all users of its bucket as much again.
const listpackValue = 256

// check returns an error that says what to change on the server.
func (d *Directory) check(ctx context.Context) error {
	for addr, node := range d.client.Nodes() {
		info, err := node.Do(ctx, node.B().Info().Section("server").Build()).ToString()
		if err != nil {
			return fmt.Errorf("rollcall: the server %s does not answer: %w", addr, err)
		}
		if v := infoValue(info, "redis_version"); major(v) < 7 {
			return fmt.Errorf("rollcall: the server %s has version %s, and a cluster needs Redis 7.0 or Valkey: use a newer server", addr, v)
		}
		must := settings
		mode := cmp.Or(infoValue(info, "redis_mode"), infoValue(info, "server_mode")) // Valkey has the latter
		if d.cfg.WaitReplicas > 0 && mode == "cluster" {
			must = slices.Concat(settings, replicaSettings)
		}
		d.checkMemory(ctx, addr, node)
		for _, s := range must {
			have, err := node.Do(ctx, node.B().ConfigGet().Parameter(s.name).Build()).AsStrMap()
			if _, refused := rueidis.IsRedisErr(err); refused {
				d.log.Warn("the server does not tell its settings: see that they are right", zap.String("server", addr),
					zap.String("setting", s.name), zap.String("must be", strconv.Quote(s.want)), zap.Error(err))
				continue
			}
			if err != nil {
				return fmt.Errorf("rollcall: the server %s does not answer: %w", addr, err)
			}
			if got, ok := have[s.name]; ok && got != s.want {
				return fmt.Errorf("rollcall: the server %s has %s %q, because of which %s: use CONFIG SET %s %s, and have it in its configuration file",
					addr, s.name, got, s.why, s.name, quote(s.want))
			}
		}
	}
	return nil
}

// checkMemory logs where the server takes more memory than it has to.
func (d *Directory) checkMemory(ctx context.Context, addr string, node rueidis.Client) {
	have, err := node.Do(ctx, node.B().ConfigGet().Parameter("hash-max-listpack-value").Build()).AsIntMap()
	if got, ok := have["hash-max-listpack-value"]; err == nil && ok && got < listpackValue {
		d.log.Warn("users take up to twice the memory in the server: have hash-max-listpack-value 256 in its configuration file, and restart it",
			zap.String("server", addr), zap.Int64("hash-max-listpack-value", got))
	}
}

func quote(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

// infoValue returns a value of an answer to INFO.
func infoValue(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func major(version string) int {
	head, _, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(head)
	return n
}

// load loads the library where it is absent. It never replaces one: that would have the store recover.
func (d *Directory) load(ctx context.Context) error {
	for addr, node := range d.client.Nodes() {
		if err := load(ctx, node); err != nil {
			return fmt.Errorf("rollcall: the library rollcall1 could not be loaded on the server %s: %w", addr, err)
		}
	}
	return nil
}

var errOther = errors.New("it has another library of this name: stop all nodes, then use FUNCTION DELETE rollcall1")

func load(ctx context.Context, node rueidis.Client) error {
	err := node.Do(ctx, node.B().FunctionLoad().FunctionCode(library).Build()).Error()
	e, answered := rueidis.IsRedisErr(err)
	switch {
	case !answered:
		return err
	case strings.Contains(e.Error(), "already exists"):
		return compare(ctx, node)
	case strings.HasPrefix(e.Error(), "READONLY"): // a replica gets it from its primary
		return nil
	case strings.HasPrefix(e.Error(), "NOPERM"), strings.Contains(e.Error(), "unknown command"):
		return fmt.Errorf("the user may not use FUNCTION LOAD, or the server has no functions: allow it (ACL SETUSER … +function +fcall), or use Redis 7.0 or Valkey: %w", err)
	}
	return err
}

// compare returns an error where the server has another library of the same name.
func compare(ctx context.Context, node rueidis.Client) error {
	libraries, err := node.Do(ctx, node.B().FunctionList().Libraryname("rollcall1").Withcode().Build()).ToArray()
	if err != nil {
		return err
	}
	for _, l := range libraries {
		fields, err := l.ToMap()
		if err != nil {
			return err
		}
		m := fields["library_code"]
		code, err := m.ToString()
		if err != nil {
			return err
		}
		if code != library {
			return errOther
		}
	}
	return nil
}
