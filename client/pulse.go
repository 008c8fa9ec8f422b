package client

import (
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// pulse knows when a heartbeat is due. Only the goroutine that writes uses it.
type pulse struct {
	cn       *conn
	sent     time.Duration // when bytes were last written
	asked    time.Duration // when the server was last asked to answer
	askAfter time.Duration // how long the server may be silent before it is asked
	due      time.Duration // when beat should have been called
	resumed  time.Duration // when this process went on after a standstill; 0 for no standstill
}

// standstill is the least delay of a beat that counts as a standstill of the process.
const standstill = 250 * time.Millisecond

func newPulse(cn *conn) *pulse {
	return &pulse{cn: cn, sent: cn.now(), askAfter: (cn.serverTimeout + 2) / 3}
}

// heard returns when the server was last heard. Time in which the client did not read counts as heard.
func (p *pulse) heard(now time.Duration) time.Duration {
	if p.cn.paused.Load() {
		return now
	}
	return max(time.Duration(p.cn.heard.Load()), p.excused())
}

// excused returns the time up to which the server's silence does not count. After a standstill the server has a third
// of its timeout left: the client reads the bytes that have come, and asks at once.
func (p *pulse) excused() time.Duration {
	if p.resumed == 0 {
		return 0
	}
	return p.resumed - 2*p.askAfter
}

// stoodStill notes a late beat. It counts once for each server timeout, so that a machine that is always late finds a
// dead server too.
func (p *pulse) stoodStill(now time.Duration) {
	if now-p.due >= standstill && (p.resumed == 0 || now-p.resumed >= p.cn.serverTimeout) {
		p.resumed = now
	}
}

// wait returns the time until the next beat is due.
func (p *pulse) wait(now time.Duration) time.Duration {
	ask := max(p.heard(now), p.asked) + p.askAfter
	p.due = max(min(p.sent+p.cn.interval, ask), now)
	return p.due - now
}

// beat queues a heartbeat if one is due. It returns an error when the server has been silent for too long after it was
// asked to answer. When it was asked much longer ago than it should be, beat asks again: this process was stopped or
// too busy, and the answer may have come but be unread.
func (p *pulse) beat(now time.Duration) error {
	p.stoodStill(now)
	heard := p.heard(now)
	ask := now-max(heard, p.asked) >= p.askAfter
	if ask && now-heard >= p.cn.serverTimeout && now-p.asked < 2*p.askAfter {
		return networkError(fmt.Errorf("the server has been silent for %v", (now - heard).Round(time.Millisecond)))
	}
	if !ask && now-p.sent < p.cn.interval {
		return nil
	}
	m := protocol.Message{Type: protocol.TypeHeartbeat}
	if ask {
		p.cn.mu.Lock()
		m.ID = p.cn.nextID()
		p.cn.mu.Unlock()
		p.asked = now
	}
	p.cn.post(&m)
	return nil
}
