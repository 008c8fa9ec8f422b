package main

import "github.com/rollcall-go/rollcall/protocol"

var pushScenarios = []scenario{
	{
		name: "push-after-the-handler", heading: pushHeading,
		rule: "a push that is to be confirmed is acknowledged when the program has dealt with it, and not before",
		run: func(t *trial) {
			_, c := t.session(command{"hold": true}, nil)
			c.send(push(1, 1, true, "", nil, "hello"))
			t.handed(1)
			c.fence()
			t.do(command{"do": "ack", "push": pushID(1).String()})
			c.wantAck(1)
			c.fence()
		},
	},
	{
		name: "push-twice", heading: pushHeading,
		rule: "a push that comes again is confirmed again, and not handed to the program",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			c.send(push(1, 1, true, "", nil, "hello"))
			t.handed(1)
			c.wantAck(1)
			c.send(push(1, 1, true, "", nil, "hello"))
			c.wantAck(1)
			t.eventFence(c)
			c.close(protocol.ServerStopping, "", nil)
			t.lost(1004)
			c = t.again(s, nil)
			c.send(push(1, 1, true, "", nil, "hello"))
			c.wantAck(1)
			t.eventFence(c)
		},
	},
}
