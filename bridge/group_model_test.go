package bridge_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

var groupSeeds = flag.Int("group-seeds", 3, "seeds of TestGroupModel")

// span is when something was done, by the model's clock.
type span struct{ begun, ended uint64 }

// groupModel is a group, users who come and go, and what was sent to them.
type groupModel struct {
	*server
	t     *testing.T
	group *bridge.Group
	clock atomic.Uint64

	mu    sync.Mutex
	sends []span // of the message with this number
}

// send sends the next message to the group.
func (w *groupModel) send() {
	w.mu.Lock()
	id := len(w.sends)
	w.sends = append(w.sends, span{})
	w.mu.Unlock()
	at := span{begun: w.clock.Add(1)}
	if _, err := w.group.Send(push, binary.BigEndian.AppendUint64(nil, uint64(id))); err != nil {
		w.t.Error(err)
	}
	at.ended = w.clock.Add(1)
	w.mu.Lock()
	w.sends[id] = at
	w.mu.Unlock()
}

// groupClient is a session, and what it has received.
type groupClient struct {
	*rawClient
	got    []uint64
	echoed chan struct{}
	ended  chan struct{}
}

func (w *groupModel) connect(user string) *groupClient {
	raw, err := dialRaw(w.addr())
	if err != nil {
		w.t.Fatal(err)
	}
	c := &groupClient{rawClient: raw, echoed: make(chan struct{}), ended: make(chan struct{})}
	if _, err := raw.tryLogOn(user); err != nil {
		w.t.Errorf("%s cannot log on: %v", user, err)
	}
	go func() {
		defer close(c.ended)
		for {
			m, err := raw.read()
			if err != nil {
				_ = raw.conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, raw.conn)
				return
			}
			switch m.Type {
			case push:
				c.got = append(c.got, binary.BigEndian.Uint64(m.Body))
			case echo:
				c.echoed <- struct{}{}
			}
		}
	}()
	return c
}

// settle waits until the client has what was queued for it before.
func (c *groupClient) settle() error {
	if err := c.write(&protocol.Message{Type: echo, ID: 1}); err != nil {
		return err
	}
	select {
	case <-c.echoed:
		return nil
	case <-c.ended:
		return io.EOF
	}
}

func (c *groupClient) close() {
	_ = c.conn.(*net.TCPConn).CloseWrite()
	<-c.ended
	_ = c.conn.Close()
}

// groupUser is a user who comes and goes, and what is known of the user's times.
type groupUser struct {
	*groupModel
	name    string
	random  *rand.Rand
	client  *groupClient // now, or nil
	clients []*groupClient
	member  bool
	since   uint64
	in, out []span // when the user was a member for sure, with a session; and when certainly not
}

// change ends the span in which the user was a member, or was none.
func (u *groupUser) change(member bool, do func()) {
	s := span{u.since, u.clock.Add(1)}
	if u.member {
		u.in = append(u.in, s)
	} else {
		u.out = append(u.out, s)
	}
	do()
	u.member, u.since = member, u.clock.Add(1)
}

func (u *groupUser) step() {
	switch n := u.random.IntN(10); {
	case u.client == nil:
		u.client = u.connect(u.name)
		u.clients = append(u.clients, u.client)
	case n < 2 && !u.member:
		u.change(true, func() {
			if err := u.group.Join(bridge.Member{UserID: u.name}); err != nil {
				u.t.Errorf("%s cannot join: %v", u.name, err)
			}
		})
	case n < 2:
		u.change(false, func() {
			if !u.group.Leave(bridge.Member{UserID: u.name}) {
				u.t.Errorf("%s was no member", u.name)
			}
		})
	case n < 5: // the user logs on again
		old := u.client
		u.client = u.connect(u.name)
		u.clients = append(u.clients, u.client)
		<-old.ended
		_ = old.conn.Close()
	case n == 5:
		u.change(false, u.goOffline)
	default: // the client has a loop send
		if err := u.client.write(&protocol.Message{Type: 4}); err != nil {
			u.t.Error(err)
		}
		if err := u.client.settle(); err != nil {
			u.t.Errorf("%s: %v", u.name, err)
		}
	}
}

