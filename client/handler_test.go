package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

func TestAMessageGoesToTheHandlerOfItsType(t *testing.T) {
	n := sockets(t)
	got := make(chan string, 10)
	handler := func(name string) client.Handler {
		return func(_ *client.Client, m *protocol.Message) error {
			got <- name + " " + m.UserID + " " + string(m.Body)
			return nil
		}
	}
	_, p := n.dial(client.Config{Handle: map[uint16]client.Handler{1: handler("one"), 2: handler("two")},
		HandleDefault: handler("default")}, nil)
	p.write(protocol.Message{Type: 2, UserID: "bob", Body: []byte("b")}, protocol.Message{Type: 1, Body: []byte("a")},
		protocol.Message{Type: 3, UserID: "carol", Body: []byte("c")})
	for _, want := range []string{"two bob b", "one  a", "default carol c"} {
		if g := <-got; g != want {
			t.Errorf("delivered is %q, want %q", g, want)
		}
	}
}

func TestARequestOfTheServersIsAnswered(t *testing.T) {
	n := sockets(t)
	_, p := n.dial(client.Config{Handle: map[uint16]client.Handler{
		1: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, append(m.Body, '!')) },
		2: func(c *client.Client, m *protocol.Message) error {
			return c.ReplyError(m, protocol.Errorf(protocol.Refused, "never"))
		},
	}}, nil)
	p.write(protocol.Message{Type: 1, ID: 7, Body: []byte("x")})
	if m := p.read(); m.Type != 1 || m.ID != 7 || m.Flags != protocol.FlagReply || string(m.Body) != "x!" || m.DestUserID != "" {
		t.Errorf("the reply is %+v", m)
	}
	p.write(protocol.Message{Type: 1, ID: 9, UserID: "bob"})
	if m := p.read(); m.ID != 9 || m.DestUserID != "bob" {
		t.Errorf("the reply to another user is %+v", m)
	}
	for _, tc := range []struct {
		typ  uint16
		want protocol.CloseCode
	}{{2, protocol.Refused}, {3, protocol.NoHandler}} {
		p.write(protocol.Message{Type: tc.typ, ID: 8})
		m := p.read()
		ce, err := protocol.ParseClose(m.Body)
		if m.ID != 8 || m.Flags != protocol.FlagReply|protocol.FlagError || err != nil || ce.Code != tc.want {
			t.Errorf("the reply to type %d is %+v, %v; want %v", tc.typ, m, err, tc.want)
		}
	}
	// Without an ID there is nothing to answer, and another user's message is not refused by the library.
	p.write(protocol.Message{Type: 2}, protocol.Message{Type: 3}, protocol.Message{Type: 3, ID: 5, UserID: "bob"},
		protocol.Message{Type: 1, ID: 10})
	if m := p.read(); m.ID != 10 {
		t.Errorf("the next that comes is %+v", m)
	}
}

