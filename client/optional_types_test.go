package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// The types of optional packages: docs/protocol.md, System messages.
const firstOptional, lastOptional = protocol.TypePresence, 0xFF09

// A program sends and gets messages of the optional packages' types as it does those of its own, in one order.
func TestTypesOfOptionalPackagesAreThePrograms(t *testing.T) {
	ca := testca.New(t)
	for name, tc := range map[string]struct {
		server engine.Config
		client *tls.Config
	}{
		"tcp":     {},
		"workers": {server: engine.Config{Workers: 2}},
		"tls": {server: engine.Config{Listeners: []engine.Listener{{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}}}},
			client: &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := rollcalltest.NewServer(t, rollcall.Config{Engine: tc.server}, func(s *rollcall.Server) {
				for typ := uint16(firstOptional); typ < lastOptional; typ++ {
					s.Engine.Handle(typ, func(c *engine.Conn, m *protocol.Message) error {
						switch string(m.Body) {
						case "refuse":
							return protocol.Errorf(protocol.Refused, "never")
						case "send": // with no answer, because the client expects none
							return c.SendMessage(&protocol.Message{Type: m.Type, Body: []byte("sent")}, nil)
						}
						return c.Reply(m, append([]byte("re: "), m.Body...))
					})
				}
			})
			got := make(chan string, 100)
			note := func(c *client.Client, m *protocol.Message) error {
				if m.ID != 0 {
					return c.Reply(m, append([]byte("client: "), m.Body...))
				}
				got <- fmt.Sprintf("%x %s", m.Type, m.Body)
				return nil
			}
			handle := map[uint16]client.Handler{1: note, firstOptional: note, firstOptional + 1: note, lastOptional: note}
			c := srv.Client(t, "alice", client.Config{TLS: tc.client, Handle: handle})

			for typ := uint16(firstOptional); typ < lastOptional; typ++ {
				reply, err := c.Request(t.Context(), typ, []byte("hi"))
				if err != nil || reply.Type != typ || string(reply.Body) != "re: hi" {
					t.Errorf("type %#x: the reply is %v, %v", typ, reply, err)
				}
				if _, err := c.Request(t.Context(), typ, []byte("refuse")); code(t, err) != protocol.Refused {
					t.Errorf("type %#x: the error is %v", typ, err)
				}
			}
			if _, err := c.Request(t.Context(), lastOptional, nil); code(t, err) != protocol.NoHandler {
				t.Errorf("a type that the server has no handler for: %v", err)
			}
			if reply, err := c.RequestTo(t.Context(), protocol.ServerID, firstOptional, []byte("you")); err != nil || string(reply.Body) != "re: you" {
				t.Errorf("a request to the server by its ID: %v, %v", reply, err)
			}
			if err := c.Send(firstOptional+1, []byte("send")); err != nil {
				t.Error(err)
			}
			if m := receive(t, "what the server sends because of a message", got); m != "ff07 sent" {
				t.Errorf("the client got %q", m)
			}

			var want []string
			for i, typ := range []uint16{1, firstOptional, 1, 1, lastOptional, firstOptional + 1, 1, firstOptional, firstOptional, 1} {
				m := protocol.Message{Type: typ, Body: fmt.Append(nil, i)}
				if err := srv.SendMessage("alice", &m, nil); err != nil {
					t.Fatal(err)
				}
				want = append(want, fmt.Sprintf("%x %d", typ, i))
			}
			for i := range want {
				if m := receive(t, "a message", got); m != want[i] {
					t.Errorf("message %d is %q, want %q", i, m, want[i])
				}
			}
			conn := srv.Engine.Conn(srv.Users.Links("alice")[0].Address().Conn)
			if reply, err := conn.Request(t.Context(), firstOptional, []byte("there?")); err != nil || string(reply.Body) != "client: there?" {
				t.Errorf("the client's answer is %v, %v", reply, err)
			}
		})
	}
}

