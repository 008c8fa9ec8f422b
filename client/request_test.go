package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestRepliesFindTheirRequestsInAnyOrder(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{}, nil)
	const requests = 100
	go func() { // answers the last one first
		var got []*protocol.Message
		for range requests {
			got = append(got, p.read())
		}
		for i := range got {
			m := got[len(got)-1-i]
			p.write(protocol.Message{Type: m.Type, Flags: protocol.FlagReply, ID: m.ID, Body: m.Body})
		}
	}()
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() {
			want := fmt.Sprint(i)
			reply, err := c.Request(context.Background(), 1, []byte(want))
			if err != nil || string(reply.Body) != want || !reply.IsReply() {
				t.Errorf("request %s: %+v, %v", want, reply, err)
			}
		})
	}
	wg.Wait()
}

func TestAnErrorReplyIsACloseError(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{}, nil)
	go func() {
		m := p.read()
		p.write(protocol.Message{Type: m.Type, Flags: protocol.FlagReply | protocol.FlagError, ID: m.ID,
			Body: system.AppendClose(nil, &protocol.CloseError{Code: 4711, Text: "no", Info: map[string]string{"retry-ms": "7"}})})
	}()
	_, err := c.RequestTo(t.Context(), "bob", 1, nil)
	var ce *protocol.CloseError
	if !errors.As(err, &ce) || ce.Code != 4711 || ce.Text != "no" || ce.Info["retry-ms"] != "7" {
		t.Errorf("the error is %v", err)
	}
	if c.State() != client.Online {
		t.Error("a failed request ended the connection")
	}
}

func TestARequestEndsWithItsContextAndItsLateReplyIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipes(t).dial(client.Config{}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		asked := make(chan *protocol.Message, 1)
		go func() { asked <- p.read() }()
		if _, err := c.Request(ctx, 1, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the request ends with %v", err)
		}
		p.write(protocol.Message{Type: 1, Flags: protocol.FlagReply, ID: (<-asked).ID, Body: []byte("late")})
		go func() {
			m := p.read()
			p.write(protocol.Message{Type: 1, Flags: protocol.FlagReply, ID: m.ID, Body: []byte("in time")})
		}()
		if reply, err := c.Request(t.Context(), 1, nil); err != nil || string(reply.Body) != "in time" {
			t.Errorf("the next request gets %v, %v", reply, err)
		}
	})
}

func TestARequestThatWaitsEndsWithTheConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(c *client.Client, p *peer)
		want func(err error) bool
	}{
		"lost": {func(_ *client.Client, p *peer) { _ = p.nc.Close() },
			func(err error) bool { return code(t, err) == protocol.NetworkError }},
		"closed by the server": {func(_ *client.Client, p *peer) { p.notice(protocol.CloseError{Code: protocol.KickedOut}) },
			func(err error) bool { return code(t, err) == protocol.KickedOut }},
		"closed by the client": {func(c *client.Client, _ *peer) { _ = c.Close() },
			func(err error) bool { return errors.Is(err, client.ErrClosed) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := sockets(t)
			c, p := n.dial(client.Config{Timeouts: client.Timeouts{Close: -1}}, nil)
			ended := make(chan error, 1)
			go func() {
				_, err := c.Request(context.Background(), 1, nil)
				ended <- err
			}()
			p.read()
			tc.end(c, p)
			if err := <-ended; !errors.Is(err, client.ErrDisconnected) || !tc.want(err) {
				t.Errorf("the request ends with %v", err)
			}
		})
	}
}

func TestWhatIsNotTheApplicationsIsNotSent(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{MaxBody: 10}, nil)
	if err := c.Send(1, make([]byte, 11)); !errors.Is(err, protocol.MessageTooLarge) {
		t.Errorf("a body over the limit: %v", err)
	}
	if c.Send(0, nil) == nil || c.Send(protocol.TypeLogon, nil) == nil || c.Send(protocol.TypeClose, nil) == nil {
		t.Error("a type that is not the application's is sent")
	}
	if c.SendTo("a\nb", 1, nil) == nil {
		t.Error("a user ID with a control character is sent")
	}
	if err := c.Send(1, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if m := p.read(); len(m.Body) != 10 {
		t.Errorf("the first message to arrive is %+v", m)
	}
}

func TestMessagesOfOneGoroutineArriveInOrder(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{}, nil)
	const messages = 2000
	go func() {
		for i := range messages {
			if err := c.Send(1, bytes.Repeat([]byte{byte(i)}, i)); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range messages {
		if m := p.read(); !bytes.Equal(m.Body, bytes.Repeat([]byte{byte(i)}, i)) {
			t.Fatalf("message %d has %d bytes", i, len(m.Body))
		}
	}
}

func TestTheBodyMayBeUsedAgainWhenSendReturns(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{}, nil)
	body := make([]byte, 1)
	for i := range 100 {
		body[0] = byte(i)
		if err := c.Send(1, body); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if m := p.read(); m.Body[0] != byte(i) {
			t.Fatalf("message %d carries %d", i, m.Body[0])
		}
	}
}
