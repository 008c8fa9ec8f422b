package bridge_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// stick is a message whose handler blocks until the test lets it go on.
const stick uint16 = 0x70

// stickable gives the server a handler that blocks; a test has one of its messages handled.
func stickable(s *server) (blocked <-chan struct{}, release func()) {
	in, out := make(chan struct{}), make(chan struct{})
	s.engine.Handle(stick, func(*engine.Conn, *protocol.Message) error {
		close(in)
		<-out
		return nil
	})
	release = sync.OnceFunc(func() { close(out) })
	return in, release
}

// staysStuck releases the handler after d. How long the loop is stuck is what is tested.
func staysStuck(d time.Duration, release func()) {
	time.Sleep(d)
	release()
}

// Rules 8 and 25: a handler blocks its loop for longer than the heartbeat's timeout, while 20 others beat. All of them stay; one
// that has said nothing is found.
func TestNobodyIsSilentWhileTheLoopIsStuck(t *testing.T) {
	const timeout = time.Second
	s := newServer(t, options{engine: engine.Config{Loops: 1}, users: usermgr.Config{HeartbeatTimeout: timeout, HeartbeatCheckInterval: 20 * time.Millisecond}})
	blocked, release := stickable(s)
	defer release()
	s.start()
	over := make(chan struct{})
	var beating sync.WaitGroup
	beat := func(c *rawClient) {
		beating.Go(func() {
			for c.write(&protocol.Message{Type: protocol.TypeHeartbeat}) == nil {
				select {
				case <-over:
					return
				case <-time.After(timeout / 10):
				}
			}
		})
	}
	defer beating.Wait()
	defer sync.OnceFunc(func() { close(over) })()
	var others []*rawClient
	for i := range 20 {
		others = append(others, s.logOn(fmt.Sprint("user", i)))
		beat(others[i])
	}
	stuck := s.logOn("stuck")
	stuck.send(&protocol.Message{Type: stick})
	receive(t, "the handler that blocks", blocked)
	staysStuck(5*timeout/2, release)
	stayed := 0
	for _, c := range others {
		if _, err := c.conn.Write(frame(t, &protocol.Message{Type: echo, ID: 9, Body: []byte("here")})); err != nil { // write is the beats'
			continue
		}
		if m, err := c.read(); err == nil && m.Type == echo {
			stayed++
		}
	}
	if stayed != len(others) {
		t.Errorf("%d of %d stayed", stayed, len(others))
	}
	stuck.expectClose(protocol.HeartbeatTimeout)
}

// Rule 25: the time of a logon does not run while its loop is stuck: 200 logons whose authenticators answer after the
// deadline, by the clock on the wall, come in.
func TestALogonsDeadlineWaitsForALoopThatIsStuck(t *testing.T) {
	const deadline = 1500 * time.Millisecond
	const clients = 200
	answer := make(chan struct{})
	var asked sync.WaitGroup
	asked.Add(clients)
	s := newServer(t, options{engine: engine.Config{Loops: 1}, auth: func(ctx context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if l.UserID == "stuck" {
			return bridge.Identity{UserID: l.UserID}, nil
		}
		asked.Done()
		select {
		case <-answer:
			return bridge.Identity{UserID: l.UserID}, nil
		case <-ctx.Done():
			return bridge.Identity{}, ctx.Err()
		}
	}, bridge: bridge.Config{LogonDeadline: deadline}})
	blocked, release := stickable(s)
	defer release()
	s.start()
	stuck := s.logOn("stuck")
	var others []*rawClient
	for i := range clients {
		c := s.dial()
		c.send(logonMessage(fmt.Sprint("user", i)))
		others = append(others, c)
	}
	asked.Wait()
	stuck.send(&protocol.Message{Type: stick})
	receive(t, "the handler that blocks", blocked)
	staysStuck(deadline+500*time.Millisecond, release)
	close(answer)
	in := 0
	for _, c := range others {
		if m, err := c.read(); err == nil && m.Type == protocol.TypeLogon && m.Flags&protocol.FlagError == 0 {
			in++
		}
	}
	if in != clients {
		t.Errorf("%d of %d came in", in, clients)
	}
}

// Rules 8 and 25: ten requests come at once and take longer than IdleTimeout together. A message that waits, or is being handled,
// is no idleness: all are answered, and the session expires when nothing more comes.
func TestAMessageThatWaitsIsNoIdleness(t *testing.T) {
	for name, workers := range map[string]int{"on the loop": 0, "with Workers": 2} {
		t.Run(name, func(t *testing.T) {
			const idle = 300 * time.Millisecond
			s := newServer(t, options{engine: engine.Config{Loops: 1, Workers: workers}, users: usermgr.Config{IdleTimeout: idle}})
			s.engine.Handle(stick, func(c *engine.Conn, m *protocol.Message) error {
				time.Sleep(idle / 2) // takes its time
				return c.Reply(m, nil)
			})
			s.start()
			c := s.logOn("ann")
			var requests []*protocol.Message
			for i := range uint32(10) {
				requests = append(requests, &protocol.Message{Type: stick, ID: i + 1})
			}
			c.send(requests...)
			for i := range uint32(10) {
				if m := c.receive(); m.Type != stick || m.ID != i+1 {
					t.Fatalf("the answer to request %d is %+v", i+1, m)
				}
			}
			c.expectClose(protocol.SessionExpired)
		})
	}
}
