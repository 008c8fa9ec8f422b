package bridge_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/contract"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	stormClients = 200
	stormUsers   = 10
	stormPause   = 100 * time.Millisecond // of a client between two logons, on average
)

// Rules 3 to 10, 12 and 16, over sockets: many clients log on under few IDs again and again, talk, fall silent, are
// kicked, leave in every way there is, and the engine stops in the middle of it. Everything that passed through the
// manager is held against the contract.
func TestStorm(t *testing.T) {
	total := 10 * time.Second
	if testing.Short() {
		total = 3 * time.Second
	}
	for _, mode := range []usermgr.RelogonMode{usermgr.ReplaceOld, usermgr.IgnoreNew} {
		for _, workers := range []int{0, 4} {
			name := map[usermgr.RelogonMode]string{usermgr.ReplaceOld: "ReplaceOld", usermgr.IgnoreNew: "IgnoreNew"}[mode]
			t.Run(fmt.Sprintf("%s/workers=%d", name, workers), func(t *testing.T) { storm(t, mode, workers, total/4) })
		}
	}
}

func storm(t *testing.T, mode usermgr.RelogonMode, workers int, duration time.Duration) {
	before := goleak.IgnoreCurrent()
	users := contract.New(usermgr.Config{RelogonMode: mode, Logger: zap.NewNop(),
		HeartbeatTimeout: 250 * time.Millisecond, HeartbeatCheckInterval: 25 * time.Millisecond})
	s := newServerFor(t, options{engine: engine.Config{Workers: workers, Logger: zap.NewNop()},
		bridge: bridge.Config{LogonDeadline: 2 * time.Second, RelogonBurst: -1}}, nil, users)
	var told struct{ connected, disconnected, count atomic.Int64 }
	users.Subscribe(usermgr.Events{
		Connected: func(i usermgr.SessionInfo) {
			told.connected.Add(1)
			_ = s.bridge.Send(i.UserID, push, []byte("welcome"))
		},
		PushedOut: func(old usermgr.SessionInfo, _ usermgr.Address) {
			_ = s.bridge.Send(old.UserID, push, []byte("goodbye"))
		},
		Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) {
			told.disconnected.Add(1)
			time.Sleep(rand.N(time.Millisecond))
		},
		UserCountChanged: func(n int) { told.count.Store(int64(n)) },
	})
	s.engine.Handle(talk, func(c *engine.Conn, m *protocol.Message) error {
		defer users.Message(c.ID())()
		if workers > 0 {
			time.Sleep(rand.N(time.Millisecond))
		}
		return c.Reply(m, m.Body)
	})
	s.start()

	over := make(chan struct{})
	var running sync.WaitGroup
	st := &stormer{server: s, over: over}
	for range stormClients {
		running.Go(st.client)
	}
	running.Go(func() {
		for st.pause(20 * time.Millisecond) {
			_, _ = users.Kick(stormUser(), &usermgr.KickOptions{Text: "kicked"})
			_ = s.bridge.Send(stormUser(), push, []byte("from elsewhere"))
		}
	})
	select {
	case <-time.After(duration):
	case <-s.ended:
		t.Errorf("the engine ended by itself: %v", s.outcome)
	}
	for i := range stormUsers {
		if a := addressesOf(users, fmt.Sprint("user", i)); len(a) > 1 {
			t.Errorf("user%d is on %d connections", i, len(a))
		}
	}
	if err := s.stop(); err != nil { // in the middle of it
		t.Errorf("Run returned %v", err)
	}
	close(over)
	running.Wait()

	if c, d := told.connected.Load(), told.disconnected.Load(); c != d || c == 0 {
		t.Errorf("when Run had returned there had been %d Connected and %d Disconnected", c, d)
	}
	eventually(t, "the number of users is told to be 0", func() bool { return told.count.Load() == 0 && users.Count() == 0 })
	size, calm := 0, 0
	eventually(t, "nothing more is written down", func() bool {
		calm++
		if n := users.Len(); n != size {
			size, calm = n, 0
		}
		return calm > 20
	})
	users.AtRest()
	closing, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := users.Close(closing); err != nil {
		t.Errorf("closing the manager: %v", err)
	}
	if err := users.Check(); err != nil {
		t.Error(err)
	}
	t.Logf("%d connections, %d sessions, %d messages answered", st.dialled.Load(), told.connected.Load(), st.answered.Load())
	goleak.VerifyNone(t, before)
}

const talk uint16 = 4 // is answered, and written down

func stormUser() string { return fmt.Sprint("user", rand.N(stormUsers)) }

type stormer struct {
	server   *server
	over     <-chan struct{}
	sessions sync.Map // user to the session that was last theirs

	dialled, answered atomic.Int64
}

// pause waits up to twice d and reports whether the storm goes on.
func (st *stormer) pause(d time.Duration) bool {
	select {
	case <-st.over:
		return false
	case <-time.After(rand.N(2 * d)):
		return true
	}
}

// client logs on again and again. What becomes of it is for the contract to judge.
func (st *stormer) client() {
	for st.pause(stormPause) {
		c, err := dialRaw(st.server.addr())
		if err != nil {
			continue // the engine has stopped
		}
		st.dialled.Add(1)
		st.visit(c)
		c.conn.Close()
	}
}

func (st *stormer) visit(c *rawClient) {
	user := stormUser()
	fields := []string{}
	if last, ok := st.sessions.Load(user); ok && rand.N(3) == 0 {
		fields = []string{protocol.FieldSession, last.(string)}
	}
	if rand.N(20) == 0 {
		_ = c.write(logonMessage(user)) // and gone before the answer
		return
	}
	reply, err := c.tryLogOn(user, fields...)
	if err != nil {
		return
	}
	st.sessions.Store(user, reply[protocol.FieldSession])
	for i := range uint32(rand.N(8)) {
		if c.write(&protocol.Message{Type: talk, ID: 2*i + 1, Body: []byte("hello")},
			&protocol.Message{Type: talk, ID: 2*i + 2}) != nil || !st.await(c, 2*i+2) || !st.pause(5*time.Millisecond) {
			return
		}
	}
	switch rand.N(6) {
	case 0:
		_ = c.write(&protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.ClientClosed})})
		st.await(c, 0)
	case 1:
		_, _ = c.conn.Write([]byte("garbage"))
		st.await(c, 0)
	case 2:
		_ = c.conn.(*net.TCPConn).SetLinger(0)
	case 3: // with answers under way
		_ = c.write(&protocol.Message{Type: talk, ID: 1}, &protocol.Message{Type: talk, ID: 2})
	case 4: // until it is pushed out, kicked or found silent
		st.await(c, 0)
	}
}

// await reads until the reply with this ID has come, and reports whether it has; 0 reads until the end.
func (st *stormer) await(c *rawClient, id uint32) bool {
	for {
		m, err := c.read()
		if err != nil {
			return false
		}
		if m.Type == talk && m.IsReply() {
			st.answered.Add(1)
			if m.ID == id {
				return true
			}
		}
	}
}
