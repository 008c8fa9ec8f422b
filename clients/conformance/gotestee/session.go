package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/clients/conformance/testee"
	"github.com/rollcall-go/rollcall/protocol"
)

// session is the one client that the testee has.
type session struct {
	mu       sync.Mutex
	client   *client.Client
	config   client.Config
	last     error
	cancel   context.CancelFunc // of Dial
	dialled  chan struct{}      // closed when Dial has returned
	held     map[string]chan struct{}
	requests []*protocol.Message
	asked    int // tokens
}

func (s *session) do(c *testee.Command) {
	switch c.Do {
	case "dial":
		s.dial(c)
	case "close":
		go s.close()
	case "send":
		go s.answer(c, func(cl *client.Client) (testee.Event, error) {
			if c.To != "" {
				return testee.Event{"event": "done"}, cl.SendTo(c.To, c.Type, c.Bytes())
			}
			return testee.Event{"event": "done"}, cl.Send(c.Type, c.Bytes())
		})
	case "request":
		go s.answer(c, func(cl *client.Client) (testee.Event, error) {
			ctx, cancel := limit(c)
			defer cancel()
			m, err := s.request(ctx, cl, c)
			if err != nil {
				return nil, err
			}
			return testee.Event{"event": "reply", "from": m.UserID, "body": hex.EncodeToString(m.Body)}, nil
		})
	case "online":
		go s.answer(c, func(cl *client.Client) (testee.Event, error) {
			ctx, cancel := limit(c)
			defer cancel()
			users, err := cl.WhoIsOnline(ctx, c.Users...)
			return testee.Event{"event": "reply", "users": users}, err
		})
	case "reply":
		s.reply(c)
	case "ack":
		close(s.holding(c.Push))
	case "show":
		s.mu.Lock()
		defer s.mu.Unlock()
		testee.Tell(testee.Event{"event": "shown", "tag": c.Tag, "text": fmt.Sprintf("%v %+v %#v %v %+v %v", s.client, s.client, s.client, s.config, &s.config, s.last)})
	}
}

// limit returns a request's context.
func limit(c *testee.Command) (context.Context, context.CancelFunc) {
	if c.TimeoutMS == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), time.Duration(c.TimeoutMS)*time.Millisecond)
}

func (s *session) request(ctx context.Context, cl *client.Client, c *testee.Command) (*protocol.Message, error) {
	if c.To != "" {
		return cl.RequestTo(ctx, c.To, c.Type, c.Bytes())
	}
	return cl.Request(ctx, c.Type, c.Bytes())
}

// answer tells the outcome of a command.
func (s *session) answer(c *testee.Command, f func(*client.Client) (testee.Event, error)) {
	e := testee.Event{"event": "error", "reason": "not-connected"}
	if cl := s.current(); cl != nil {
		var err error
		if e, err = f(cl); err != nil {
			e = failed(err)
		}
	}
	e["tag"] = c.Tag
	testee.Tell(e)
}

func (s *session) current() *client.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

// failed says why a command failed.
func failed(err error) testee.Event {
	e := testee.Event{"event": "error", "reason": "invalid"}
	var ce *protocol.CloseError
	switch {
	case errors.Is(err, client.ErrClosed):
		e["reason"] = "closed"
	case errors.Is(err, client.ErrNotConnected):
		e["reason"] = "not-connected"
	case errors.Is(err, client.ErrDisconnected):
		e["reason"] = "disconnected"
	case errors.Is(err, context.DeadlineExceeded):
		e["reason"] = "timeout"
	case errors.Is(err, protocol.MessageTooLarge):
		e["reason"] = "too-large"
	case errors.As(err, &ce):
		e["reason"], e["code"], e["text"] = "refused", ce.Code, ce.Text
	}
	return e
}

