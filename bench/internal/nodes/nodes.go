//go:build linux

// Package nodes measures what a cluster adds to a logon: user managers without engines, links that do nothing, a real redis-server.
package nodes

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/histogram"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Settings say what to measure.
type Settings struct {
	Redis string // the server's address
	Nodes int
	Users int           // who are online when their bytes are counted
	For   time.Duration // of each measurement that takes a time

	// Of MeasureBytes.
	Sessions int  // of each user, of different device classes
	Token    bool // each logon has one
	IDSize   int  // bytes of a user's ID; at least 13
}

// Spread is how long something took.
type Spread struct{ P50, P99 time.Duration }

// Figures are what was found. Operations are calls of the store's functions.
type Figures struct {
	RoundTrip     Spread  // of a PING, one at a time
	Logon         Spread  // of a user who is nowhere else, one at a time
	LogonOps      float64 // of such a logon
	LogonsPerS    float64 // 64 under way
	EndOps        float64 // of a session's end
	ReplaceOps    float64 // of a logon that replaces a session at another node, the end of that session included
	Replace       Spread  // one at a time
	ReplaceAtRate Spread  // at Rate, from when it was due
	BytesPerUser  float64 // in the server, with the text of the ID, 13 bytes
	BytesOnNode   float64 // of a user in the heap of the node, with the session and the text of the ID
	BytesAlone    float64 // the same of a user manager that is no node
	LeaseOps      float64 // calls a second a node, nothing else going on
	StoreCPU      float64 // µs of the server's processor time a logon, 64 under way
}

// Rate is the rate of replacements of Figures.ReplaceAtRate, a second.
const Rate = 2000

// Measure measures. The server must be empty.
func Measure(s Settings) (f Figures, err error) {
	err = run(s, func(w *world) error {
		steps := []func(Settings) error{f.leases(w), f.roundTrips(w), f.fresh(w), f.storm(w), f.replacements(w), f.bytes(w)}
		for _, step := range steps {
			if err := step(s); err != nil {
				return err
			}
		}
		return nil
	})
	return f, err
}

// MeasureBytes returns what a user takes of the server. The server must be empty.
func MeasureBytes(s Settings) (perUser float64, err error) {
	err = run(s, func(w *world) error {
		perUser, err = w.taken(s.Users, func() error {
			return parallel(64, func(g int) error {
				for i := g; i < s.Users*s.Sessions; i += 64 {
					l := usermgr.Logon{UserID: fmt.Sprintf("user%0*d", s.IDSize-len("user"), i/s.Sessions), Device: uint16(i % s.Sessions)}
					if s.Token {
						l.Token = fmt.Sprint("token", i)
					}
					if _, err := w.logOnAs(w.nodes[i%len(w.nodes)].users, l); err != nil {
						return err
					}
				}
				return nil
			})
		})
		return err
	})
	return perUser, err
}

// run does something in a new cluster.
func run(s Settings, do func(w *world) error) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	w := &world{ctx: ctx}
	if w.redis, err = dial(s.Redis); err != nil {
		return err
	}
	defer w.redis.Close()
	for i := range s.Nodes {
		n, err := w.start(s, fmt.Sprintf("node-%d", i), &running)
		if err != nil {
			return err
		}
		w.nodes = append(w.nodes, n)
	}
	for _, n := range w.nodes {
		if err := n.Joined(ctx); err != nil {
			return err
		}
	}
	return do(w)
}

func spread(h *histogram.Histogram) Spread { return Spread{h.Percentile(50), h.Percentile(99)} }

// leases waits in whole renewals, five of them at least.
func (f *Figures) leases(w *world) func(Settings) error {
	return func(s Settings) error {
		length := max(s.For, 20*time.Second)
		calls, err := w.during(func() error {
			time.Sleep(length)
			return nil
		})
		f.LeaseOps = calls / length.Seconds() / float64(s.Nodes)
		return err
	}
}

func (f *Figures) roundTrips(w *world) func(Settings) error {
	return func(s Settings) error {
		var h histogram.Histogram
		for end := time.Now().Add(s.For); time.Now().Before(end); {
			began := time.Now()
			if err := w.redis.Do(w.ctx, w.redis.B().Ping().Build()).Error(); err != nil {
				return err
			}
			h.Record(time.Since(began))
		}
		f.RoundTrip = spread(&h)
		return nil
	}
}

