package testkit

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// RedisServer returns the path of the server that tests start: the program that the environment variable REDIS_SERVER names, such as
// valkey-server, or redis-server. A machine that has neither leaves the test out.
func RedisServer(t testing.TB) string {
	t.Helper()
	name := cmp.Or(os.Getenv("REDIS_SERVER"), "redis-server")
	path, err := exec.LookPath(name)
	if err != nil {
		LeaveOut(t, "%s is not installed (apt-get install redis-server, or set REDIS_SERVER): %v", name, err)
	}
	return path
}

// FreeAddr returns an address of 127.0.0.1 on which no program listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l := Must(net.Listen("tcp", "127.0.0.1:0"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// Sentinel starts a sentinel that watches a server, by the name "users", and returns its address. Two sentinels must agree that the server
// is away. It ends with the test.
func Sentinel(t testing.TB, server string) (addr string) {
	t.Helper()
	addr = FreeAddr(t)
	host, port, _ := net.SplitHostPort(server)
	_, own, _ := net.SplitHostPort(addr)
	folder := t.TempDir()
	file := filepath.Join(folder, "sentinel.conf")
	conf := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor users %s %s 2\nsentinel down-after-milliseconds users 1000\n"+
		"sentinel failover-timeout users 5000\nsentinel parallel-syncs users 2\n", own, folder, host, port)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(RedisServer(t), file, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	Eventually(t, "the sentinel answers", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return addr
}
