package testkit

import (
	"cmp"
	"os"
	"os/exec"
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
