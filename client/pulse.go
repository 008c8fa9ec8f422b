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
}

func newPulse(cn *conn) *pulse {
	return &pulse{cn: cn, sent: cn.now(), askAfter: (cn.serverTimeout + 2) / 3}
}

// heard returns when the server was last heard, as far as the client listened.
func (p *pulse) heard(now time.Duration) time.Duration {
	if p.cn.paused.Load() {
		return now
	}
	return time.Duration(p.cn.heard.Load())
}

// wait returns how long nothing is due.
func (p *pulse) wait(now time.Duration) time.Duration {
	ask := max(p.heard(now), p.asked) + p.askAfter
	return max(min(p.sent+p.cn.interval, ask)-now, 0)
}

// beat queues a heartbeat if one is due. It returns an error when the server has been silent for too long, though it was
// asked to answer. Where that was much longer ago than it should be it is asked again: this process was stopped, or too
// busy, and the answer may be there, unread.
func (p *pulse) beat(now time.Duration) error {
	heard := p.heard(now)
	ask := now-max(heard, p.asked) >= p.askAfter
	if ask && now-heard >= p.cn.serverTimeout && now-p.asked < 2*p.askAfter {
		return networkError(fmt.Errorf("the server has been silent for %v", (now - heard).Round(time.Millisecond)))
	}
	if !ask && now-p.sent < p.cn.interval {
		return nil
	}
	m := protocol.Message{Type: protocol.Heartbeat}
	if ask {
		p.cn.mu.Lock()
		m.ID = p.cn.nextID()
		p.cn.mu.Unlock()
		p.asked = now
	}
	p.cn.post(&m)
	return nil
}