func (u *groupUser) goOffline() {
	if err := u.client.settle(); err != nil {
		u.t.Errorf("%s: %v", u.name, err)
	}
	u.client.close()
	u.client = nil
	if !testkit.ComesTrue(patience, func() bool {
		return !u.users.IsOnline(u.name) && !slices.Contains(u.group.Members(), bridge.Member{UserID: u.name})
	}) {
		u.t.Errorf("%s is a member still", u.name)
	}
}

// Rule 28: whatever users do, and however many goroutines and event loops send, each member gets the group's messages in the one
// order, each once: all that are sent while the user is a member, over logging on again too, and none of the others.
func TestGroupModel(t *testing.T) {
	for seed := range uint64(*groupSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runGroupModel(t, seed) })
	}
}

func runGroupModel(t *testing.T, seed uint64) {
	s := newServer(t, options{engine: engine.Config{Loops: 2, Workers: int(seed % 2 * 3)},
		users: usermgr.Config{}, bridge: bridge.Config{RelogonBurst: -1}})
	w := &groupModel{server: s, t: t, group: s.bridge.Group("room")}
	s.engine.Handle(4, func(*engine.Conn, *protocol.Message) error { w.send(); return nil })
	s.start()
	witness := w.connect("witness")
	if err := w.group.Join(bridge.Member{UserID: "witness"}); err != nil {
		t.Fatal(err)
	}
	users := make([]*groupUser, 6)
	var acting, sending sync.WaitGroup
	for i := range users {
		u := &groupUser{groupModel: w, name: fmt.Sprint("user-", i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		users[i] = u
		acting.Go(func() {
			for range 40 {
				u.step()
			}
			u.change(false, func() {
				if u.client != nil {
					u.goOffline()
				}
			})
		})
	}
	done := make(chan struct{})
	for range 2 {
		sending.Go(func() {
			for ; ; time.Sleep(200 * time.Microsecond) {
				select {
				case <-done:
					return
				default:
					w.send()
				}
			}
		})
	}
	acting.Wait()
	close(done)
	sending.Wait()
	if err := witness.settle(); err != nil {
		t.Fatal(err)
	}
	witness.close()
	if groups, members := s.bridge.Groups(); groups != 0 || members != 0 {
		eventually(t, "nothing is kept", func() bool { g, m := s.bridge.Groups(); return g == 0 && m == 0 })
	}
	w.check(witness.got, users)
}

// check looks at what was received. The witness was a member all the time.
func (w *groupModel) check(order []uint64, users []*groupUser) {
	place := make(map[uint64]int)
	for i, id := range order {
		if _, twice := place[id]; twice {
			w.t.Errorf("rule 28: the witness has message %d twice", id)
		}
		place[id] = i
	}
	if len(place) != len(w.sends) {
		w.t.Errorf("rule 28: the witness has %d messages of %d", len(place), len(w.sends))
	}
	mustHave, mustNot := 0, 0
	for _, u := range users {
		has := make(map[uint64]bool)
		for _, c := range u.clients {
			last := -1
			for _, id := range c.got {
				if p := place[id]; p <= last {
					w.t.Errorf("rule 28: %s has message %d, which is %d in order, after %d", u.name, id, p, last)
				} else {
					last = p
				}
				has[id] = true
			}
		}
		within := func(spans []span, want bool) (n int) {
			for _, s := range spans {
				for id, sent := range w.sends {
					if sent.begun > s.begun && sent.ended < s.ended {
						n++
						if has[uint64(id)] != want {
							w.t.Errorf("rule 28: %s, a member: %v, has message %d: %v", u.name, want, id, !want)
						}
					}
				}
			}
			return n
		}
		mustHave += within(u.in, true)
		mustNot += within(u.out, false)
	}
	if mustHave == 0 || mustNot == 0 {
		w.t.Errorf("the model was sure of %d messages that came and %d that did not: it looks at nothing", mustHave, mustNot)
	}
	w.t.Logf("%d messages; %d came for sure, %d did not", len(w.sends), mustHave, mustNot)
}
