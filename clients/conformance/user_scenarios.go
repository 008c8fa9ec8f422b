package main

import "github.com/rollcall-go/rollcall/protocol"

var userScenarios = []scenario{
	{
		name: "from-a-user", heading: usersHeading,
		rule: "a message names its sender: a user, or none for the server",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			c.send(&protocol.Message{Type: 1, UserID: "Bob B.", DestUserID: "alice", Device: 9, Body: []byte("hi")})
			if e := t.nextEvent("message"); e.From != "Bob B." || e.body() != "hi" || e.Type != 1 {
				t.failf("got %s, want hi of type 1 from Bob B.", &e)
			}
			c.send(message("news"))
			if e := t.nextEvent("message"); e.From != "" || e.body() != "news" {
				t.failf("got %s, want news from the server", &e)
			}
		},
	},
	{
		name: "answers-a-user", heading: usersHeading,
		rule: "the reply to a user's request is addressed to the user, with the request's type and ID",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			c.send(&protocol.Message{Type: 1, ID: 77, UserID: "bob", DestUserID: "alice", Body: []byte("there?")})
			e := t.event("request")
			if e.From != "bob" || e.body() != "there?" {
				t.failf("got %s, want there? from bob", &e)
			}
			c.send(&protocol.Message{Type: 1, ID: 77, UserID: "carol", DestUserID: "alice"})
			other := t.event("request")
			t.do(command{"do": "reply", "request": other.Request, "code": 5003, "text": "no"})
			c.wantReply(1, 77, "carol", true)
			t.do(command{"do": "reply", "request": e.Request, "body": hexOf("yes")})
			if m := c.wantReply(1, 77, "bob", false); string(m.Body) != "yes" {
				t.failf("got %s, want yes", describe(m))
			}
			c.fence()
		},
	},
	{
		name: "only-who-was-asked", heading: usersHeading,
		rule: "a reply is a request's only if it comes from the user who was asked, or from the server itself",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			t.do(command{"do": "request", "tag": "bob", "type": 1, "to": "bob", "body": "01"})
			toBob := c.wantRequest(1, "bob", "\x01")
			t.do(command{"do": "request", "tag": "server", "type": 1, "body": "02"})
			toServer := c.wantRequest(1, "", "\x02")
			c.send(answer(toBob, "carol", "I am carol"))
			c.send(answer(toBob, "Bob", "another spelling"))
			c.send(refusal(toBob, "alice", 5003, "I am alice", nil))
			c.send(answer(toServer, "bob", "I am no server"))
			t.eventFence(c)
			c.send(answer(toBob, "bob", "I am bob"))
			if e := t.tagged("reply", "bob"); e.From != "bob" || e.body() != "I am bob" {
				t.failf("got %s, want bob's answer", &e)
			}
			c.send(answer(toServer, "", "I am the server"))
			if e := t.tagged("reply", "server"); e.From != "" || e.body() != "I am the server" {
				t.failf("got %s, want the server's answer", &e)
			}
		},
	},
	{
		name: "user-is-offline", heading: usersHeading,
		rule: "the server itself may answer a request to a user, with UserOffline",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			t.do(command{"do": "request", "tag": "a", "type": 1, "to": "bob", "body": ""})
			c.send(refusal(c.wantRequest(1, "bob", ""), "", protocol.UserOffline, "bob is offline", nil))
			if e := t.refused("a", "refused"); e.Code != 5000 || e.Text != "bob is offline" {
				t.failf("got %s, want UserOffline", &e)
			}
		},
	},
	{
		name: "first-reply-counts", heading: usersHeading,
		rule: "where several sessions of a user answer, the first reply counts",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			t.do(command{"do": "request", "tag": "a", "type": 1, "to": "bob", "body": ""})
			m := c.wantRequest(1, "bob", "")
			c.sendAll(answer(m, "bob", "first"), answer(m, "bob", "second"), refusal(m, "bob", 5003, "third", nil))
			if e := t.tagged("reply", "a"); e.body() != "first" {
				t.failf("got %s, want the first answer", &e)
			}
			t.eventFence(c)
		},
	},
}