// A handler's error answers a request that has no answer yet, with its code and text from 3000 on.
func TestAHandlersErrorAnswersTheRequest(t *testing.T) {
	handlers := []client.Handler{
		func(*client.Client, *protocol.Message) error { return protocol.Errorf(protocol.Refused, "never") },
		func(*client.Client, *protocol.Message) error {
			return fmt.Errorf("not today: %w", protocol.CloseCode(4001))
		},
		func(*client.Client, *protocol.Message) error {
			return protocol.Errorf(protocol.InternalError, "a secret")
		},
		func(*client.Client, *protocol.Message) error { return errors.New("a secret") },
		func(c *client.Client, m *protocol.Message) error {
			return errors.Join(c.Reply(m, []byte("first")), protocol.Refused)
		},
		func(c *client.Client, m *protocol.Message) error {
			return errors.Join(c.ReplyError(m, protocol.NoHandler), protocol.Refused)
		},
		func(c *client.Client, m *protocol.Message) error { return c.Reply(m, make([]byte, 101)) },
		func(c *client.Client, m *protocol.Message) error {
			return errors.Join(c.Reply(&protocol.Message{Type: 99, ID: m.ID}, nil), protocol.Refused)
		},
	}
	n := sockets(t)
	cfg := client.Config{MaxBody: 100, Handle: map[uint16]client.Handler{
		100: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, []byte("done")) }}}
	for i, h := range handlers {
		cfg.Handle[uint16(i+1)] = h
	}
	_, p := n.dial(cfg, nil)
	for i, want := range []string{"Refused: never", "code 4001", "HandlerFailed", "HandlerFailed", "first", "NoHandler",
		"HandlerFailed: the answer could not be sent", "to another, then Refused"} {
		p.write(protocol.Message{Type: uint16(i + 1), ID: 7, UserID: "bob"}, protocol.Message{Type: 100, ID: 8})
		m := p.read()
		before := ""
		if m.Type == 99 {
			before, m = "to another, then ", p.read()
		}
		got := before + string(m.Body)
		if m.Flags&protocol.FlagError != 0 {
			ce, err := protocol.ParseClose(m.Body)
			if err != nil {
				t.Fatal(err)
			}
			got = before + strings.TrimPrefix(ce.Error(), "rollcall: ")
		}
		if m.Type != uint16(i+1) || m.ID != 7 || !m.IsReply() || m.DestUserID != "bob" || got != want {
			t.Errorf("handler %d answers %+v, %q, want %q", i+1, m, got, want)
		}
		if m = p.read(); m.ID != 8 || string(m.Body) != "done" {
			t.Errorf("after the answer of handler %d comes %+v", i+1, m)
		}
	}
	for i := range handlers[:4] { // without an ID there is nothing to answer
		p.write(protocol.Message{Type: uint16(i + 1)})
	}
	p.write(protocol.Message{Type: 100, ID: 9})
	if m := p.read(); m.ID != 9 {
		t.Errorf("a message without an ID is answered: %+v", m)
	}
}

