//go:build linux

// Package users measures the user manager alone: no engine, no sockets, links that do nothing.
package users

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/stats"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Settings say what to measure.
type Settings struct {
	Users             int
	Pairs             int           // of look-ups in the manager and in a sync.Map
	HeartbeatInterval time.Duration // how often silence is looked for
	HeartbeatTimeout  time.Duration // a third of it is how often every user beats
	HeartbeatFor      time.Duration // how long the heartbeat's CPU time is measured, after one timeout; 0 for not at all
}

// Figures are what was found. Times are nanoseconds an operation, on one goroutine.
type Figures struct {
	Register, Unregister float64
	LookUp, SyncMapLoad  float64         // IsOnline, of everybody in random order
	LookUpRatio          stats.Quartiles // to SyncMapLoad, of runs that alternated
	Links                float64         // of everybody in random order
	Beat, BeatAll        float64         // of one session again and again; of everybody in random order
	Count, CountAll      float64         // Received, in the same two ways
	Iterate              float64         // Users, a user
	Page                 float64         // UserPage by cursor, a hundred a page, a user
	BytesPerUser         float64         // heap, with the session; without the link and the ID's text
	HeartbeatCPU         float64         // of the checker and the manager's clock, in percent of a core
}

// Measure measures. It is a process's only business: it counts the heap and the CPU time of all.
func Measure(s Settings) (Figures, error) {
	c := newCrowd(s.Users)
	var f Figures
	if err := f.comeAndGo(c); err != nil {
		return f, err
	}
	m := newManager(time.Second, time.Hour)
	before := process.Heap()
	sessions, err := c.register(m)
	if err != nil {
		return f, err
	}
	f.BytesPerUser = (process.Heap() - before) / float64(s.Users)
	f.lookUps(s, c, m)
	if err := f.pages(m, s.Users); err != nil {
		return f, err
	}
	f.messages(sessions)
	if err := closeAll(m, s.Users); err != nil || s.HeartbeatFor <= 0 {
		return f, err
	}
	m = newManager(s.HeartbeatInterval, s.HeartbeatTimeout)
	if sessions, err = c.register(m); err != nil {
		return f, err
	}
	f.HeartbeatCPU = heartbeatCPU(s, sessions)
	return f, closeAll(m, s.Users)
}

// newManager returns a manager whose events are subscribed to, as every server's are.
func newManager(interval, timeout time.Duration) *usermgr.Manager {
	m, err := usermgr.New(usermgr.Config{HeartbeatTimeout: timeout, HeartbeatCheckInterval: interval})
	if err != nil {
		panic(err)
	}
	m.Subscribe(usermgr.Events{
		Connected:    func(usermgr.SessionInfo) {},
		Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) {},
	})
	return m
}

// closeAll ends a measurement, which must not have lost a user.
func closeAll(m *usermgr.Manager, users int) error {
	if n := m.Count(); n != users {
		return fmt.Errorf("%d of %d users are left: some fell silent while they were measured", n, users)
	}
	return m.Close(context.Background())
}

// crowd is a number of users in random order, not in the order of their memory.
type crowd struct {
	ids   []string
	links []link
	order []int
}

type link struct{ conn uint64 }

func (l *link) Address() usermgr.Address {
	return usermgr.Address{Conn: l.conn, Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1), Via: "tcp"}
}
func (l *link) Quiesce(done func()) { done() }
func (l *link) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

func newCrowd(n int) *crowd {
	c := &crowd{ids: make([]string, n), links: make([]link, n)}
	for i := range n {
		c.ids[i] = fmt.Sprintf("user%08d", i)
		c.links[i].conn = uint64(i + 1)
	}
	c.order = rand.New(rand.NewPCG(1, 2)).Perm(n)
	return c
}

// register brings all users online. The sessions are in the crowd's order.
func (c *crowd) register(m *usermgr.Manager) ([]usermgr.Session, error) {
	sessions := make([]usermgr.Session, len(c.ids))
	for i, id := range c.ids {
		s, err := m.Register(context.Background(), usermgr.Logon{UserID: id, Address: c.links[i].Address()}, &c.links[i])
		if err != nil {
			return nil, err
		}
		sessions[i] = s
	}
	shuffled := make([]usermgr.Session, len(sessions))
	for i, at := range c.order {
		shuffled[i] = sessions[at]
	}
	return shuffled, nil
}

// atLeast is the lowest number of operations that are timed.
const atLeast = 1_000_000

// each returns the time of do, which does n operations, an operation.
func each(n int, do func()) float64 {
	rounds := max(atLeast/n, 1)
	start := time.Now()
	for range rounds {
		do()
	}
	return float64(time.Since(start)) / float64(rounds*n)
}

