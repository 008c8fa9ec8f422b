package main

import (
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

var pushScenarios = []scenario{
	{
		name: "push-kinds", heading: pushHeading,
		rule: "a push has an ID, a kind, a name if it is Custom, a time, metadata and content; it is confirmed only if that is asked for",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			pushes := []event{
				{Kind: 1, Body: hexOf("Grüße")},
				{Kind: 2, Body: "00ff5210", Metadata: fields{"a": "", "room": "42"}},
				{Kind: 3, Body: hexOf("spam")},
				{Kind: 4, Body: hexOf("{}")},
				{Kind: 5, Name: "score", Body: hexOf("3\n1")},
				{Kind: 2},
			}
			for i, want := range pushes {
				c.send(pushOf(i, byte(want.Kind), false, want.Name, want.Metadata, want.body()))
				e := t.handed(i)
				if e.Kind != want.Kind || e.Name != want.Name || e.Body != want.Body || e.Confirm || e.Time != 1_760_000_000_000 {
					t.failf("got %s, want kind %d, name %q, body %s", &e, want.Kind, want.Name, want.Body)
				}
				t.same("the metadata", e.Metadata, want.Metadata)
			}
			c.fence()
		},
	},
	{
		name: "push-unknown-kind", heading: pushHeading,
		rule: "pushes of kinds that a client does not know are confirmed if that is asked for, and do no harm",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			c.send(pushOf(1, 9, true, "", nil, "x"))
			c.wantAck(1)
			c.send(pushOf(2, 255, true, "named", nil, "\xff"))
			c.wantAck(2)
			c.send(pushOf(3, 77, false, "", nil, ""))
			c.send(pushOf(4, 1, true, "", nil, "known"))
			c.wantAck(4)
			t.wait("the push of a known kind", func(e event) bool { return e.Event == "push" && e.ID == pushID(4).String() })
			c.fence()
		},
	},
	{
		name: "push-after-the-handler", heading: pushHeading,
		rule: "a push that is to be confirmed is acknowledged when the program has dealt with it, and not before",
		run: func(t *trial) {
			_, c := t.session(command{"hold": true}, nil)
			c.send(pushOf(1, 1, true, "", nil, "hello"))
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
			c.send(pushOf(1, 1, true, "", nil, "hello"))
			t.handed(1)
			c.wantAck(1)
			c.send(pushOf(1, 1, true, "", nil, "hello"))
			c.wantAck(1)
			t.eventFence(c)
			c.close(protocol.ServerStopping, "", nil)
			t.lost(1004)
			c = t.again(s, nil)
			c.send(pushOf(1, 1, true, "", nil, "hello"))
			c.wantAck(1)
			t.eventFence(c)
		},
	},
	{
		name: "push-again-meanwhile", heading: pushHeading,
		rule: "a push that comes again while the program deals with it is handed out once",
		run: func(t *trial) {
			_, c := t.session(command{"hold": true}, nil)
			c.sendAll(pushOf(1, 1, true, "", nil, "hello"), pushOf(1, 1, true, "", nil, "hello"))
			t.handed(1)
			c.fence()
			t.do(command{"do": "ack", "push": pushID(1).String()})
			c.wantAck(1)
			t.eventFence(c)
		},
	},
	{
		name: "push-acknowledged-later", heading: pushHeading,
		rule: "where the connection was lost meanwhile, the PushAck is sent on the next one",
		run: func(t *trial) {
			s, c := t.session(command{"hold": true}, nil)
			c.send(pushOf(1, 1, true, "", nil, "hello"))
			t.handed(1)
			c.cut()
			next := s.accept()
			m, _ := next.logon()
			t.do(command{"do": "ack", "push": pushID(1).String()})
			t.lost(1001)      // some clients tell nothing else while a handler runs
			time.Sleep(quiet) // for the handler's end
			next.send(next.accepted(m, "", nil))
			t.online()
			next.wantAck(1)
			next.fence()
		},
	},
	{
		name: "push-memory", heading: pushHeading,
		rule: "a client remembers the last 1,024 pushes that it has confirmed, over reconnects too",
		run: func(t *trial) {
			const n = 1024
			s, c := t.session(nil, nil)
			var all []*protocol.Message
			for i := range n {
				all = append(all, pushOf(i, 1, true, "", nil, ""))
			}
			c.sendAll(all...)
			acked := map[uuid.UUID]bool{}
			for i := range n {
				t.handed(i)
				acked[uuid.UUID(c.want(protocol.TypePushAck, "a PushAck").Body)] = true
			}
			if len(acked) != n {
				t.failf("got PushAcks of %d pushes, want %d", len(acked), n)
			}
			c.close(protocol.ServerStopping, "", nil)
			t.lost(1004)
			c = t.again(s, nil)
			for _, i := range []int{0, n / 2, n - 1} {
				c.send(all[i])
				c.wantAck(i)
			}
			t.eventFence(c)
		},
	},
	{
		name: "bad-pushes", heading: pushHeading,
		rule: "a push that breaks the rules ends the connection with a Close with InvalidMessage",
		run: func(t *trial) {
			body := func(change func([]byte) []byte) []byte { return change(pushOf(1, 1, true, "", nil, "x").Body) }
			set := func(at int, v byte) []byte { return body(func(b []byte) []byte { b[at] = v; return b }) }
			double := append(pushOf(1, 2, false, "", nil, "").Body[:27], "\x02\x01k\x00\x00\x01k\x00\x00"...)
			s := t.listen()
			for _, bad := range [][]byte{
				nil,
				body(func(b []byte) []byte { return b[:26] }),
				body(func(b []byte) []byte { copy(b, make([]byte, 16)); return b }),
				set(16, 0),
				set(17, 2),
				pushOf(1, 1, false, "", nil, "\xff").Body,
				pushOf(1, 4, false, "named", nil, "x").Body,
				pushOf(1, 5, false, "", nil, "x").Body,
				double,
			} {
				c := t.logOn(s, nil, nil)
				c.send(&protocol.Message{Type: protocol.TypePush, Body: bad})
				c.wantClose(protocol.InvalidMessage)
				c.wantEnd()
				t.closed(2004, false)
			}
		},
	},
	{
		name: "kicked-out", heading: pushHeading,
		rule: "a push KickOut is told as any other; the Close that follows ends the client",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			c.sendAll(pushOf(1, 3, false, "", nil, "spam"), closing(protocol.KickedOut, "enough", nil))
			c.finish()
			if e := t.handed(1); e.Kind != 3 || e.body() != "spam" {
				t.failf("got %s, want KickOut with its reason", &e)
			}
			if e := t.closed(2002, false); e.Text != "enough" {
				t.failf("got the text %q, want enough", e.Text)
			}
			t.stays(s, quiet)
		},
	},
}
