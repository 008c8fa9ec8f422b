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
	overPlainAndTLS(t, clientsAreKilled)
}

func clientsAreKilled(t *testing.T, cert *certificate) {
	returnsTheDescriptors(t)
	s := startServer(t, settings{TLS: cert, PushEvery: 20 * time.Millisecond})
	h := startHealthy(t, s.at, 2)
	before := s.stats()
	var users int
	for round := range sized(1, 2, 50) {
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
	silence := sized(700*time.Millisecond, 1200*time.Millisecond, 30*time.Second)
	s := startServer(t, settings{Interval: 200 * time.Millisecond, Timeout: silence})
	const users = 100
	c := startChild(t, "clients", crowd{At: s.at, Prefix: "user", Users: users, Every: 100 * time.Millisecond})
	if got := c.line(); got != "ready" {
		t.Fatal(got)
	}
	ghost := online(t, s.at, "ghost")
	stopped := silence + sized(200*time.Millisecond, 500*time.Millisecond, 30*time.Second)
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

// Rule 16: a server stops while clients send, do not read, come and go and are in their handshake. Each of its sessions has its
// Disconnected before Run returns, and Run returns no error: the process says so by its own end.
func TestStopUnderLoad(t *testing.T) {
	overPlainAndTLS(t, func(t *testing.T, cert *certificate) {
		returnsTheDescriptors(t)
		for range sized(1, 1, 10) {
			s := startServer(t, settings{TLS: cert, PushEvery: 20 * time.Millisecond, PushBulk: 4 << 10, CloseTimeout: 500 * time.Millisecond})
			users := startChild(t, "clients", crowd{At: s.at, Prefix: "user", Users: sized(20, 40, 200), Every: 5 * time.Millisecond, Deaf: true})
			deaf := startIdle(t, "deaf", crowd{At: s.at, Prefix: "slow", Users: sized(10, 20, 100)})
			come := startIdle(t, "attack", orders{At: s.at, Flood: visits, Attackers: 8, Rate: 300})
			half := startIdle(t, "attack", orders{At: s.at, Flood: "half a TLS hello", Attackers: 20, Addresses: 1})
			for _, c := range []*child{users, deaf, come, half} {
				if got := c.line(); got != "ready" {
					t.Fatal(got)
				}
			}
			s.until("visitors have come", func(now state) bool { return now.Disconnected > sized(0, 5, 50) })
			before := s.stats()
			began := time.Now()
			s.end()
			t.Logf("a server with %d users, %d of %d sessions over, stopped in %v", before.Users, before.Disconnected, before.Connected,
				time.Since(began).Round(time.Millisecond))
			come.stop()
			half.stop()
			deaf.end()
			users.end()
		}
	})
}
