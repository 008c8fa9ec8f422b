package client

import (
	"testing"
	"time"
)

// Rule 25, for the client: a process that stood still (a phone that slept) looks at what has come before it gives the server up,
// and asks at once; a server that is gone is found soon after.
func TestAProcessThatStoodStillAsksBeforeItGivesUp(t *testing.T) {
	for _, stopped := range []time.Duration{time.Second, 15 * time.Second, time.Hour} {
		cn := &conn{wake: make(chan struct{}, 1), interval: 10 * time.Second, serverTimeout: 30 * time.Second}
		p := &pulse{cn: cn, askAfter: 10 * time.Second}
		next := func(now time.Duration) time.Duration { return now + p.wait(now) }
		now := next(0)
		for now < 30*time.Second { // nothing is heard, though it is asked
			if err := p.beat(now); err != nil {
				t.Fatalf("given up after %v", now)
			}
			p.sent = now
			now = next(now)
		}
		now += stopped
		queued := len(cn.out)
		if err := p.beat(now); err != nil {
			t.Errorf("after it stood still for %v: %v", stopped, err)
		}
		if len(cn.out) == queued {
			t.Errorf("after it stood still for %v the server is not asked", stopped)
		}
		p.sent = now
		resumed, gone := now, error(nil)
		for gone == nil && now < resumed+time.Minute {
			now = next(now)
			if gone = p.beat(now); gone == nil {
				p.sent = now
			}
		}
		if gone == nil || now-resumed > 20*time.Second {
			t.Errorf("after it stood still for %v a dead server is given up on after %v: %v", stopped, now-resumed, gone)
		}
	}
}

// A machine that is always late finds a dead server too.
func TestABusyClientFindsADeadServer(t *testing.T) {
	cn := &conn{wake: make(chan struct{}, 1), interval: 10 * time.Second, serverTimeout: 30 * time.Second}
	p := &pulse{cn: cn, askAfter: 10 * time.Second}
	var now time.Duration
	for now < 10*time.Minute {
		now += p.wait(now) + time.Second
		if p.beat(now) != nil {
			return
		}
		p.sent = now
	}
	t.Error("it does not")
}
