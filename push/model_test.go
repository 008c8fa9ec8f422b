package push_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// TestModel runs random programs of pushes to users who drop and return at random moments, on sockets, and holds what their
// clients have handled and what was told against rule 27. ROLLCALL_MODEL_STEPS says how many pushes to make in all.
// ROLLCALL_MODEL_SEED makes the same programs again; the network and the scheduler have no seed.
func TestModel(t *testing.T) {
	pushes := 30_000
	if lighter > 1 {
		pushes /= 3
	}
	if testing.Short() {
		pushes /= 5
	}
	pushes = fromEnv(t, "ROLLCALL_MODEL_STEPS", pushes)
	seed := fromEnv(t, "ROLLCALL_MODEL_SEED", int(rand.Uint32()))
	seen := &sights{}
	for n := 0; n < pushes && !t.Failed(); {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { n += newModel(t, uint64(seed), seen).run() })
		seed++
	}
	t.Log(seen)
	if !t.Failed() && pushes >= 10_000 && seen.missing() {
		t.Errorf("it never came to something of that, so nothing is known of it")
	}
}

func fromEnv(t *testing.T, name string, n int) int {
	if s := os.Getenv(name); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return n
}

// sights counts what happened in all programs together.
type sights struct{ drops, kept, again, expired, refused, unconfirmed atomic.Int64 }

func (s *sights) String() string {
	return fmt.Sprintf("%d drops, %d messages kept, %d sent again, %d expired, %d refused, %d given up on", s.drops.Load(),
		s.kept.Load(), s.again.Load(), s.expired.Load(), s.refused.Load(), s.unconfirmed.Load())
}

func (s *sights) missing() bool {
	return s.drops.Load()*s.kept.Load()*s.again.Load()*s.expired.Load()*s.refused.Load()*s.unconfirmed.Load() == 0
}

// modelBound is how many messages may wait for a user of the model.
const modelBound = 200

// mark is the type of a message that is no push, and is sent when a session has begun: a client that handles it has handled
// what waited for it.
const mark = 7

// model is one program.
type model struct {
	t        *testing.T
	random   *rand.Rand
	seen     *sights
	srv      *rollcalltest.Server
	pushes   *push.Service
	users    []*modelUser
	everyone sender
}

// modelUser is a user, with a client for each device, and a sender of messages to the user.
type modelUser struct {
	sender
	id      string
	clients []*modelClient
}

// sender makes pushes, one after the other, and keeps what was told of them.
type sender struct {
	name string
	mu   sync.Mutex
	sent []*modelPush
}

// modelPush is what the model knows of one push.
type modelPush struct {
	text string
	o    push.Options
	wait bool // it was Push, whose result is all that is told

	mu         sync.Mutex // done comes from another goroutine
	deliveries []push.Delivery
	over       bool // Pending was 0
}

func (m *model) broken(format string, args ...any) {
	m.t.Helper()
	m.t.Errorf("rule 27: "+format, args...)
}

func newModel(t *testing.T, seed uint64, seen *sights) *model {
	m := &model{t: t, random: rand.New(rand.NewPCG(seed, 27)), seen: seen, everyone: sender{name: "everyone"}}
	m.srv = rollcalltest.NewServer(t, rollcall.Config{
		Engine: engine.Config{Accept: engine.Accept{MaxConnections: 1000}},
		Users:  usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}},
	}, func(s *rollcall.Server) {
		m.pushes = push.New(s.Bridge, push.Config{MaxMessages: modelBound})
		s.Users.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) { // behind what waited
			_ = s.Engine.Conn(i.Address.Conn).Send(mark, nil)
		}})
	})
	for i := range 4 {
		u := &modelUser{id: fmt.Sprintf("user-%d", i), sender: sender{name: fmt.Sprint(i)}}
		m.users = append(m.users, u)
		for device := range 1 + i/3 { // the last has two
			u.clients = append(u.clients, m.client(u.id, uint16(device)))
		}
	}
	return m
}

