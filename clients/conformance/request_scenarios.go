package main

import "github.com/rollcall-go/rollcall/protocol"

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
