package bridge_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Where nothing watches for silence TCP finds out whether a client's system is there; where something does it is left to that.
func TestKeepAliveIsOnWhereNothingWatchesForSilence(t *testing.T) {
	for _, c := range []struct {
		name      string
		keepAlive time.Duration
		timeout   time.Duration // the heartbeat's
		want      bool
	}{
		{"nothing watches", 0, -1, true},
		{"the heartbeat watches", 0, 30 * time.Second, false},
		{"set", 20 * time.Second, 30 * time.Second, true},
		{"unset", -1, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, options{engine: engine.Config{Timeouts: engine.Timeouts{KeepAlive: c.keepAlive}}, users: usermgr.Config{HeartbeatTimeout: c.timeout}})
			ann := s.logOn("ann")
			ann.ask("hello")
			eventually(t, fmt.Sprint("keep-alive: ", c.want), func() bool {
				timer, found := serversTimer(t, ann.conn)
				return found && (timer == keepAliveTimer) == c.want && (timer == keepAliveTimer || timer == noTimer)
			})
		})
	}
}

// Timers of a TCP socket, as /proc/net/tcp tells them.
const (
	noTimer        = "00"
	keepAliveTimer = "02"
)

// serversTimer returns which timer runs for the server's end of a connection.
func serversTimer(t *testing.T, nc net.Conn) (timer string, found bool) {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	local, remote := portOf(nc.RemoteAddr()), portOf(nc.LocalAddr())
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 5 && strings.HasSuffix(f[1], local) && strings.HasSuffix(f[2], remote) {
			timer, _, _ = strings.Cut(f[5], ":")
			return timer, true
		}
	}
	return "", false
}

func portOf(a net.Addr) string { return fmt.Sprintf(":%04X", a.(*net.TCPAddr).Port) }
