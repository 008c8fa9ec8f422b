package main

import "github.com/rollcall-go/rollcall/protocol"

var logonScenarios = []scenario{
	{
		name: "logon", heading: startHeading,
		rule: "the first frame is a Logon with an ID, the user ID and the device class in its header, and the token and the fields in its map",
		run: func(t *trial) {
			c, m, f := t.takeLogon(command{"device": 7, "fields": fields{"room": "42", "empty": ""}, "tokens": []string{"t:1"}})
			if m.UserID != "alice" || m.Device != 7 || m.DestUserID != "" && m.DestUserID != protocol.ServerID {
				t.failf("got %s of device %d, want it from alice, of device 7", describe(m), m.Device)
			}
			t.same("the fields of the Logon", f, fields{"room": "42", "empty": "", "token": "t:1"})
			c.send(c.accepted(m, "", fields{"session": "s1", "heartbeat-ms": "10000"}))
			if e := t.state("online"); e.User != "alice" {
				t.failf("got the user %q, want alice", e.User)
			}
			c.fence()
		},
	},
	{
		name: "logon-bare", heading: startHeading,
		rule: "a Logon needs neither token nor fields, and its reply no map",
		run: func(t *trial) {
			c, m, f := t.takeLogon(nil)
			t.same("the fields of the Logon", f, fields{})
			reply := c.accepted(m, "", nil)
			reply.Body = reply.Body[:2]
			c.send(reply)
			t.state("online")
			c.fence()
		},
	},
	{
		name: "logon-by-token", heading: startHeading,
		rule: "without a user ID the token says who it is, and the reply names the user",
		run: func(t *trial) {
			c, m, f := t.takeLogon(command{"user": "", "tokens": []string{"carol's"}})
			if m.UserID != "" || f["token"] != "carol's" {
				t.failf("got %s, want it from no user, with the token", describe(m))
			}
			c.send(c.accepted(m, "carol", fields{"session": "s1"}))
			if e := t.state("online"); e.User != "carol" {
				t.failf("got the user %q, want carol, as the server names the user", e.User)
			}
			c.fence()
		},
	},
	{
		name: "spelling-of-the-server", heading: startHeading,
		rule: "the server's spelling of the user counts: it is told to the program, and later headers have it or no user",
		run: func(t *trial) {
			c, m, _ := t.takeLogon(command{"user": "Alice"})
			c.send(c.accepted(m, "alice", fields{"session": "s1"}))
			if e := t.state("online"); e.User != "alice" {
				t.failf("got the user %q, want alice, as the server spells it", e.User)
			}
			t.do(command{"do": "send", "tag": "1", "type": 1, "body": "00"})
			if m := c.want(plainType, "the message"); m.UserID != "" && m.UserID != "alice" {
				t.failf("got a message from %q, want alice or none", m.UserID)
			}
			t.tagged("done", "1")
		},
	},
	{
		name: "logon-refused", heading: startHeading,
		rule: "a Logon that is refused with 2xxx ends the client with the code and text, once, although a Close follows",
		run: func(t *trial) {
			s := t.listen()
			t.dial(s, command{"tokens": []string{"bad"}})
			s.accept().refuse(protocol.Unauthorized, "bad token: grün", nil)
			if e := t.closed(2003, false); e.Text != "bad token: grün" {
				t.failf("got the text %q, want the server's", e.Text)
			}
			t.stays(s, quiet)
			t.noMoreStates()
		},
	},
	{
		name: "close-for-a-logon", heading: startHeading,
		rule: "a server may send a Close in place of the Logon's reply; a client that was not online yet is then closed",
		run: func(t *trial) {
			c, _, _ := t.takeLogon(nil)
			c.close(protocol.ServerStopping, "stopping", nil)
			t.closed(1004, true)
			t.noMoreStates()
		},
	},
	{
		name: "no-server", heading: closeHeading,
		rule: "a connection that cannot be made is a NetworkError; at the first attempt the client is then closed",
		run: func(t *trial) {
			s := t.listen()
			s.close()
			t.dial(s, nil)
			t.closed(1001, true)
			t.noMoreStates()
		},
	},
	{
		name: "first-already-logged-on", heading: closeHeading,
		rule: "AlreadyLoggedOn at a first logon ends the client: another client is online",
		run: func(t *trial) {
			s := t.listen()
			t.dial(s, nil)
			s.accept().refuse(protocol.AlreadyLoggedOn, "online elsewhere", nil)
			t.closed(2001, false)
			t.stays(s, quiet)
		},
	},
	{
		name: "token-each-time", heading: startHeading,
		rule: "the token is asked for before each logon, since tokens expire",
		run: func(t *trial) {
			s := t.listen()
			t.dial(s, command{"tokens": []string{"one", "two", "three"}})
			for _, token := range []string{"one", "two", "three", "three"} {
				c := s.accept()
				if f := c.welcome(nil); f["token"] != token {
					t.failf("got a Logon with the token %q, want %q", f["token"], token)
				}
				t.online()
				c.close(protocol.ServerStopping, "", nil)
				t.lost(1004)
			}
		},
	},
	{
		name: "session-comes-back", heading: startHeading,
		rule: "a client that comes back by itself sends the ID of its last session, and one that is dialled anew sends none",
		run: func(t *trial) {
			s := t.listen()
			t.dial(s, nil)
			want := ""
			for i, session := range []string{"first", "second", "third"} {
				c := s.accept()
				if f := c.welcome(fields{"session": session}); f["session"] != want {
					t.failf("got a Logon with the session %q, want %q", f["session"], want)
				}
				t.online()
				want = session
				if i < 2 {
					c.close(protocol.ServerStopping, "", nil)
					t.lost(1004)
				}
			}
			t.do(command{"do": "close"})
			t.closed(1000, true)
			t.dial(s, nil)
			if _, f := s.accept().logon(); f["session"] != "" {
				t.failf("got a Logon with the session %q after a person dialled, want none", f["session"])
			}
		},
	},
	{
		name: "own-maps", heading: stringMapHeading,
		rule: "a string map is a map of any keys, __proto__ and constructor too, and keys that are not known are ignored",
		run: func(t *trial) {
			odd := fields{"__proto__": "p", "constructor": "c", "toString": "", "é": "ü"}
			c, m, f := t.takeLogon(command{"fields": odd})
			t.same("the fields of the Logon", f, odd)
			c.send(c.accepted(m, "", fields{"__proto__": "x", "constructor": "y", "later": "z", "session": "s1"}))
			t.state("online")
			p := pushOf(1, 4, false, "", fields{"__proto__": "p", "constructor": "c"}, "x")
			c.send(p)
			t.same("the metadata of the push", t.event("push").Metadata, fields{"__proto__": "p", "constructor": "c"})
			c.close(protocol.ServerStopping, "", fields{"__proto__": "x", "hasOwnProperty": "y"})
			t.lost(1004)
			t.again(c.s, nil)
		},
	},
}
