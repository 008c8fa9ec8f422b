//go:build linux

package load

import (
	"fmt"
	"time"
)

// batch is how many messages are sent at most before the answers are looked at.
const batch = 64

// OpenLoop sends rate messages a second, round robin, whether or not those before are answered. A message's latency runs
// from the moment at which it was to be sent, not from that at which it was: when the server (or the generator) stalls,
// the messages that had to wait for it count with their wait (this is the correction for coordinated omission).
// It calls record for every message after the warm-up: when it was to be sent, from the end of the warm-up, and its latency.
// The generator does not sleep meanwhile.
func (g *Group) OpenLoop(rate float64, warmUp, d time.Duration, record func(due, took time.Duration)) (Result, error) {
	start := time.Now()
	m := meter{group: g, from: start.Add(warmUp), length: d}
	gap := float64(time.Second) / rate
	next, due := 0, time.Duration(0)
	for over := false; !over || g.got < g.sent; {
		now := time.Now()
		over = over || m.done(now)
		if now.Sub(start) > warmUp+d+drainPatience {
			return Result{}, fmt.Errorf("%v has left %d messages unanswered", g.server, g.sent-g.got)
		}
		for n := 0; !over && due <= now.Sub(start) && n < batch; n++ {
			c := &g.conns[next%len(g.conns)]
			c.due.push(due)
			if err := g.ask(c, 1); err != nil {
				return Result{}, err
			}
			next++
			due = time.Duration(float64(next) * gap)
		}
		for _, e := range g.poller.wait(0) {
			c := &g.conns[e.Fd]
			answered, err := g.receive(c)
			if err != nil {
				return Result{}, err
			}
			came := time.Since(start)
			for range answered {
				if due := c.due.pop(); due >= warmUp {
					record(due-warmUp, came-due)
				}
			}
			if err := g.send(c); err != nil {
				return Result{}, err
			}
		}
	}
	return m.result, nil
}

// ring is a queue of when the messages under way were to be sent.
type ring struct {
	buf        []time.Duration
	head, size int
}

func (r *ring) push(d time.Duration) {
	if r.size == len(r.buf) {
		bigger := make([]time.Duration, max(2*len(r.buf), 16))
		for i := range r.size {
			bigger[i] = r.buf[(r.head+i)%len(r.buf)]
		}
		r.buf, r.head = bigger, 0
	}
	r.buf[(r.head+r.size)%len(r.buf)] = d
	r.size++
}

func (r *ring) pop() time.Duration {
	d := r.buf[r.head]
	r.head = (r.head + 1) % len(r.buf)
	r.size--
	return d
}