// run runs the program, and returns how many pushes it made.
func (m *model) run() int {
	perUser, drops := 150+m.random.IntN(100), 4+m.random.IntN(6)
	var work sync.WaitGroup
	for _, u := range m.users {
		random := rand.New(rand.NewPCG(m.random.Uint64(), 1))
		work.Go(func() {
			for range perUser {
				m.push(&u.sender, push.ToUsers(u.id), random)
			}
		})
		for _, c := range u.clients {
			random := rand.New(rand.NewPCG(m.random.Uint64(), 2))
			work.Go(func() {
				for range drops {
					takes(random.IntN(5000))
					c.drop(random)
				}
			})
		}
	}
	random := rand.New(rand.NewPCG(m.random.Uint64(), 3))
	work.Go(func() {
		for range perUser / 2 {
			m.push(&m.everyone, push.ToEveryone(), random)
		}
	})
	work.Wait()
	m.settle()
	m.check()
	if !m.t.Failed() {
		m.bound(m.users[0])
		m.expiry(m.users[1])
		m.late(m.users[3])
	}
	m.close()
	return 4*perUser + perUser/2 + modelBound + 13
}

// takes has a step of the program take some microseconds.
func takes(microseconds int) { time.Sleep(time.Duration(microseconds) * time.Microsecond) }

// push makes one push of any kind.
func (m *model) push(s *sender, to push.Target, random *rand.Rand) {
	kinds := []struct {
		wait bool
		o    push.Options
	}{
		{true, push.Options{}},
		{false, push.Options{}},
		{false, push.Options{Confirm: true, Timeout: 30 * time.Millisecond}},
		{false, push.Options{Confirm: true, Keep: time.Hour}},
		{false, push.Options{Confirm: true, First: true, Keep: time.Hour}},
		{false, push.Options{Keep: time.Hour}},
		{true, push.Options{Confirm: true, Timeout: 3 * time.Millisecond}},
		{true, push.Options{Confirm: true, Timeout: 3 * time.Millisecond, Keep: time.Hour}},
	}
	k := kinds[random.IntN(len(kinds))]
	m.make(s, to, k.o, k.wait)
	if random.IntN(4) == 0 {
		takes(random.IntN(300))
	}
}

// make makes one push.
func (m *model) make(s *sender, to push.Target, o push.Options, wait bool) *modelPush {
	s.mu.Lock()
	p := &modelPush{text: fmt.Sprintf("%s %d", s.name, len(s.sent)+1), o: o, wait: wait}
	s.sent = append(s.sent, p)
	s.mu.Unlock()
	if o.Keep > 0 {
		m.seen.kept.Add(1)
	}
	message := push.Text(p.text)
	if wait {
		r, err := m.pushes.Push(context.Background(), to, message, &o)
		if err != nil {
			m.t.Error(err)
		}
		p.deliveries, p.over = r.Deliveries, true
		return p
	}
	m.pushes.Go(to, message, &o, func(r push.Result, err error) {
		if err != nil {
			m.t.Error(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.over {
			m.broken("%q was told once more, after the last: %+v", p.text, r)
		}
		p.deliveries, p.over = append(p.deliveries, r.Deliveries...), r.Pending == 0
	})
	return p
}

// settle waits until everybody is there and nothing waits any more.
func (m *model) settle() {
	rollcalltest.Eventually(m.t, func() bool {
		for _, u := range m.users {
			if len(sessionsOf(m.srv.Users, u.id)) != len(u.clients) {
				return false
			}
		}
		return m.pushes.Stats().Waiting == 0
	}, "rule 27: all that was kept is acknowledged: %v", lazily(func() any { return m.pushes.Describe() }))
	rollcalltest.Eventually(m.t, func() bool { return m.untold() == nil }, "rule 27: every message's outcome is told: %v",
		lazily(func() any { return m.untold() }))
}

// untold returns a message of which not everything was told, or nil.
func (m *model) untold() any {
	for _, p := range m.all() {
		if said := p.untold(); said != nil {
			return said
		}
	}
	return nil
}

func (p *modelPush) untold() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return nil
	}
	return fmt.Sprintf("%q, %+v, has %+v", p.text, p.o, p.deliveries)
}

// lazily is printed as what the function returns then.
type lazily func() any

func (f lazily) String() string { return fmt.Sprint(f()) }

func (m *model) all() (all []*modelPush) {
	for _, u := range m.users {
		all = append(all, u.sent...)
	}
	return append(all, m.everyone.sent...)
}

// close ends the program: nothing is left.
func (m *model) close() {
	for _, u := range m.users {
		for _, c := range u.clients {
			_ = c.c.Close()
			c.end() // what was lost for the client alone would take the server a second to close
		}
	}
	m.srv.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.pushes.Close(ctx); err != nil {
		m.broken("the service did not end: %v", err)
	}
}