func TestAHandlerMayMakeRequests(t *testing.T) {
	n := sockets(t)
	got := make(chan string, 1)
	_, p := n.dial(client.Config{Handle: map[uint16]client.Handler{1: func(c *client.Client, _ *protocol.Message) error {
		reply, err := c.Request(context.Background(), 2, nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		got <- string(reply.Body)
		return nil
	}}}, nil)
	p.write(protocol.Message{Type: 1})
	m := p.read()
	p.write(protocol.Message{Type: 2, Flags: protocol.FlagReply, ID: m.ID, Body: []byte("yes")})
	if g := <-got; g != "yes" {
		t.Errorf("the reply is %q", g)
	}
}

func TestMessagesAreTheHandlersToKeep(t *testing.T) {
	n := sockets(t)
	kept := make(chan *protocol.Message, 1000)
	_, p := n.dial(client.Config{HandleDefault: func(_ *client.Client, m *protocol.Message) error { kept <- m; return nil }}, nil)
	go func() {
		for i := range 1000 {
			p.write(protocol.Message{Type: 1, Body: []byte{byte(i), byte(i >> 8)}})
		}
	}()
	var all []*protocol.Message
	for range 1000 {
		all = append(all, <-kept)
	}
	for i, m := range all {
		if m.Body[0] != byte(i) || m.Body[1] != byte(i>>8) {
			t.Fatalf("message %d carries %v", i, m.Body)
		}
	}
}

func TestStatesAndMessagesComeInOrder(t *testing.T) {
	n := sockets(t)
	got := make(chan string, 100)
	_, p := n.dial(client.Config{Reconnect: client.Reconnect{Min: -1},
		OnState:       func(_ *client.Client, s client.State, _ error) { got <- s.String() },
		HandleDefault: func(_ *client.Client, m *protocol.Message) error { got <- string(m.Body); return nil }}, nil)
	for _, body := range []string{"first", "second"} {
		p.write(protocol.Message{Type: 1, Body: []byte(body)})
		if body == "first" {
			_ = p.nc.Close()
			p = n.accept()
			p.welcome(nil)
		}
	}
	p.notice(protocol.CloseError{Code: protocol.PushedOut})
	for _, want := range []string{"Online", "first", "Reconnecting", "Online", "second", "Closed"} {
		if g := <-got; g != want {
			t.Fatalf("next is %s, want %s", g, want)
		}
	}
}

// While handlers are behind the client stops reading, and so slows the server down.
func TestMessagesThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		handled := 0
		c, p := pipes(t).dial(client.Config{MaxInbound: 10_000, Timeouts: client.Timeouts{Heartbeat: time.Second, Server: 3 * time.Second},
			HandleDefault: func(*client.Client, *protocol.Message) error { <-block; handled++; return nil }}, nil)
		// A request that was given up on does not count as one that waits.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			p.read()
		}()
		if _, err := c.Request(ctx, 2, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		<-asked
		sent := 0
		go func() {
			for range 1000 {
				p.write(protocol.Message{Type: 1, Body: make([]byte, 984)})
				sent++
			}
		}()
		go func() { // takes the heartbeats
			for {
				m, err := p.next()
				if err != nil {
					return
				}
				if m.Type == protocol.TypeClose {
					_ = p.nc.Close()
				}
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		// 10 wait, one is with the handler, one with the reader, and 16 are in its buffer.
		if sent > 30 {
			t.Errorf("%d messages of 1,000 bytes were read while 10,000 bytes may wait", sent)
		}
		if c.State() != client.Online {
			t.Errorf("a client that does not read takes the server for dead: %v", c.State())
		}
		close(block)
		synctest.Wait()
		if handled != 1000 {
			t.Errorf("%d of 1,000 messages are handled in the end", handled)
		}
	})
}

// The reply that a handler waits for may be behind more messages than may wait.
func TestARequestInAHandlerGetsItsReplyPastMessagesThatWait(t *testing.T) {
	for name, tc := range map[string]struct {
		behind int
		ok     bool
	}{"behind twice the limit": {20, true}, "behind more than four times": {100, false}} {
		t.Run(name, func(t *testing.T) {
			n := sockets(t)
			got := make(chan error, 1)
			first := true
			cfg := client.Config{MaxInbound: 10_000, HandleDefault: func(c *client.Client, _ *protocol.Message) error {
				if first {
					first = false
					_, err := c.Request(context.Background(), 2, nil)
					got <- err
				}
				return nil
			}}
			_, p := n.dial(cfg, nil)
			p.write(protocol.Message{Type: 1})
			m := p.read()
			var all []byte
			for range tc.behind {
				all, _ = protocol.Binary.Append(all, &protocol.Message{Type: 1, Body: make([]byte, 984)})
			}
			all, _ = protocol.Binary.Append(all, &protocol.Message{Type: 2, Flags: protocol.FlagReply, ID: m.ID})
			_, _ = p.nc.Write(all) // fails where the client has had enough
			err := <-got
			if tc.ok && err != nil {
				t.Errorf("the request ends with %v", err)
			}
			if !tc.ok && (!errors.Is(err, client.ErrDisconnected) || code(t, err) != protocol.RateLimited) {
				t.Errorf("the request ends with %v, want RateLimited", err)
			}
		})
	}
}

// A request that a handler makes when the client has already stopped reading makes it read on.
func TestARequestInAHandlerMakesAClientThatIsBehindReadOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask, got := make(chan struct{}, 1), make(chan error, 1)
		_, p := pipes(t).dial(client.Config{MaxInbound: 10_000, HandleDefault: func(c *client.Client, _ *protocol.Message) error {
			if _, first := <-ask; first {
				_, err := c.Request(context.Background(), 2, nil)
				got <- err
			}
			return nil
		}}, nil)
		written := make(chan struct{})
		go func() {
			defer close(written)
			for range 60 {
				p.write(protocol.Message{Type: 1, Body: make([]byte, 400)})
			}
		}()
		synctest.Wait()
		ask <- struct{}{}
		close(ask)
		m := p.read()
		<-written
		p.write(protocol.Message{Type: 2, Flags: protocol.FlagReply, ID: m.ID})
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

