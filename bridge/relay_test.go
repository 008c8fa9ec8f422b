package bridge_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// relayed collects what a client gets.
func relayed(into chan<- string) client.Config {
	return client.Config{HandleDefault: func(c *client.Client, m *protocol.Message) error {
		into <- fmt.Sprintf("%s on %d: %s", m.UserID, m.Type, m.Body)
		if m.ID != 0 {
			_ = c.Reply(m, append([]byte("re: "), m.Body...))
		}
		return nil
	}}
}

// wantError requires that err is the server's refusal of a request.
func wantError(t *testing.T, err error, code protocol.CloseCode, text string) {
	t.Helper()
	var ce *protocol.CloseError
	if !errors.As(err, &ce) || ce.Code != code || !strings.Contains(ce.Text, text) {
		t.Errorf("got %v, want %v with %q", err, code, text)
	}
}

// E12: with Relay a message that names a user goes to all sessions of that user, under the sender's bound UserID, and
// the reply comes back. If the user is offline, the application is told, and so is a sender who waits.
func TestRelay(t *testing.T) {
	for _, workers := range []int{0, 4} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			undelivered := make(chan string, 10)
			srv := rollcalltest.NewServer(t, rollcall.Config{
				Engine: engine.Config{Workers: workers},
				Users:  usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}},
				Bridge: bridge.Config{Relay: &bridge.Relay{Undelivered: func(from *engine.Conn, m *protocol.Message) {
					undelivered <- fmt.Sprintf("%s to %s: %s", m.UserID, m.DestUserID, m.Body)
				}}},
			}, func(s *rollcall.Server) {
				s.Engine.Handle(7, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte("the server")) })
			})
			phone, desktop := make(chan string, 10), make(chan string, 10)
			cfg := relayed(phone)
			cfg.Device = 1
			srv.Client(t, "bob", cfg)
			cfg = relayed(desktop)
			cfg.Device = 2
			srv.Client(t, "bob", cfg)
			ann := srv.Client(t, "ann", client.Config{})

			dave, err := dialRaw(srv.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer dave.conn.Close()
			dave.t = t
			dave.logOn("dave")
			dave.send(&protocol.Message{Type: 7, UserID: "eve", DestUserID: "bob", Body: []byte("hi")})
			for _, got := range []string{<-phone, <-desktop} {
				if got != "dave on 7: hi" {
					t.Errorf("bob got %q", got)
				}
			}
			reply, err := ann.RequestTo(t.Context(), "bob", 7, []byte("there?"))
			if err != nil || string(reply.Body) != "re: there?" || reply.UserID != "bob" {
				t.Errorf("bob's answer: %+v, %v", reply, err)
			}
			if reply, err := ann.RequestTo(t.Context(), protocol.ServerID, 7, nil); err != nil || string(reply.Body) != "the server" {
				t.Errorf("the server's answer: %+v, %v", reply, err)
			}

			_, err = ann.RequestTo(t.Context(), "carol", 7, []byte("there?"))
			wantError(t, err, protocol.UserOffline, "carol is offline")
			if err := ann.SendTo("carol", 7, []byte("bye")); err != nil {
				t.Fatal(err)
			}
			if got := []string{<-undelivered, <-undelivered}; !slices.Equal(got, []string{"ann to carol: there?", "ann to carol: bye"}) {
				t.Errorf("undelivered: %q", got)
			}
		})
	}
}

// E12: the hook may allow a message, change it, or refuse it with a code.
func TestRelayAsksTheHook(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{Bridge: bridge.Config{Relay: &bridge.Relay{
		Allow: func(from *engine.Conn, m *protocol.Message) error {
			switch string(m.Body) {
			case "secret":
				return &protocol.CloseError{Code: protocol.CloseCode(5999), Text: "hush"}
			case "rude":
				return errors.New("be nice")
			case "to bob":
				m.DestUserID, m.Body, m.UserID = "bob", []byte("by way of the hook"), "eve"
			}
			return nil
		},
	}}}, nil)
	bobs := make(chan string, 10)
	srv.Client(t, "bob", relayed(bobs))
	ann := srv.Client(t, "ann", client.Config{})
	_, err := ann.RequestTo(t.Context(), "bob", 7, []byte("secret"))
	wantError(t, err, 5999, "hush")
	_, err = ann.RequestTo(t.Context(), "bob", 7, []byte("rude"))
	wantError(t, err, protocol.Refused, "be nice")
	if err := ann.SendTo("carol", 7, []byte("to bob")); err != nil {
		t.Fatal(err)
	}
	if got := <-bobs; got != "ann on 7: by way of the hook" {
		t.Errorf("bob got %q", got)
	}
}

