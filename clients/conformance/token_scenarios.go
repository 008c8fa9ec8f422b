package main

import (
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

var tokenScenarios = []scenario{
	{
		name: "token-expired", heading: tokenHeading,
		rule: "after TokenExpired a client comes back with a fresh token",
		run: func(t *trial) {
			s, c := t.session(command{"tokens": []string{"old", "fresh"}}, nil)
			c.close(protocol.TokenExpired, "", nil)
			t.lost(1010)
			c = s.accept()
			if f := c.welcome(nil); f["token"] != "fresh" {
				t.failf("got the token %q, want the fresh one", f["token"])
			}
			t.online()
		},
	},
	{
		name: "renew", heading: tokenHeading, needs: "renew", waits: true,
		rule: "a session that expires is renewed with a fresh token in good time, again after each answer's expires-ms, and no more without one",
		run: func(t *trial) {
			const expires = 3 * time.Second
			t.mostly(func(s *server) string {
				t.dial(s, command{"tokens": []string{"one", "two", "three"}, "fields": fields{"room": "42"}})
				c := s.accept()
				m, _ := c.logon()
				c.send(c.accepted(m, "", fields{"session": "s1", "expires-ms": "3000"}))
				t.state("online")
				last := time.Now()
				for i, want := range []fields{{"room": "42", "token": "two"}, {"room": "42", "token": "three"}} {
					m, f := c.wantRenew()
					t.same("the fields of the Renew", f, want)
					switch took := time.Since(last); {
					case took < expires/4:
						t.failf("got a Renew after %v, want it when a quarter of %v is left or so", took, expires)
					case took > expires:
						return fmt.Sprintf("got a Renew after %v, want it before %v have passed", took, expires)
					}
					next := fields{"expires-ms": "3000"}
					if i == 1 {
						next = nil
					}
					c.send(renewed(m, next))
					last = time.Now()
				}
				time.Sleep(expires)
				c.fence()
				return ""
			})
		},
	},
	{
		name: "renew-refused", heading: tokenHeading, needs: "renew", waits: true,
		rule: "a renewal that was refused leaves the connection as it is, and is tried again while there is time",
		run: func(t *trial) {
			_, c := t.session(command{"tokens": []string{"one", "two", "three"}}, fields{"expires-ms": "6000"})
			m, _ := c.wantRenew()
			c.send(refusal(m, "", protocol.InternalError, "ask again", nil))
			m, f := c.wantRenew()
			if f["token"] != "three" {
				t.failf("got a Renew with the token %q, want the next one", f["token"])
			}
			c.send(renewed(m, nil))
			t.eventFence(c)
			c.fence()
		},
	},
	{
		name: "renew-one-at-a-time", heading: tokenHeading, needs: "renew", waits: true,
		rule: "the next Renew is sent when the last one has been answered",
		run: func(t *trial) {
			_, c := t.session(command{"tokens": []string{"one", "two", "three"}}, fields{"expires-ms": "1500"})
			m, _ := c.wantRenew()
			time.Sleep(1500 * time.Millisecond)
			c.fence()
			c.send(renewed(m, nil))
			c.fence()
		},
	},
}

// wantRenew takes a Renew.
func (c *conn) wantRenew() (*protocol.Message, fields) {
	m := c.want(protocol.TypeRenew, "a Renew")
	f, err := system.ParseStringMap(m.Body)
	if err != nil || m.ID == 0 {
		c.s.t.failf("got %s (%v), want an ID and a string map", describe(m), err)
	}
	if _, ok := f[protocol.FieldSession]; ok {
		c.s.t.failf("got a Renew with a session, which takes none over")
	}
	return m, f
}

// renewed is the reply that accepts a Renew.
func renewed(m *protocol.Message, f fields) *protocol.Message {
	body, err := system.AppendLogonReply(nil, f)
	check(err)
	return &protocol.Message{Type: protocol.TypeRenew, Flags: protocol.FlagReply, ID: m.ID, Body: body}
}
