package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

var closeScenarios = []scenario{
	{
		name: "close", heading: closeHeading,
		rule: "a client that is closed sends a Close with ClientClosed and ends its side in order; closing twice does no harm",
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
		name: "close-reads-to-the-end", heading: closeHeading, needs: "tcp",
		rule: "a client that closes shuts down its sending side, and reads until the end of the stream: a reset would lose what was sent last",
		run: func(t *trial) {
			t.mostly(func(s *server) string {
				c := t.logOn(s, nil, nil)
				release := c.hold()
				defer release()
				t.do(command{"do": "send", "tag": "last", "type": 1, "body": hexOf("last words")})
				t.tagged("done", "last")
				t.do(command{"do": "close"})
				if m := c.next("the message"); string(m.Body) != "last words" {
					t.failf("got %s, want the message that was sent before the close", describe(m))
				}
				c.wantClose(protocol.ClientClosed)
				c.wantEnd()
				for range 10 {
					if err := c.trySend(message(strings.Repeat("late", 5000))); err != nil {
						return fmt.Sprintf("the client did not read until the server's end: %v", err)
					}
					time.Sleep(5 * time.Millisecond)
				}
				c.finish()
				t.closed(1000, true)
				return ""
			})
		},
	},
	{
		name: "close-while-logging-on", heading: closeHeading,
		rule: "a client can be closed while it logs on",
		run: func(t *trial) {
			c, _, _ := t.takeLogon(nil)
			t.do(command{"do": "close"})
			c.wantEnd()
			t.closed(1000, true)
			t.stays(c.s, quiet)
		},
	},
	{
		name: "queue-before-the-close", heading: closeHeading,
		rule: "what the server has sent before its Close is still told, and then the end",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			var all []*protocol.Message
			for i := range 100 {
				all = append(all, message(fmt.Sprint(i)))
			}
			c.sendAll(append(all, closing(protocol.PushedOut, "elsewhere", nil))...)
			c.finish()
			for i := range 100 {
				if e := t.nextEvent("message"); e.body() != fmt.Sprint(i) {
					t.failf("got %s, want message %d", &e, i)
				}
			}
			t.closed(2000, false)
			c.wantEnd()
			t.stays(s, quiet)
			t.noMoreStates()
		},
	},
	{
		name: "codes-that-come-back", heading: codesHeading,
		rule: "after a Close with 1xxx or 3xxx a client reconnects, with codes that it does not know too",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			for _, code := range []protocol.CloseCode{1000, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1500, 1999, 3000, 3999} {
				c.close(code, fmt.Sprint("text ", code), nil)
				if e := t.lost(int(code)); e.Text != fmt.Sprint("text ", code) {
					t.failf("got the text %q, want the server's", e.Text)
				}
				c = t.again(s, nil)
			}
		},
	},
	{
		name: "codes-that-end", heading: codesHeading,
		rule: "after a Close with 2xxx, 4xxx or a code of no class a client does not reconnect, with codes that it does not know too",
		run: func(t *trial) {
			s := t.listen()
			for _, code := range []protocol.CloseCode{2000, 2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008, 2500, 2999, 4000, 4999, 0, 999, 6000, 65535} {
				c := t.logOn(s, nil, nil)
				c.close(code, "", nil)
				t.closed(int(code), false)
			}
			t.stays(s, quiet)
		},
	},
	{
		name: "refused-while-reconnecting", heading: closeHeading,
		rule: "the code's class counts for a Logon that is refused while reconnecting too",
		run: func(t *trial) {
			s := t.listen()
			for _, code := range []protocol.CloseCode{2000, 2002, 2003, 2007, 4001} {
				t.logOn(s, nil, nil).close(protocol.ServerStopping, "", nil)
				t.lost(1004)
				s.accept().refuse(protocol.TooManyConnections, "", nil)
				t.lost(1006)
				s.accept().refuse(3001, "", nil)
				t.lost(3001)
				s.accept().refuse(code, "gone", nil)
				if e := t.closed(int(code), false); e.Text != "gone" {
					t.failf("got the text %q, want the server's", e.Text)
				}
			}
			t.stays(s, quiet)
		},
	},
	{
		name: "no-close", heading: closeHeading,
		rule: "a connection that ends without a Close, or within a frame, has ended with NetworkError, after which a client reconnects",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			c.finish()
			t.lost(1001)
			c = t.again(s, nil)
			c.cut()
			t.lost(1001)
			c = t.again(s, nil)
			if c.web == nil {
				c.write(frame(message("cut off"))[:20], "a part of a frame")
			}
			c.finish()
			t.lost(1001)
			s.accept().cut() // while it logs on
			t.lost(1001)
			t.again(s, nil).fence()
		},
	},
	{
		name: "already-logged-on", heading: closeHeading,
		rule: "AlreadyLoggedOn while reconnecting may be the client's own dead connection: it tries again",
		run: func(t *trial) {
			s, c := t.session(nil, fields{"heartbeat-ms": "20000"})
			c.cut()
			t.lost(1001)
			for range 4 {
				s.accept().refuse(protocol.AlreadyLoggedOn, "online", nil)
				if e := t.state("reconnecting"); e.Code != 2001 {
					t.failf("got %s, want reconnecting with the code 2001", &e)
				}
			}
			t.again(s, nil).fence()
		},
	},
	{
		name: "already-logged-on-for-good", heading: closeHeading, waits: true,
		rule: "AlreadyLoggedOn ends a client that reconnects when three times heartbeat-ms have passed since the loss, and not before",
		run: func(t *trial) {
			s, c := t.session(nil, fields{"heartbeat-ms": "400"})
			began := time.Now()
			c.cut()
			t.lost(1001)
			for {
				s.accept().refuse(protocol.AlreadyLoggedOn, "online", nil)
				e := t.state2("reconnecting", "closed")
				if e.Code != 2001 {
					t.failf("got %s, want the code 2001", &e)
				}
				if e.State == "closed" {
					if took := e.at.Sub(began); took < 1200*time.Millisecond {
						t.failf("got closed %v after the loss, want it after 1.2 s", took)
					}
					break
				}
			}
			t.stays(s, quiet)
		},
	},
	{
		name: "secrets", heading: startHeading,
		rule: "no text that a client makes of itself, its settings or its errors has the token or the session's ID",
		run: func(t *trial) {
			const token, session = "tok-secret-tok", "ses-secret-ses"
			s, c := t.session(command{"tokens": []string{token}}, fields{"session": session})
			shown := 0
			show := func() {
				shown++
				tag := fmt.Sprint(shown)
				t.do(command{"do": "show", "tag": tag})
				if e := t.tagged("shown", tag); e.Text == "" || strings.Contains(e.Text, token) || strings.Contains(e.Text, session) {
					t.failf("got the text %q, want one without the token and the session", shorten(e.Text, 600))
				}
			}
			show()
			c.close(protocol.ServerStopping, "", fields{"retry-ms": "300"})
			t.lost(1004)
			show()
			s.accept().refuse(protocol.Unauthorized, "", nil)
			t.closed(2003, false)
			show()
			if all := t.p.stderr.String(); strings.Contains(all, token) || strings.Contains(all, session) {
				t.failf("got the token or the session on standard error")
			}
		},
	},
}

// state2 returns the next change of state, which must be to one of these.
func (t *trial) state2(one, other string) event {
	e := t.wait("the state "+one+" or "+other, func(e event) bool { return e.Event == "state" })
	if e.State != one && e.State != other {
		t.failf("got %s, want the state %s or %s", &e, one, other)
	}
	return e
}
