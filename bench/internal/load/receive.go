//go:build linux

package load

import (
	"fmt"
	"strconv"
	"time"
)

// Receive makes the server send without requests: it tells it "push" with the arguments, counts what arrives, and tells
// it "stop" when d, after a warm-up, is over. At most window messages may be under way, so that the receivers keep up.
// About eight times a window Receive tells the server ("ack") how many have come.
func (g *Group) Receive(args string, window int, warmUp, d time.Duration) (Result, error) {
	// A broadcast has one message for every connection, and a window is a number of broadcasts.
	every := max(window/8, 1)
	if window%len(g.conns) == 0 {
		every = max(every/len(g.conns)*len(g.conns), min(window, len(g.conns)))
	}
	before, acked := g.got, 0
	if err := g.server.Tell("push %s %d", args, window); err != nil {
		return Result{}, err
	}
	m := meter{group: g, from: time.Now().Add(warmUp), length: d}
	for !m.done(time.Now()) {
		if err := g.receiveSome(); err != nil {
			return Result{}, err
		}
		if got := g.got - before; got-acked >= every {
			acked = got
			if err := g.server.Tell("ack %d", acked); err != nil {
				return Result{}, err
			}
		}
	}
	return m.result, g.stopPush(before)
}

func (g *Group) receiveSome() error {
	for _, e := range g.poller.wait(maxWait) {
		if _, err := g.receive(&g.conns[e.Fd]); err != nil {
			return err
		}
	}
	return nil
}

// stopPush ends a push, and checks that all that the server says it has sent arrives.
func (g *Group) stopPush(before int) error {
	if err := g.server.Tell("stop"); err != nil {
		return err
	}
	said, err := g.server.Await("sent ", drainPatience)
	if err != nil {
		return err
	}
	sent, err := strconv.Atoi(said)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(drainPatience); g.got-before < sent; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%v has sent %d messages, and %d have come", g.server, sent, g.got-before)
		}
		if err := g.receiveSome(); err != nil {
			return err
		}
	}
	return nil
}