// dial begins a new client. Commands that come meanwhile are carried out.
func (s *session) dial(c *testee.Command) {
	cfg := client.Config{UserID: c.User, Device: c.Device, Fields: c.Fields, Handle: map[uint16]client.Handler{}, MaxBody: c.MaxBody, OnState: s.state}
	cfg.Reconnect = client.Reconnect{Min: time.Duration(c.MinMS) * time.Millisecond, Max: time.Duration(c.MaxMS) * time.Millisecond}
	cfg.OnPush = func(_ *client.Client, m *protocol.PushMessage) { s.pushed(m, c.Hold) }
	if c.Types == nil {
		c.Types = []uint16{1}
	}
	for _, typ := range c.Types {
		cfg.Handle[typ] = s.handle
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = 0
	if len(c.Tokens) > 0 {
		cfg.Token = func(context.Context) (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.asked++
			return c.Tokens[min(s.asked, len(c.Tokens))-1], nil
		}
	}
	address := c.Address
	scheme, hostPort, _ := strings.Cut(address, "://")
	if scheme == "tls" || scheme == "wss" {
		cfg.TLS = trusting(c.CA)
	}
	if scheme == "tcp" || scheme == "tls" {
		address = hostPort
	}
	ctx, cancel := context.WithCancel(context.Background())
	dialled := make(chan struct{})
	s.client, s.config, s.cancel, s.dialled, s.held = nil, cfg, cancel, dialled, map[string]chan struct{}{}
	go func() {
		defer close(dialled)
		cl, err := client.Dial(ctx, address, cfg)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.client, s.last = cl, err
		switch {
		case ctx.Err() != nil && err != nil:
			testee.Tell(closed(protocol.ClientClosed, ""))
		case err != nil:
			testee.Tell(gone(err))
		}
	}()
}

// trusting returns settings of TLS that trust what is in a file, and the system's without one.
func trusting(file string) *tls.Config {
	if file == "" {
		return &tls.Config{}
	}
	pool := x509.NewCertPool()
	text, err := os.ReadFile(file)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		fmt.Fprintln(os.Stderr, "gotestee: no certificates in", file, err)
	}
	return &tls.Config{RootCAs: pool}
}

// close ends the client, and waits for that.
func (s *session) close() {
	s.mu.Lock()
	cancel, dialled := s.cancel, s.dialled
	for _, c := range s.held {
		select {
		case <-c:
		default:
			close(c)
		}
	}
	s.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	<-dialled
	if cl := s.current(); cl != nil {
		_ = cl.Close()
		<-cl.Done()
	}
}

func closed(code protocol.CloseCode, text string) testee.Event {
	return testee.Event{"event": "state", "state": "closed", "code": code, "text": text, "may_reconnect": code.MayReconnect()}
}

// gone is the state closed with an error's code.
func gone(err error) testee.Event {
	var ce *protocol.CloseError
	switch {
	case errors.Is(err, client.ErrClosed):
		return closed(protocol.ClientClosed, "")
	case errors.As(err, &ce):
		return closed(ce.Code, ce.Text)
	}
	return closed(protocol.NetworkError, err.Error())
}

// state tells a change of state.
func (s *session) state(c *client.Client, state client.State, err error) {
	s.mu.Lock()
	s.last = errors.Join(err, s.last)
	if state == client.Online {
		s.client = c // Dial may return later than the command comes that answers the event
	}
	s.mu.Unlock()
	switch state {
	case client.Online:
		testee.Tell(testee.Event{"event": "state", "state": "online", "user": c.UserID()})
	case client.Reconnecting:
		e := gone(err)
		e["state"] = "reconnecting"
		testee.Tell(e)
	case client.Closed:
		testee.Tell(gone(err))
	}
}

func (s *session) handle(_ *client.Client, m *protocol.Message) error {
	e := testee.Event{"event": "message", "from": m.UserID, "type": m.Type, "body": hex.EncodeToString(m.Body)}
	if m.ID != 0 {
		s.mu.Lock()
		s.requests = append(s.requests, m)
		e["event"], e["request"] = "request", len(s.requests)-1
		s.mu.Unlock()
	}
	testee.Tell(e)
	return nil
}

func (s *session) reply(c *testee.Command) {
	s.mu.Lock()
	m, cl := s.requests[c.Request], s.client
	s.mu.Unlock()
	if c.Code != 0 {
		_ = cl.ReplyError(m, &protocol.CloseError{Code: protocol.CloseCode(c.Code), Text: c.Text})
		return
	}
	_ = cl.Reply(m, c.Bytes())
}

// holding returns what is closed when the handler of a push may return.
func (s *session) holding(id string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.held[id]
	if !ok {
		c = make(chan struct{})
		s.held[id] = c
	}
	return c
}

func (s *session) pushed(m *protocol.PushMessage, hold bool) {
	var ms int64
	if !m.Time.IsZero() {
		ms = m.Time.UnixMilli()
	}
	release := s.holding(m.ID.String()) // before the event, which may be answered at once
	testee.Tell(testee.Event{"event": "push", "id": m.ID.String(), "kind": m.Kind, "name": m.Name, "time": ms, "confirm": m.Confirm, "metadata": m.Metadata,
		"body": hex.EncodeToString(m.Content)})
	if hold {
		<-release
	}
}
