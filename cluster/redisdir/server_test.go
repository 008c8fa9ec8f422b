package redisdir_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// server is a redis-server of the test's own, in a folder of the test's.
type server struct {
	t       testing.TB
	program string
	addr    string
	args    []string
	cmd     *exec.Cmd
}

// startServer starts a server as a cluster needs it, with further settings.
func startServer(t testing.TB, settings ...string) *server {
	t.Helper()
	s := &server{t: t, program: testkit.RedisServer(t), addr: testkit.FreeAddr(t)}
	_, port, _ := net.SplitHostPort(s.addr)
	s.args = append([]string{"--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", "", "--appendonly", "no",
		"--stop-writes-on-bgsave-error", "no"}, settings...)
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.program, s.args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	testkit.Eventually(s.t, "redis-server answers", func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			return false
		}
		defer c.Close()
		if _, err := c.Write([]byte("PING\r\n")); err != nil {
			return false
		}
		b := make([]byte, 7)
		n, err := c.Read(b)
		return err == nil && strings.HasPrefix(string(b[:n]), "+PONG")
	})
}

func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// restart has the server lose everything.
func (s *server) restart() {
	s.t.Helper()
	s.kill()
	s.start()
}

// follow makes the server a replica of another, and returns when it has the other's data.
func (s *server) follow(c rueidis.Client, primary *server) {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(primary.addr)
	if err := s.do(c, "REPLICAOF "+host+" "+port); err != nil {
		s.t.Fatal(err)
	}
	testkit.Eventually(s.t, "the replica follows", func() bool {
		info := testkit.Must(c.Do(context.Background(), c.B().Info().Section("replication").Build()).ToString())
		return strings.Contains(info, "master_link_status:up")
	})
}

func (s *server) client() rueidis.Client { return connect(s.t, s.addr) }

func connect(t testing.TB, addr string) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true, PipelineMultiplex: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// do runs a command, given as one line. A colon in the value of the setting "save" stands for a space.
func (s *server) do(c rueidis.Client, line string) error {
	words := strings.Fields(line)
	for i, w := range words {
		switch {
		case w == `""`:
			words[i] = ""
		case i > 0 && words[i-1] == "save":
			words[i] = strings.ReplaceAll(w, ":", " ")
		}
	}
	return c.Do(context.Background(), c.B().Arbitrary(words...).Build()).Error()
}

func open(t testing.TB, c rueidis.Client, cfg redisdir.Config) *redisdir.Directory {
	t.Helper()
	cfg.Logger = zap.NewNop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d, err := redisdir.New(ctx, c, cfg)
	if err != nil {
		t.Fatal(fmt.Errorf("New: %w", err))
	}
	return d
}