// fresh times logons of users who are nowhere else, and counts what their sessions' ends cost.
func (f *Figures) fresh(w *world) func(Settings) error {
	return func(s Settings) error {
		var h histogram.Histogram
		n, a := 0, w.nodes[0]
		calls, err := w.during(func() error {
			for end := time.Now().Add(s.For); time.Now().Before(end); n++ {
				began := time.Now()
				if _, err := w.logOn(a.users, userID(n)); err != nil {
					return err
				}
				h.Record(time.Since(began))
			}
			return nil
		})
		if err != nil {
			return err
		}
		f.Logon, f.LogonOps = spread(&h), calls/float64(n)
		calls, err = w.during(func() error { return w.clear(a) })
		f.EndOps = calls / float64(n)
		return err
	}
}

// storm logs on as fast as 64 at a time go.
func (f *Figures) storm(w *world) func(Settings) error {
	return func(s Settings) error {
		before, err := w.cpu()
		if err != nil {
			return err
		}
		var next atomic.Int64
		began := time.Now()
		end := began.Add(s.For)
		if err := parallel(64, func(int) error {
			for time.Now().Before(end) {
				n := int(next.Add(1))
				if _, err := w.logOn(w.nodes[n%len(w.nodes)].users, userID(n)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		n := float64(next.Load())
		f.LogonsPerS = n / time.Since(began).Seconds()
		after, err := w.cpu()
		if err != nil {
			return err
		}
		f.StoreCPU = (after - before) * 1e6 / n
		return w.clear(w.nodes...)
	}
}

// replacements has each user go from one node to the next.
func (f *Figures) replacements(w *world) func(Settings) error {
	return func(s Settings) error {
		var h histogram.Histogram
		n := 0
		if _, err := w.logOn(w.nodes[0].users, userID(0)); err != nil {
			return err
		}
		calls, err := w.during(func() error {
			for end := time.Now().Add(s.For); time.Now().Before(end); {
				n++
				began := time.Now()
				if _, err := w.logOn(w.nodes[n%len(w.nodes)].users, userID(0)); err != nil {
					return err
				}
				h.Record(time.Since(began))
			}
			return nil
		})
		if err != nil {
			return err
		}
		f.Replace, f.ReplaceOps = spread(&h), calls/float64(n)
		return f.atRate(w, s)
	}
}

// atRate has users move at a fixed rate, whatever the moves before take.
func (f *Figures) atRate(w *world, s Settings) error {
	const users = 1000
	for i := range users {
		if _, err := w.logOn(w.nodes[0].users, userID(i)); err != nil {
			return err
		}
	}
	var (
		mu   sync.Mutex
		h    histogram.Histogram
		errs = make(chan error, 1)
		all  sync.WaitGroup
	)
	began := time.Now()
	for i := range int(s.For.Seconds() * Rate) {
		due := began.Add(time.Duration(i) * time.Second / Rate)
		time.Sleep(time.Until(due))
		all.Go(func() {
			_, err := w.logOn(w.nodes[(1+i/users)%len(w.nodes)].users, userID(i%users))
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			h.Record(took)
			if err != nil {
				select {
				case errs <- err:
				default:
				}
			}
		})
	}
	all.Wait()
	f.ReplaceAtRate = spread(&h)
	select {
	case err := <-errs:
		return err
	default:
		return w.clear(w.nodes...)
	}
}

// bytes counts what the server holds for a user.
func (f *Figures) bytes(w *world) func(Settings) error {
	return func(s Settings) error {
		var err error
		if f.BytesPerUser, err = w.taken(s.Users, func() (err error) {
			f.BytesOnNode, err = w.fill(s.Users, func(i int) *usermgr.Manager { return w.nodes[i%len(w.nodes)].users })
			return err
		}); err != nil {
			return err
		}
		alone, err := usermgr.New(usermgr.Config{HeartbeatTimeout: -1})
		if err != nil {
			return err
		}
		if f.BytesAlone, err = w.fill(s.Users, func(int) *usermgr.Manager { return alone }); err != nil {
			return err
		}
		return alone.Close(w.ctx)
	}
}