// E12: a reply reaches every session of the user who asked. If that user is offline, only the application is told.
func TestRelayOfReplies(t *testing.T) {
	undelivered := make(chan string, 10)
	s := serve(t, options{users: usermgr.Config{Devices: usermgr.Devices{MaxSessions: 3}},
		bridge: bridge.Config{Relay: &bridge.Relay{Undelivered: func(_ *engine.Conn, m *protocol.Message) {
			undelivered <- fmt.Sprintf("%s to %s, reply %v: %s", m.UserID, m.DestUserID, m.IsReply(), m.Body)
		}}}})
	phone, desktop, bob := s.logOn("ann"), s.logOn("ann"), s.logOn("bob")
	phone.send(&protocol.Message{Type: 7, ID: 5, DestUserID: "bob", Body: []byte("there?")})
	bob.expect(7, "there?")
	reply := &protocol.Message{Type: 7, Flags: protocol.FlagReply, ID: 5, DestUserID: "ann", Body: []byte("yes")}
	bob.send(reply)
	for _, c := range []*rawClient{phone, desktop} {
		if m := c.receive(); !m.IsReply() || m.ID != 5 || m.UserID != "bob" || string(m.Body) != "yes" {
			t.Errorf("ann got %+v", m)
		}
	}
	reply.DestUserID = "carol"
	bob.send(reply, &protocol.Message{Type: 7, ID: 6, DestUserID: "bob", Body: []byte("to myself")})
	if got := receive(t, "what is undelivered", undelivered); got != "bob to carol, reply true: yes" {
		t.Errorf("undelivered: %q", got)
	}
	bob.expect(7, "to myself") // and no error before it
}

// Without Relay a message that names a user is the handlers' of its type.
func TestWithoutRelayMessagesAreTheHandlers(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{}, func(s *rollcall.Server) {
		s.Engine.Handle(7, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte("for "+m.DestUserID)) })
	})
	ann := srv.Client(t, "ann", client.Config{})
	if reply, err := ann.RequestTo(t.Context(), "bob", 7, nil); err != nil || string(reply.Body) != "for bob" {
		t.Errorf("the handler's answer: %+v, %v", reply, err)
	}
}

// Rule 15: Limits.MaxRequests limits the requests to the server itself. Without Relay these include requests that name a user.
func TestMaxRequestsDoesNotCountWhatIsRelayed(t *testing.T) {
	for name, relay := range map[string]*bridge.Relay{"with Relay": {}, "without Relay": nil} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, options{engine: engine.Config{Limits: engine.Limits{MaxRequests: 1}}, bridge: bridge.Config{Relay: relay}})
			s.engine.Handle(7, func(*engine.Conn, *protocol.Message) error { return nil }) // answers later
			s.start()
			ann, bob := s.logOn("ann"), s.logOn("bob")
			for id := range uint32(2) {
				ann.send(&protocol.Message{Type: 7, ID: id + 1, DestUserID: "bob", Body: []byte("there?")})
				if relay != nil {
					bob.expect(7, "there?")
				}
			}
			if relay != nil {
				return
			}
			m := ann.receive()
			if ce, err := protocol.ParseClose(m.Body); m.ID != 2 || err != nil || ce.Code != protocol.Refused {
				t.Errorf("the second request is answered %+v, %v", m, ce)
			}
		})
	}
}

// E12: who is online, asked one by one or as a list, where the bridge allows it.
func TestWhoIsOnline(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{Bridge: bridge.Config{
		MayAskWhoIsOnline: func(asker string, about []string) bool { return asker == "ann" && !slices.Contains(about, "eve") },
	}}, nil)
	ann, bob := srv.Client(t, "ann", client.Config{}), srv.Client(t, "bob", client.Config{})
	for _, tc := range []struct{ about, online []string }{
		{[]string{"bob"}, []string{"bob"}},
		{[]string{"carol"}, nil},
		{[]string{"dan", "bob", "carol", "ann"}, []string{"bob", "ann"}},
	} {
		if online, err := ann.WhoIsOnline(t.Context(), tc.about...); err != nil || !slices.Equal(online, tc.online) {
			t.Errorf("of %q are online %q, %v; want %q", tc.about, online, err, tc.online)
		}
	}
	_, err := ann.WhoIsOnline(t.Context(), "eve")
	wantError(t, err, protocol.Refused, "does not tell you")
	_, err = bob.WhoIsOnline(t.Context(), "ann")
	wantError(t, err, protocol.Refused, "does not tell you")

	silent := rollcalltest.NewServer(t, rollcall.Config{}, nil)
	_, err = silent.Client(t, "ann", client.Config{}).WhoIsOnline(t.Context(), "ann")
	wantError(t, err, protocol.Refused, "does not tell you")
}
