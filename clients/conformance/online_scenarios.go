package main

import (
	"fmt"
	"strings"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

var onlineScenarios = []scenario{
	{
		name: "who-is-online", heading: onlineHeading,
		rule: "the question is a list of user IDs with a message ID, and its answer the users who are online, in order; the server may refuse",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			users := []string{"carol", "bob", "Zoë", "bob"}
			t.do(command{"do": "online", "tag": "a", "users": users})
			m := c.wantOnline(users)
			c.send(answer(m, "", "\x00\x02\x03bob\x04Zo\xc3\xab"))
			t.sameList("users", t.tagged("reply", "a").Users, []string{"bob", "Zoë"})
			t.do(command{"do": "online", "tag": "b", "users": users})
			c.send(answer(c.wantOnline(users), "", "\x00\x00"))
			t.sameList("users", t.tagged("reply", "b").Users, nil)
			t.do(command{"do": "online", "tag": "c", "users": users})
			c.send(refusal(c.wantOnline(users), "", protocol.Refused, "not you", nil))
			if e := t.refused("c", "refused"); e.Code != 5003 || e.Text != "not you" {
				t.failf("got %s, want Refused", &e)
			}
			c.fence()
		},
	},
	{
		name: "who-is-online-limits", heading: onlineHeading,
		rule: "a question has at most 1,000 user IDs, each of 1 to 255 bytes without control characters: others are not sent (invalid)",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			var users []string
			for i := range 1001 {
				users = append(users, fmt.Sprint("user ", i))
			}
			for i, list := range [][]string{users, {"bob", ""}, {strings.Repeat("u", 256)}, {"a\nb"}, {"\u0085"}} {
				tag := fmt.Sprint(i)
				t.do(command{"do": "online", "tag": tag, "users": list})
				t.refused(tag, "invalid")
			}
			c.fence()
			t.do(command{"do": "online", "tag": "most", "users": users[:1000]})
			m := c.wantOnline(users[:1000])
			c.send(answer(m, "", string(m.Body)))
			t.sameList("users", t.tagged("reply", "most").Users, users[:1000])
		},
	},
}

// wantOnline takes the question who of these users is online.
func (c *conn) wantOnline(users []string) *protocol.Message {
	m := c.want(protocol.TypeWhoIsOnline, "the question who is online")
	got, err := system.ParseIDList(m.Body)
	if err != nil || m.ID == 0 {
		c.s.t.failf("got %s (%v), want a list of user IDs, and an ID", describe(m), err)
	}
	c.s.t.sameList("the question for", got, users)
	return m
}
