package client_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// Who may answer: docs/protocol.md, Messages between users.
func TestAReplyIsTakenFromWhoeverWasAskedAndFromTheServer(t *testing.T) {
	failed := protocol.FlagReply | protocol.FlagError
	offline := system.AppendClose(nil, &protocol.CloseError{Code: protocol.UserOffline, Text: "bob is offline"})
	for name, tc := range map[string]struct {
		asked string
		reply protocol.Message
		taken bool
	}{
		"bob answers what he was asked":         {"bob", protocol.Message{UserID: "bob"}, true},
		"bob refuses what he was asked":         {"bob", protocol.Message{UserID: "bob", Flags: failed, Body: offline}, true},
		"the server answers in bob's place":     {"bob", protocol.Message{}, true},
		"the server says that bob is offline":   {"bob", protocol.Message{Flags: failed, Body: offline}, true},
		"the server answers what it was asked":  {"", protocol.Message{}, true},
		"carol answers what bob was asked":      {"bob", protocol.Message{UserID: "carol"}, false},
		"carol refuses what bob was asked":      {"bob", protocol.Message{UserID: "carol", Flags: failed, Body: offline}, false},
		"Bob answers what bob was asked":        {"bob", protocol.Message{UserID: "Bob"}, false},
		"bob answers what the server was asked": {"", protocol.Message{UserID: "bob"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipes(t).dial(client.Config{}, nil)
				type outcome struct {
					reply *protocol.Message
					err   error
				}
				ended := make(chan outcome, 1)
				go func() {
					reply, err := c.RequestTo(context.Background(), tc.asked, 1, nil)
					ended <- outcome{reply, err}
				}()
				m := p.read()
				reply := tc.reply
				reply.Type, reply.ID, reply.DestUserID = m.Type, m.ID, "alice"
				reply.Flags |= protocol.FlagReply
				p.write(reply)
				synctest.Wait()
				if taken := len(ended) == 1; taken != tc.taken {
					t.Fatalf("taken: %v, want %v", taken, tc.taken)
				}
				if !tc.taken { // the request is open still
					p.write(protocol.Message{Type: m.Type, Flags: protocol.FlagReply, ID: m.ID, Body: []byte("the one")})
					if o := <-ended; o.err != nil || string(o.reply.Body) != "the one" {
						t.Errorf("the request ends with %v, %v", o.reply, o.err)
					}
					return
				}
				o := <-ended
				if tc.reply.Flags != 0 {
					if code(t, o.err) != protocol.UserOffline {
						t.Errorf("the request ends with %v", o.err)
					}
				} else if o.err != nil || o.reply.UserID != tc.reply.UserID {
					t.Errorf("the request ends with %+v, %v", o.reply, o.err)
				}
			})
		})
	}
}

// Two sessions of one user get each other's replies: they must not number their requests alike. Nor must a session and the
// one before it.
func TestRequestsBeginAtARandomNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		const connections = 20
		firsts := make(map[uint32]bool)
		ask := func(c *client.Client, p *peer) {
			t.Helper()
			var last uint32
			for i := range uint32(3) {
				if err := c.Send(1, nil); err != nil { // which takes no number
					t.Fatal(err)
				}
				p.read()
				go func() {
					m := p.read()
					p.write(protocol.Message{Type: m.Type, Flags: protocol.FlagReply, ID: m.ID})
				}()
				reply, err := c.Request(t.Context(), 1, nil)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					firsts[reply.ID] = true
				} else if reply.ID != last+1 && last+1 != 0 {
					t.Errorf("after %d comes %d", last, reply.ID)
				}
				last = reply.ID
			}
		}
		for range connections / 2 {
			c, p := n.dial(client.Config{Reconnect: client.Reconnect{Min: -1}}, nil)
			ask(c, p)
			_ = p.nc.Close()
			p = n.accept()
			p.welcome(nil)
			synctest.Wait()
			ask(c, p)
		}
		if len(firsts) != connections || firsts[0] {
			t.Errorf("%d connections begin at %v", connections, firsts)
		}
	})
}
