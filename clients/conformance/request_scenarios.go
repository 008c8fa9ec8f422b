package main

import (
	"fmt"

	"github.com/rollcall-go/rollcall/protocol"
)

var requestScenarios = []scenario{
	{
		name: "request", heading: requestHeading,
		rule: "a reply with the request's type and ID is its answer, and an error reply its refusal; the connection stays",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			t.do(command{"do": "request", "tag": "a", "type": 258, "body": hexOf("what")})
			m := c.wantRequest(258, "", "what")
			c.send(answer(m, "", "that"))
			if e := t.tagged("reply", "a"); e.body() != "that" || e.From != "" {
				t.failf("got %s, want that from the server", &e)
			}
			t.do(command{"do": "request", "tag": "b", "type": 258, "body": ""})
			c.send(refusal(c.wantRequest(258, "", ""), "", protocol.Refused, "not now", nil))
			if e := t.refused("b", "refused"); e.Code != 5003 || e.Text != "not now" {
				t.failf("got %s, want the code 5003 and the server's text", &e)
			}
			c.fence()
		},
	},
	{
		name: "server-asks", heading: requestHeading,
		rule: "a request of the server is answered with its type and ID, once",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			c.send(&protocol.Message{Type: plainType, ID: 77, Body: []byte("why")})
			e := t.event("request")
			if e.body() != "why" || e.From != "" || e.Type != plainType {
				t.failf("got %s, want why from the server", &e)
			}
			t.do(command{"do": "reply", "request": e.Request, "body": hexOf("because")})
			if m := c.wantReply(plainType, 77, "", false); string(m.Body) != "because" {
				t.failf("got the answer %q, want because", m.Body)
			}
			c.fence()
		},
	},
	{
		name: "no-handler", heading: requestHeading,
		rule: "a request of the server of a type without a handler is answered NoHandler, and a message without an ID is not",
		run: func(t *trial) {
			_, c := t.session(command{"types": []int{1, 3}}, nil)
			c.send(&protocol.Message{Type: 2, ID: 9})
			if code := c.codeOf(c.wantReply(2, 9, "", true)); code != protocol.NoHandler {
				t.failf("got the code %d, want NoHandler", code)
			}
			c.send(&protocol.Message{Type: 2})
			c.send(&protocol.Message{Type: 3})
			if e := t.nextEvent("message"); e.Type != 3 {
				t.failf("got %s, want the message of type 3", &e)
			}
			c.fence()
		},
	},
	{
		name: "refuses-the-server", heading: requestHeading,
		rule: "a request that failed is answered by an error reply with a code and a text",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			c.send(&protocol.Message{Type: plainType, ID: 0xFFFFFFFF})
			t.do(command{"do": "reply", "request": t.event("request").Request, "code": 5003, "text": "grün"})
			m := c.wantReply(plainType, 0xFFFFFFFF, "", true)
			if e, err := protocol.ParseClose(m.Body); err != nil || e.Code != protocol.Refused || e.Text != "grün" {
				t.failf("got %v, %v, want the code 5003 and the text grün", e, err)
			}
			c.fence()
		},
	},
	{
		name: "replies-out-of-order", heading: requestHeading,
		rule: "replies may come in another order than their requests; no ID is used again while its request is open, and none is 0",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			const n = 100
			asked, ids := map[string]*protocol.Message{}, map[uint32]bool{}
			for i := range n {
				t.do(command{"do": "request", "tag": fmt.Sprint(i), "type": 1, "body": hexOf(fmt.Sprint(i))})
			}
			for range n {
				m := c.want(plainType, "a request")
				if m.ID == 0 || ids[m.ID] || asked[string(m.Body)] != nil {
					t.failf("got %s, want one request each, with an ID of its own", describe(m))
				}
				asked[string(m.Body)], ids[m.ID] = m, true
			}
			for i := n - 1; i >= 0; i-- {
				c.send(answer(asked[fmt.Sprint(i)], "", fmt.Sprint("answer ", i)))
			}
			for i := range n {
				if e := t.tagged("reply", fmt.Sprint(i)); e.body() != fmt.Sprint("answer ", i) {
					t.failf("got %s, want the answer to request %d", &e, i)
				}
			}
		},
	},
	{
		name: "late-reply", heading: requestHeading,
		rule: "a request has a time limit, and a reply whose ID no open request has is dropped",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			t.do(command{"do": "request", "tag": "a", "type": 1, "body": "", "timeout_ms": 100})
			m := c.wantRequest(1, "", "")
			t.refused("a", "timeout")
			c.send(answer(m, "", "late"))
			c.send(&protocol.Message{Type: 1, Flags: protocol.FlagReply, ID: m.ID + 1000, Body: []byte("not asked for")})
			t.eventFence(c)
			t.do(command{"do": "request", "tag": "b", "type": 1, "body": "", "timeout_ms": 20000})
			c.send(answer(c.wantRequest(1, "", ""), "", "in time"))
			if e := t.tagged("reply", "b"); e.body() != "in time" {
				t.failf("got %s, want the second request's own answer", &e)
			}
		},
	},
	{
		name: "random-ids", heading: requestHeading,
		rule: "numbering begins at a random number, since a relayed reply reaches every session of the user who asked",
		run: func(t *trial) {
			s := t.listen()
			var first []uint32
			for range 2 {
				c := t.logOn(s, nil, nil)
				t.do(command{"do": "request", "tag": "a", "type": 1, "body": ""})
				m := c.wantRequest(1, "", "")
				first = append(first, m.ID)
				c.send(answer(m, "", ""))
				t.tagged("reply", "a")
				t.do(command{"do": "close"})
				t.closed(1000, true)
			}
			if a, b := first[0], first[1]; a == b || a < 1000 && b < 1000 || a-b+1000 < 2000 {
				t.failf("got first requests with the IDs %d and %d, want random ones", a, b)
			}
		},
	},
	{
		name: "request-is-lost", heading: requestHeading,
		rule: "a request whose connection was lost has failed (disconnected), and is not repeated by itself",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			t.do(command{"do": "request", "tag": "a", "type": 1, "body": "00"})
			c.wantRequest(1, "", "\x00")
			c.cut()
			t.refused("a", "disconnected")
			t.lost(1001)
			t.again(s, nil).fence()
		},
	},
	{
		name: "not-connected", heading: closeHeading,
		rule: "while there is no connection nothing can be sent (not-connected), and close ends the client (closed)",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			c.close(protocol.ServerStopping, "", fields{"retry-ms": "600000"})
			t.lost(1004)
			for i, do := range []command{{"do": "send", "type": 1, "body": ""}, {"do": "request", "type": 1, "to": "bob", "body": ""},
				{"do": "online", "users": []string{"bob"}}} {
				do["tag"] = fmt.Sprint(i)
				t.do(do)
				t.refused(fmt.Sprint(i), "not-connected")
			}
			t.do(command{"do": "close"})
			t.closed(1000, true)
			t.do(command{"do": "send", "tag": "late", "type": 1, "body": ""})
			t.refused("late", "closed", "not-connected")
			t.stays(s, quiet)
		},
	},
}

// wantRequest takes a request with this content.
func (c *conn) wantRequest(typ uint16, to, body string) *protocol.Message {
	m := c.want(typ, "a request")
	dest := m.DestUserID
	if dest == protocol.ServerID {
		dest = ""
	}
	if m.ID == 0 || dest != to || string(m.Body) != body {
		c.s.t.failf("got %s, want a request with an ID to %q: %q", describe(m), to, shorten(body, 80))
	}
	return m
}

// answer is the reply to m, from a user or the server.
func answer(m *protocol.Message, from, body string) *protocol.Message {
	return &protocol.Message{Type: m.Type, Flags: protocol.FlagReply, ID: m.ID, UserID: from, Body: []byte(body)}
}

// refusal is an error reply to m.
func refusal(m *protocol.Message, from string, code protocol.CloseCode, text string, info fields) *protocol.Message {
	return &protocol.Message{Type: m.Type, Flags: protocol.FlagReply | protocol.FlagError, ID: m.ID, UserID: from, Body: coded(code, text, info)}
}