// Messages of the optional packages' types are between a client and the server: SendTo and RequestTo refuse other users.
func TestTypesOfOptionalPackagesGoToTheServerAlone(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{}, nil)
	over, cancel := context.WithCancel(t.Context()) // a request that is not refused ends at once
	cancel()
	for typ := uint16(firstOptional); typ <= lastOptional; typ++ {
		err := c.SendTo("bob", typ, nil)
		_, requestErr := c.RequestTo(over, "bob", typ, nil)
		for _, err := range []error{err, requestErr} {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("0x%04x", typ)) {
				t.Errorf("type %#x to another user: %v", typ, err)
			}
		}
	}
	if err := errors.Join(c.SendTo(protocol.ServerID, lastOptional, []byte("to the server")), c.Send(firstOptional, nil)); err != nil {
		t.Fatal(err)
	}
	if m := p.read(); m.Type != lastOptional || string(m.Body) != "to the server" {
		t.Errorf("the first that is sent is %+v", m)
	}
	if m := p.read(); m.Type != firstOptional {
		t.Errorf("the second is %+v", m)
	}
}

// A program that does not use an optional package does not notice its messages: HandleDefault is for the application's types, and nothing
// is answered.
func TestTypesOfOptionalPackagesWithoutAHandlerAreDropped(t *testing.T) {
	n := sockets(t)
	got := make(chan uint16, 10)
	note := func(_ *client.Client, m *protocol.Message) error {
		got <- m.Type
		return nil
	}
	_, p := n.dial(client.Config{Handle: map[uint16]client.Handler{lastOptional: note}, HandleDefault: note}, nil)
	for typ := uint16(firstOptional); typ < lastOptional; typ++ {
		p.write(protocol.Message{Type: typ}, protocol.Message{Type: typ, ID: 3})
	}
	p.write(protocol.Message{Type: lastOptional}, protocol.Message{Type: 7}, protocol.Message{Type: protocol.TypeHeartbeat, ID: 9})
	for _, want := range []uint16{lastOptional, 7} {
		if typ := receive(t, "a message", got); typ != want {
			t.Errorf("type %#x was delivered, want %#x", typ, want)
		}
	}
	if m := p.read(); m.Type != protocol.TypeHeartbeat || m.ID != 9 {
		t.Errorf("the first answer is %+v", m)
	}
}

// All other types of the system stay the client's own: they are not sent, no handler is set for them, and they are not delivered.
func TestOtherSystemTypesAreNotThePrograms(t *testing.T) {
	h := func(*client.Client, *protocol.Message) error { return nil }
	n := sockets(t)
	got := make(chan uint16, 10)
	c, p := n.dial(client.Config{HandleDefault: func(_ *client.Client, m *protocol.Message) error {
		got <- m.Type
		return nil
	}}, nil)
	over, cancel := context.WithCancel(t.Context()) // a request that is not refused ends at once
	cancel()
	handled := []uint16{protocol.TypeHeartbeat, protocol.TypeClose} // by the client itself
	for i := int(protocol.FirstSystemType); i <= 0xFFFF; i++ {
		typ := uint16(i)
		if typ >= firstOptional && typ <= lastOptional {
			continue
		}
		_, requestErr := c.Request(over, typ, nil)
		_, dialErr := client.Dial(context.Background(), "first:1", client.Config{UserID: "alice", Handle: map[uint16]client.Handler{typ: h},
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }})
		for what, err := range map[string]error{"Send": c.Send(typ, nil), "SendTo": c.SendTo("bob", typ, nil), "Request": requestErr,
			"Reply": c.Reply(&protocol.Message{Type: typ, ID: 1}, nil), "a handler": dialErr} {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("0x%04x", typ)) {
				t.Errorf("%s, type %#x: %v", what, typ, err)
			}
		}
		if !slices.Contains(handled, typ) {
			p.write(protocol.Message{Type: typ}, protocol.Message{Type: typ, ID: 3})
		}
	}
	p.write(protocol.Message{Type: 7})
	if typ := receive(t, "the application's message", got); typ != 7 {
		t.Errorf("type %#x was delivered", typ)
	}
	if err := c.Send(8, nil); err != nil {
		t.Fatal(err)
	}
	if m := p.read(); m.Type != 8 {
		t.Errorf("the first that is sent is %+v", m)
	}
}
