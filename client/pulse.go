package client

import (
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// pulse knows when a heartbeat is due. It belongs to the goroutine that writes.
type pulse struct {
	cn       *conn
	sent     time.Duration // when bytes were last written
	asked    time.Duration // when the server was last asked to answer
	askAfter time.Duration // how long the server may be silent before it is asked
	due      time.Duration // when beat was to be called
	resumed  time.Duration // when this process went on after it had stood still; 0 when it never has
}

// standstill is how late a beat must come for the process to have stood still.
const standstill = 250 * time.Millisecond

func newPulse(cn *conn) *pulse {
	return &pulse{cn: cn, sent: cn.now(), askAfter: (cn.serverTimeout + 2) / 3}
}

// heard returns when the server was last heard, as far as the client listened.
func (p *pulse) heard(now time.Duration) time.Duration {
	if p.cn.paused.Load() {
		return now
	}
	return max(time.Duration(p.cn.heard.Load()), p.excused())
}

// excused returns up to when the server's silence does not count. After a standstill a third of its time is left: what it has
// sent meanwhile is read first, and it is asked at once.
func (p *pulse) excused() time.Duration {
	if p.resumed == 0 {
		return 0
	}
	return p.resumed - 2*p.askAfter
}

// stoodStill notes a beat that comes late. One excuse must do for as long as the server may be silent: a machine that is always
// late finds a dead server too.
func (p *pulse) stoodStill(now time.Duration) {
	if now-p.due >= standstill && (p.resumed == 0 || now-p.resumed >= p.cn.serverTimeout) {
		p.resumed = now
	}
}

// wait returns how long nothing is due.
func (p *pulse) wait(now time.Duration) time.Duration {
	ask := max(p.heard(now), p.asked) + p.askAfter
	p.due = max(min(p.sent+p.cn.interval, ask), now)
	return p.due - now
}

// beat queues a heartbeat if one is due. It returns an error when the server has been silent for too long, though it was
// asked to answer. Where that was much longer ago than it should be it is asked again: this process was stopped, or too
// busy, and the answer may be there, unread.
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
