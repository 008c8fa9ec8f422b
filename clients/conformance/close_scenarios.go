package main

import (
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

var closeScenarios = []scenario{
	{
		name: "close", heading: closeHeading,
		rule: "who closes sends a Close with ClientClosed and ends its side in order; closing twice does no harm",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			t.do(command{"do": "close"})
			t.do(command{"do": "close"})
			c.wantClose(protocol.ClientClosed)
			if more := c.wantEnd(); len(more) > 0 || c.endedInOrder() != nil {
				t.failf("got %d frames after the Close, and the end %v; want the end in order", len(more), c.endedInOrder())
			}
			t.closed(1000, true)
			t.do(command{"do": "close"})
			t.stays(s, quiet)
			t.noMoreStates()
		},
	},
	{
		name: "retry-ms", heading: closeHeading,
		rule: "a client waits retry-ms before it comes back, at least",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			began := time.Now()
			c.close(protocol.ServerStopping, "stopping", fields{"retry-ms": "1200"})
			t.lost(1004)
			c = s.accept()
			if took := c.at.Sub(began); took < 1200*time.Millisecond {
				t.failf("got a connection after %v, want it after 1.2 s or later", took)
			}
			c.welcome(nil)
			t.online()
		},
	},
}
