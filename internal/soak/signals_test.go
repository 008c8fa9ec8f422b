//go:build linux

package soak

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
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
	if ends := st.Codes[protocol.ClientClosed.Error()] + st.Codes[protocol.NetworkError.Error()]; ends != users {
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
	s.freeze()
	s.thawAfter(stopped)
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
	s.until("everybody is gone", func(now state) bool { return now.Users == 0 && now.Engine.Conns.Open == 0 })
}

// frozen is what TestServerThatIsStoppedHoldsItAgainstNobody stops: a server, and clients that have come so far.
type frozen struct {
	*server
	sending, loggingOn, come, shaking []*peer
}

// newFrozen makes n clients of each kind. The error is that of a client.
func newFrozen(t *testing.T, cfg settings, n int) (f *frozen, err error) {
	f = &frozen{server: startServer(t, cfg)}
	dialled := func(at target) *peer {
		if err != nil {
			return nil
		}
		var p *peer
		if p, err = dial(at); err == nil {
			t.Cleanup(p.reset)
		}
		return p
	}
	for i := range n {
		p := dialled(f.at)
		if err == nil {
			_, err = p.logOn(fmt.Sprint("sending", i))
		}
		f.sending = append(f.sending, p)
	}
	for range n {
		f.come, f.loggingOn = append(f.come, dialled(f.at)), append(f.loggingOn, dialled(f.at))
	}
	for range n {
		if cfg.TLS != nil {
			f.shaking = append(f.shaking, dialled(target{Addr: f.at.Addr}))
		}
	}
	for i, p := range f.loggingOn {
		if err == nil {
			err = p.write(logonFrame(fmt.Sprint("logging on", i), protocol.FieldToken, slow))
		}
	}
	return f, err
}

// Rule 25: the server's process is stopped for longer than all its deadlines, while clients connect, go through their handshakes,
// log on, and send within half of what they may. Nothing of it is held against any of them.
func TestServerThatIsStoppedHoldsItAgainstNobody(t *testing.T) {
	overPlainAndTLS(t, func(t *testing.T, cert *certificate) {
		returnsTheDescriptors(t)
		const rate = 200
		clients := sized(20, 50, 200)
		deadline := sized(time.Second, 2*time.Second, 8*time.Second)
		var s *frozen
		for { // until the clients have come within a part of the deadlines, which depends on how busy the machine is
			cfg := settings{TLS: cert, Authenticate: true, LogonTimeout: deadline, HandshakeTimeout: deadline,
				LogonDeadline: deadline, SlowAuthenticator: deadline / 2, Interval: 200 * time.Millisecond, Timeout: deadline,
				Limits: limits{MaxMessageRate: rate, Bans: engine.Bans{Flaps: 3}}}
			began := time.Now()
			f, err := newFrozen(t, cfg, clients)
			if took := time.Since(began); took > deadline/3 && deadline < patience {
				f.kill()
				deadline = 2 * max(deadline, took)
				t.Logf("the clients came within %v: once more, with %v", took, deadline)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			s = f
			break
		}
		stopped := deadline + sized(500*time.Millisecond, time.Second, 6*time.Second)
		send := func(p *peer, b []byte) {
			if err := p.write(b); err != nil {
				t.Error(err)
			}
		}
		s.freeze()
		began := time.Now()
		for i, p := range s.come {
			send(p, logonFrame(fmt.Sprint("come", i)))
		}
		piledUp := bytes.Repeat(frame(&protocol.Message{Type: note, Body: make([]byte, 64)}), int(stopped.Seconds()*rate/2))
		for _, p := range s.sending {
			send(p, piledUp)
		}
		handshakes := make([]chan error, len(s.shaking))
		for i, p := range s.shaking {
			handshakes[i] = make(chan error, 1)
			go func() { handshakes[i] <- p.shakeHands(s.at.CA, patience) }()
		}
		s.thawAfter(stopped - time.Since(began))
		count := func(what string, peers []*peer, f func(i int, p *peer) error) {
			well, failure := 0, error(nil)
			for i, p := range peers {
				if err := f(i, p); err != nil {
					failure = err
					continue
				}
				well++
			}
			t.Logf("%s: %d of %d", what, well, len(peers))
			if failure != nil {
				t.Errorf("%s: %d of %d; %v", what, well, len(peers), failure)
			}
		}
		answer := func(_ int, p *peer) error { _, err := p.answer(); return err }
		count("who sent stay", s.sending, func(i int, p *peer) error { return p.ask(uint32(i + 1)) })
		count("who had come log on", s.come, answer)
		count("who were logging on are let in", s.loggingOn, answer)
		count("who were in a handshake get through", s.shaking, func(i int, p *peer) error {
			if err := <-handshakes[i]; err != nil {
				return err
			}
			_, err := p.logOn(fmt.Sprint("shaking", i))
			return err
		})
		if st := s.stats(); st.Engine.Bans != 0 || st.Disconnected != 0 {
			t.Errorf("%d are banned, %d were disconnected: %v", st.Engine.Bans, st.Disconnected, st.Codes)
		}
	})
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
