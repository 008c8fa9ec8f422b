package main

import (
	"strings"

	"github.com/rollcall-go/rollcall/protocol"
)

const mebibyte = 1 << 20

var limitScenarios = []scenario{
	{
		name: "one-mebibyte", heading: limitsHeading,
		rule: "without max-body a body of 1 MiB may be sent, both ways, and a client sends no larger one",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			t.tooLarge(c, mebibyte)
			body := strings.Repeat("x", mebibyte)
			c.send(message(body))
			if e := t.nextEvent("message"); e.body() != body {
				t.failf("got a message of %d bytes, want 1 MiB", len(e.Body)/2)
			}
			t.do(command{"do": "request", "tag": "r", "type": 1, "size": mebibyte})
			c.send(answer(c.wantRequest(1, "", strings.Repeat("\x00", mebibyte)), "", body))
			if e := t.tagged("reply", "r"); e.body() != body {
				t.failf("got a reply of %d bytes, want 1 MiB", len(e.Body)/2)
			}
		},
	},
	{
		name: "small-max-body", heading: startHeading,
		rule: "a client sends no body over max-body; error replies and the Close of the server may be larger",
		run: func(t *trial) {
			s, c := t.session(nil, fields{"max-body": "1000"})
			t.tooLarge(c, 1000)
			t.do(command{"do": "request", "tag": "r", "type": 1, "body": ""})
			text := strings.Repeat("t", 60_000)
			c.send(refusal(c.wantRequest(1, "", ""), "", 5003, text, nil))
			if e := t.refused("r", "refused"); e.Text != text {
				t.failf("got a text of %d bytes, want 60,000", len(e.Text))
			}
			c.close(protocol.ServerStopping, text, nil)
			t.lost(1004)
			c = t.again(s, nil) // which has no max-body
			t.do(command{"do": "send", "tag": "s", "type": 1, "size": 1001})
			c.want(plainType, "a message of 1,001 bytes")
			t.tagged("done", "s")
		},
	},
	{
		name: "answer-too-large", heading: startHeading,
		rule: "in place of an answer that is larger than max-body the server gets the error reply HandlerFailed",
		run: func(t *trial) {
			_, c := t.session(nil, fields{"max-body": "1000"})
			c.send(&protocol.Message{Type: plainType, ID: 5})
			t.do(command{"do": "reply", "request": t.event("request").Request, "body": strings.Repeat("00", 1001)})
			if code := c.codeOf(c.wantReply(plainType, 5, "", true)); code != protocol.HandlerFailed {
				t.failf("got the code %d, want HandlerFailed", code)
			}
			c.send(&protocol.Message{Type: plainType, ID: 6})
			t.do(command{"do": "reply", "request": t.event("request").Request, "body": strings.Repeat("00", 1000)})
			c.wantReply(plainType, 6, "", false)
			c.fence()
		},
	},
	{
		name: "large-max-body", heading: startHeading,
		rule: "a client may send bodies of max-body, and takes as much",
		run: func(t *trial) {
			_, c := t.session(nil, fields{"max-body": "1500000"})
			t.tooLarge(c, 1_500_000)
			c.send(message(strings.Repeat("y", 1_500_000)))
			if e := t.nextEvent("message"); len(e.Body) != 3_000_000 {
				t.failf("got a message of %d bytes, want 1,500,000", len(e.Body)/2)
			}
			t.eventFence(c)
		},
	},
	{
		name: "own-max-body", heading: limitsHeading,
		rule: "a client's own limit of bodies holds for what it sends",
		run: func(t *trial) {
			_, c := t.session(command{"max_body": 500}, nil)
			t.tooLarge(c, 500)
		},
	},
	{
		name: "notices-above-max-body", heading: startHeading,
		rule: "a client takes an answer to its Logon, an error reply and a Close that are larger than its limit, by 64 KiB at most",
		run: func(t *trial) {
			text := strings.Repeat("y", 200)
			_, c := t.session(command{"max_body": 100}, fields{"later": text})
			t.do(command{"do": "request", "tag": "r", "type": 1, "timeout_ms": 30_000})
			c.send(refusal(c.want(plainType, "the request"), "", protocol.Refused, text, nil))
			if e := t.tagged("error", "r"); protocol.CloseCode(e.Code) != protocol.Refused {
				t.failf("got %s, want the error reply's code, %d", &e, protocol.Refused)
			}
			c.close(protocol.KickedOut, text, nil)
			t.closed(int(protocol.KickedOut), false)
		},
	},
}

// tooLarge requires that the client sends bodies of most bytes, and no larger ones.
func (t *trial) tooLarge(c *conn, most int) {
	t.do(command{"do": "send", "tag": "more", "type": 1, "size": most + 1})
	t.refused("more", "too-large")
	t.do(command{"do": "request", "tag": "more", "type": 1, "to": "bob", "size": most + 1})
	t.refused("more", "too-large")
	t.do(command{"do": "send", "tag": "most", "type": 1, "size": most})
	if m := c.want(plainType, "the message"); len(m.Body) != most {
		t.failf("got a message of %d bytes, want %d", len(m.Body), most)
	}
	t.tagged("done", "most")
}
