package main

import (
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

var beatScenarios = []scenario{
	{
		name: "heartbeats-in-time", heading: beatHeading, waits: true,
		rule: "a client that sends nothing else sends a Heartbeat each heartbeat-ms; after three times that the server ends the session",
		run: func(t *trial) {
			const interval = time.Second
			t.mostly(func(s *server) string {
				c := t.logOn(s, nil, fields{"heartbeat-ms": "1000"})
				last := time.Now()
				for range 4 {
					b, ok := c.beats.next(t.patience())
					if !ok {
						return "got no Heartbeat"
					}
					if gap := b.at.Sub(last); gap > 3*interval {
						return fmt.Sprintf("got a Heartbeat %v after the last sign of life, want it within 3 s, and after 1 s", gap)
					}
					last = b.at
				}
				return ""
			})
		},
	},
	{
		name: "heartbeats-none", heading: beatHeading,
		rule: "without heartbeat-ms, or where it is 0, no heartbeats are needed; one each 10 s does no harm",
		run: func(t *trial) {
			s := t.listen()
			for _, f := range []fields{nil, {"heartbeat-ms": "0"}} {
				c := t.logOn(s, nil, f)
				t.eventFence(c)
				time.Sleep(quiet)
				if n := len(c.beats.all()); n > 1 {
					t.failf("got %d Heartbeats at once, want one each 10 s at most", n)
				}
				c.fence()
				t.do(command{"do": "close"})
				t.closed(1000, true)
			}
		},
	},
	{
		name: "heartbeats-least", heading: beatHeading, waits: true,
		rule: "a heartbeat-ms below 100 counts as 100: a server cannot make a client send without end",
		run: func(t *trial) {
			t.mostly(func(s *server) string {
				c := t.logOn(s, nil, fields{"heartbeat-ms": "1"})
				var first, last beat
				for i := range 12 {
					b, ok := c.beats.next(t.patience())
					if !ok {
						return "got no Heartbeat"
					}
					if last = b; i == 0 {
						first = b
					}
				}
				if took := last.at.Sub(first.at); took < 450*time.Millisecond { // there may be two kinds of them
					return fmt.Sprintf("got 12 Heartbeats in %v, want one each 100 ms", took)
				}
				return ""
			})
		},
	},
	{
		name: "heartbeat-asked", heading: beatHeading,
		rule: "a Heartbeat with an ID is answered with the reply flag, and one without is not",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			c.send(&protocol.Message{Type: protocol.TypeHeartbeat})
			c.send(&protocol.Message{Type: protocol.TypeHeartbeat, ID: 77})
			c.wantReply(protocol.TypeHeartbeat, 77, "", false)
			t.eventFence(c)
			c.fence()
		},
	},
	{
		name: "dead-server", heading: beatHeading, waits: true,
		rule: "where no byte comes for long the client asks by a Heartbeat with an ID, and without an answer reconnects",
		run: func(t *trial) {
			s := t.listen()
			t.dial(s, nil)
			c := s.accept()
			c.setSilent(true)
			c.welcome(fields{"heartbeat-ms": "300"})
			t.state("online")
			t.lost(1001)
			asked := false
			for _, b := range c.beats.all() {
				asked = asked || b.id != 0
			}
			if !asked {
				t.failf("got no Heartbeat with an ID before the connection was given up")
			}
			t.again(s, nil).fence()
		},
	},
	{
		name: "living-server", heading: beatHeading, waits: true,
		rule: "a server that answers heartbeats is alive, and so is one that sends Heartbeats of its own",
		run: func(t *trial) {
			t.mostly(func(s *server) string {
				c := t.logOn(s, nil, fields{"heartbeat-ms": "600"})
				time.Sleep(2 * time.Second)
				c.setSilent(true)
				for range 80 {
					if c.trySend(&protocol.Message{Type: protocol.TypeHeartbeat}) != nil {
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
				return c.stillOpen()
			})
		},
	},
	{
		name: "every-byte-counts", heading: beatHeading, needs: "tcp", waits: true,
		rule: "every byte of the server is a sign of life, those of an unfinished frame too",
		run: func(t *trial) {
			t.mostly(func(s *server) string {
				c := t.logOn(s, nil, fields{"heartbeat-ms": "600"})
				c.setSilent(true)
				body := "a message that takes its time, as over a slow network, and is longer than any patience of the client"
				for _, b := range frame(message(body)) {
					if c.tryRaw([]byte{b}) != nil {
						break
					}
					time.Sleep(40 * time.Millisecond)
				}
				if fault := c.stillOpen(); fault != "" {
					return fault
				}
				t.wait("the message", func(e event) bool { return e.Event == "message" && e.body() == body })
				return ""
			})
		},
	},
}

// mostly runs a part that a busy machine may fail: it must succeed once in three times, each with a new connection. A testee with which the suite has
// little patience has one attempt.
func (t *trial) mostly(part func(s *server) (fault string)) {
	for n := 1; ; n++ {
		s := t.listen()
		fault := part(s)
		if fault == "" {
			return
		}
		if n == 3 || t.most < eventually {
			t.failf("%s (%d times in a row)", fault, n)
		}
		t.log.addf("suite    %s; once more", fault)
		t.do(command{"do": "close"})
		for t.wait("the state closed", func(e event) bool { return e.Event == "state" }).State != "closed" {
		}
		s.close()
	}
}

// stillOpen reports that the client has ended its side.
func (c *conn) stillOpen() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return fmt.Sprintf("the client has ended its side (%v), although bytes of the server came", c.end)
	}
	return ""
}