// comeAndGo times logons and their ends, in managers of their own.
func (f *Figures) comeAndGo(c *crowd) error {
	n := len(c.ids)
	rounds := max(100_000/n, 1)
	var coming, going time.Duration
	for range rounds {
		m := newManager(time.Second, time.Hour)
		start := time.Now()
		if _, err := c.register(m); err != nil {
			return err
		}
		coming += time.Since(start)
		start = time.Now()
		if err := unregisterAll(m, c); err != nil {
			return err
		}
		going += time.Since(start)
		if err := m.Close(context.Background()); err != nil {
			return err
		}
	}
	f.Register = float64(coming) / float64(rounds*n)
	f.Unregister = float64(going) / float64(rounds*n)
	return nil
}

// unregisterAll asks for the end of everybody, a thousand at a time, and waits for it.
func unregisterAll(m *usermgr.Manager, c *crowd) error {
	const atATime = 1000
	waits := make([]usermgr.Wait, 0, atATime)
	for from := 0; from < len(c.order); from += atATime {
		waits = waits[:0]
		for _, i := range c.order[from:min(from+atATime, len(c.order))] {
			wait, err := m.Kick(c.ids[i], nil)
			if err != nil {
				return err
			}
			waits = append(waits, wait)
		}
		for _, wait := range waits {
			if _, err := wait(context.Background()); err != nil {
				return err
			}
		}
	}
	if left := m.Count(); left != 0 {
		return fmt.Errorf("%d users are left", left)
	}
	return nil
}

// lookUps times the questions that are asked for every message that is relayed.
func (f *Figures) lookUps(s Settings, c *crowd, m *usermgr.Manager) {
	var reference sync.Map
	for i, id := range c.ids {
		reference.Store(id, &c.links[i])
	}
	var ours, theirs []float64
	n := len(c.ids)
	for range s.Pairs {
		ours = append(ours, each(n, func() {
			for _, i := range c.order {
				m.IsOnline(c.ids[i])
			}
		}))
		theirs = append(theirs, each(n, func() {
			for _, i := range c.order {
				reference.Load(c.ids[i])
			}
		}))
	}
	f.LookUp, f.SyncMapLoad = stats.Of(ours).Median, stats.Of(theirs).Median
	f.LookUpRatio = stats.Ratios(ours, theirs)
	f.Links = each(n, func() {
		for _, i := range c.order {
			m.Links(c.ids[i])
		}
	})
	f.Iterate = each(n, func() {
		for range m.Users() {
		}
	})
}

// pages times a listing of all users by pages.
func (f *Figures) pages(m *usermgr.Manager, n int) error {
	listed, rounds := 0, max(100_000/n, 1)
	var err error
	start := time.Now()
	for range rounds {
		var q usermgr.PageQuery
		for more := true; more && err == nil; more = q.Cursor != "" {
			var p usermgr.Page[usermgr.UserData]
			p, err = m.UserPage(q)
			listed, q.Cursor = listed+len(p.Items), p.Next
		}
	}
	f.Page = float64(time.Since(start)) / float64(rounds*n)
	if err == nil && listed != rounds*n {
		err = fmt.Errorf("pages have %d users, of %d", listed, rounds*n)
	}
	return err
}

// messages times what the engine tells a session for every read and write.
func (f *Figures) messages(sessions []usermgr.Session) {
	n := len(sessions)
	one := sessions[0]
	f.Beat = each(atLeast, func() {
		for range atLeast {
			one.Beat()
		}
	})
	f.Count = each(atLeast, func() {
		for range atLeast {
			one.Received(wire.MessageType, 1, 64)
		}
	})
	f.BeatAll = each(n, func() {
		for _, s := range sessions {
			s.Beat()
		}
	})
	f.CountAll = each(n, func() {
		for _, s := range sessions {
			s.Received(wire.MessageType, 1, 64)
		}
	})
}

// heartbeatCPU has every user beat three times a timeout, and returns what the process uses apart from the thread that
// sends the beats.
func heartbeatCPU(s Settings, sessions []usermgr.Session) (percent float64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nothing is allocated, so there is nothing to collect
	const portions = 50
	beat := time.NewTicker(s.HeartbeatTimeout / 3 / portions)
	defer beat.Stop()
	at := 0
	beatFor := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); at++ {
			<-beat.C
			for i := at % portions; i < len(sessions); i += portions {
				sessions[i].Beat()
			}
		}
	}
	beatFor(s.HeartbeatTimeout) // until the first deadlines have passed the wheel has nothing to do
	before, start := othersCPU(), time.Now()
	beatFor(s.HeartbeatFor)
	return 100 * float64(othersCPU()-before) / float64(time.Since(start))
}

// othersCPU is the processor time of all threads but this one.
func othersCPU() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano()+r.Stime.Nano()) - process.ThreadCPU().Total()
}
