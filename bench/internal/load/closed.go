//go:build linux

package load

import (
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/process"
)

// Saturate keeps inFlight messages under way on every connection: each answer is followed by another message. What
// happens in d, after a warm-up, is the result; then it waits until all is answered.
func (g *Group) Saturate(inFlight int, warmUp, d time.Duration) (Result, error) {
	m := meter{group: g, from: time.Now().Add(warmUp), length: d}
	for i := range g.conns {
		if err := g.ask(&g.conns[i], inFlight); err != nil {
			return Result{}, err
		}
	}
	for !m.done(time.Now()) {
		for _, e := range g.poller.wait(maxWait) {
			c := &g.conns[e.Fd]
			answered, err := g.receive(c)
			if err != nil {
				return Result{}, err
			}
			if err := g.ask(c, answered); err != nil {
				return Result{}, err
			}
		}
	}
	return m.result, g.drain()
}

// ask sends n messages more on a connection, and what it still owes.
func (g *Group) ask(c *conn, n int) error {
	g.sent += n
	c.owed += n * g.unit
	return g.send(c)
}

// meter measures the part of a run that lies between two moments.
type meter struct {
	group  *Group
	from   time.Time
	length time.Duration

	began  time.Time // zero before from
	before Result
	result Result
}

// done reports whether the measured part is over, and takes the measurements at its ends.
func (m *meter) done(now time.Time) bool {
	switch {
	case m.began.IsZero():
		if !now.Before(m.from) {
			m.before = m.group.reading()
			m.began = time.Now()
		}
	case now.Sub(m.began) >= m.length:
		end := m.group.reading()
		m.result = Result{Messages: end.Messages - m.before.Messages, Elapsed: time.Since(m.began),
			Server: end.Server.Sub(m.before.Server), Generator: end.Generator.Sub(m.before.Generator)}
		return true
	}
	return false
}

// reading has the counts and the CPU time until now.
func (g *Group) reading() Result {
	return Result{Messages: g.got, Server: g.server.CPU(), Generator: process.ThreadCPU()}
}

// EachOnce sends one message over every connection, and waits for the answers.
func (g *Group) EachOnce() error {
	for i := range g.conns {
		if err := g.ask(&g.conns[i], 1); err != nil {
			return err
		}
	}
	return g.drain()
}