// What had come before the server's Close is still delivered, unless the program closes the client meanwhile; the last
// word is delivered in any case.
func TestClosedIsDeliveredAlthoughTheRestIsThrownAway(t *testing.T) {
	n := sockets(t)
	closed := make(chan struct{})
	handled, last := 0, error(nil)
	c, p := n.dial(client.Config{
		HandleDefault: func(c *client.Client, _ *protocol.Message) error {
			handled++
			<-closed
			return c.Close()
		},
		OnState: func(_ *client.Client, s client.State, err error) {
			if s == client.Closed {
				last = err
			}
		}}, nil)
	p.write(protocol.Message{Type: 1}, protocol.Message{Type: 1})
	p.notice(protocol.CloseError{Code: protocol.PushedOut})
	rollcalltest.Eventually(t, func() bool { return c.State() == client.Closed }, "the client has ended")
	close(closed)
	<-c.Done()
	if handled != 1 || code(t, last) != protocol.PushedOut {
		t.Errorf("%d messages are handled, and the last word is %v", handled, last)
	}
}

func TestAPanicInAHandlerEndsTheClient(t *testing.T) {
	n := sockets(t)
	calls := 0
	cfg := client.Config{HandleDefault: func(*client.Client, *protocol.Message) error { calls++; panic("oh no") }}
	changes := watch(&cfg)
	c, p := n.dial(cfg, nil)
	expect(t, changes, client.Online)
	p.write(protocol.Message{Type: 1}, protocol.Message{Type: 1})
	m := p.read()
	if ce, err := protocol.ParseClose(m.Body); m.Type != protocol.TypeClose || err != nil || ce.Code != protocol.InternalError {
		t.Errorf("the server is told %+v, %v", m, err)
	}
	_ = p.nc.Close()
	if err := expect(t, changes, client.Closed); !strings.Contains(err.Error(), "panicked: oh no\n") ||
		!strings.Contains(err.Error(), "TestAPanicInAHandlerEndsTheClient") { // the stack
		t.Errorf("the client ended with %v", err)
	}
	<-c.Done()
	if len(n.dials) != 1 || calls != 1 {
		t.Errorf("%d connections, %d calls", len(n.dials), calls)
	}
}

func TestAPanicInTheLastCallIsReportedToo(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{OnState: func(_ *client.Client, s client.State, _ error) {
		if s == client.Closed {
			panic("at the end")
		}
	}}, nil)
	p.notice(protocol.CloseError{Code: protocol.KickedOut})
	<-c.Done()
	if err := c.Err(); !strings.Contains(err.Error(), "panicked: at the end\n") || code(t, err) != protocol.KickedOut {
		t.Errorf("the client ended with %v", err)
	}
}

// A handler that would never be called, or could not be, is found when the client starts, not when a message comes.
func TestHandlersThatMakeNoSenseAreErrors(t *testing.T) {
	h := func(*client.Client, *protocol.Message) error { return nil }
	for typ, handlers := range map[string]map[uint16]client.Handler{
		"0x0000": {0: h},
		"0xff00": {1: h, protocol.TypeHeartbeat: h},
		"0x0002": {1: h, 2: nil},
	} {
		_, err := client.Dial(context.Background(), "first:1", client.Config{UserID: "alice", Handle: handlers,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }})
		if err == nil || !strings.Contains(err.Error(), typ) {
			t.Errorf("with a handler for type %s Dial returned %v", typ, err)
		}
	}
}
