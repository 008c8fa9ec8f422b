//go:build linux

package soak

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Rules 3 and 12: processes with a hundred clients each are killed with -9, one after another. Each client's session ends,
// once, those of the others go on, and the server holds no more than before.
func TestClientsAreKilled(t *testing.T) {
	returnsTheDescriptors(t)
	s := startServer(t, settings{PushEvery: 20 * time.Millisecond})
	h := startHealthy(t, s.at, 2)
	before := s.stats()
	var users int
	for round := range sized(1, 3, 50) {
		var dead, alive *child
		for _, c := range []**child{&dead, &alive} {
			prefix := fmt.Sprintf("user%d.%d.", round, users)
			*c = startChild(t, "clients", crowd{At: s.at, Prefix: prefix, Users: 100, Every: 5 * time.Millisecond, Deaf: true})
			if got := (*c).line(); got != "ready" {
				t.Fatal(got)
			}
			users += 100
		}
		s.until("200 are online", func(now state) bool { return now.Users == before.Users+200 })
		dead.kill()
		s.until("the dead are gone", func(now state) bool { return now.Users == before.Users+100 })
		alive.end()
		s.isBackAt(before)
	}
	st := s.stats()
	t.Logf("%d clients, half of them killed: %v; the healthy: %v", users, st.Codes, h.p99())
	if ends := st.Codes[protocol.ClientClosed.String()] + st.Codes[protocol.NetworkError.String()]; ends != users {
		t.Errorf("%d ended with ClientClosed or NetworkError", ends)
	}
	if st.Connected != users+2 || st.Disconnected != users {
		t.Errorf("%d Connected and %d Disconnected of %d", st.Connected, st.Disconnected, users)
	}
	h.stop()
}

// Rule 8: the server's process is stopped for longer than the heartbeat's timeout, and goes on. Clients whose bytes are in
// the sockets are not thrown out; one that has really fallen silent is.
func TestServerThatIsStoppedAndGoesOn(t *testing.T) {
	returnsTheDescriptors(t)
	silence := sized(700*time.Millisecond, 2*time.Second, 30*time.Second)
	s := startServer(t, settings{Interval: 200 * time.Millisecond, Timeout: silence})
	const users = 100
	c := startChild(t, "clients", crowd{At: s.at, Prefix: "user", Users: users, Every: 100 * time.Millisecond})
	if got := c.line(); got != "ready" {
		t.Fatal(got)
	}
	ghost := online(t, s.at, "ghost")
	stopped := silence + sized(200*time.Millisecond, time.Second, 30*time.Second)
	s.signal(syscall.SIGSTOP)
	time.Sleep(stopped) // is what is tested
	s.signal(syscall.SIGCONT)
	s.until("the one who fell silent is thrown out", func(now state) bool { return now.TimedOut > 0 })
	if code, err := ghost.hearOut(); code != protocol.HeartbeatTimeout {
		t.Errorf("it was told %v, %v", code, err)
	}
	st := s.stats()
	t.Logf("stopped for %v, with a timeout of %v: %d of %d are online still, %d were thrown out", stopped, silence, st.Users, users, st.Disconnected)
	if st.Users != users || st.Connected != users+1 || st.Disconnected != 1 {
		t.Errorf("%d Connected, %d Disconnected, %v", st.Connected, st.Disconnected, st.Codes)
	}
	_ = ghost.Close()
	c.end()
	s.until("everybody is gone", func(now state) bool { return now.Users == 0 && now.Engine.Connections == 0 })
}
