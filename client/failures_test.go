package client_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

var failures = map[string]func(){"panic": func() { panic("on purpose") }, "Goexit": runtime.Goexit}

// isFailure reports whether err says that a function has failed in one of those ways.
func isFailure(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "panicked: ") || strings.Contains(err.Error(), "runtime.Goexit"))
}

// A panic or a Goexit in what the handlers' goroutine calls ends the client: the server is told, Closed comes last, Done is
// closed.
func TestAFailureInACallbackEndsTheClient(t *testing.T) {
	for how, fail := range failures {
		for where, cfg := range map[string]client.Config{
			"Handle":        {Handle: map[uint16]client.Handler{1: func(*client.Client, *protocol.Message) error { fail(); return nil }}},
			"HandleDefault": {HandleDefault: func(*client.Client, *protocol.Message) error { fail(); return nil }},
			"OnPush":        {OnPush: func(*client.Client, *protocol.PushMessage) { fail() }},
			"OnState": {OnState: func(_ *client.Client, s client.State, _ error) {
				if s == client.Online {
					fail()
				}
			}},
			"OnState, at the end": {HandleDefault: func(*client.Client, *protocol.Message) error { fail(); return nil },
				OnState: func(_ *client.Client, s client.State, _ error) {
					if s == client.Closed {
						fail()
					}
				}},
		} {
			t.Run(how+" in "+where, func(t *testing.T) {
				n := sockets(t)
				c, p := n.dial(cfg, nil)
				if where == "OnPush" {
					p.push(push(1))
				} else {
					p.write(protocol.Message{Type: 1})
				}
				m := p.read()
				if ce, err := protocol.ParseClose(m.Body); m.Type != protocol.TypeClose || err != nil || ce.Code != protocol.InternalError {
					t.Errorf("the server is told %+v, %v", m, err)
				}
				_ = p.nc.Close()
				<-c.Done()
				if err := c.Err(); !isFailure(err) || c.State() != client.Closed {
					t.Errorf("the client is %v and ended with %v", c.State(), err)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A panic or a Goexit in what makes connections is the attempt's error: Dial returns it, and a client that reconnects tries
// again.
func TestAFailureInWhatMakesConnectionsIsTheAttemptsError(t *testing.T) {
	for how, fail := range failures {
		for _, where := range []string{"Token", "DialContext"} {
			t.Run(how+" in "+where, func(t *testing.T) {
				n := sockets(t)
				var failing atomic.Bool
				failing.Store(true)
				at := func(here string) {
					if here == where && failing.CompareAndSwap(true, false) {
						fail()
					}
				}
				cfg := client.Config{UserID: "alice", Reconnect: client.Reconnect{Min: -1},
					Token: func(context.Context) (string, error) { at("Token"); return "", nil },
					DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
						at("DialContext")
						return n.dialContext(ctx, network, addr)
					}}
				if _, err := client.Dial(context.Background(), "first:1", cfg); !isFailure(err) {
					t.Fatalf("Dial returned %v", err)
				}
				changes := watch(&cfg)
				done := make(chan *client.Client)
				go func() {
					c, err := client.Dial(context.Background(), "first:1", cfg)
					if err != nil {
						t.Error(err)
					}
					done <- c
				}()
				p := n.accept()
				p.welcome(nil)
				c := <-done
				expect(t, changes, client.Online)
				failing.Store(true)
				_ = p.nc.Close()
				expect(t, changes, client.Reconnecting)
				if err := expect(t, changes, client.Reconnecting); !isFailure(err) {
					t.Errorf("the attempt failed with %v", err)
				}
				p = n.accept()
				p.welcome(nil)
				expect(t, changes, client.Online)
				_ = p.nc.Close()
				_ = c.Close()
			})
		}
	}
}

// failingConn is a connection of the application's own.
type failingConn struct {
	net.Conn
	read, write func()
}

func (c *failingConn) Read(b []byte) (int, error) {
	c.read()
	return c.Conn.Read(b)
}

func (c *failingConn) Write(b []byte) (int, error) {
	c.write()
	return c.Conn.Write(b)
}

// A panic or a Goexit in a connection of the application's own ends the connection, and where it was while reading the client.
func TestAFailureInAConnectionOfOnesOwnEndsNothingElse(t *testing.T) {
	for how, fail := range failures {
		for _, where := range []string{"Read", "Write"} {
			t.Run(how+" in "+where, func(t *testing.T) {
				n := sockets(t)
				calls := 0
				at := func() {
					if calls++; calls == 2 { // the first is the logon's
						fail()
					}
				}
				nothing := func() {}
				cfg := client.Config{UserID: "alice", Reconnect: client.Reconnect{Max: -1},
					DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
						nc, err := n.dialContext(ctx, network, addr)
						if where == "Read" {
							return &failingConn{nc, at, nothing}, err
						}
						return &failingConn{nc, nothing, at}, err
					}}
				done := make(chan *client.Client)
				go func() {
					c, err := client.Dial(context.Background(), "first:1", cfg)
					if err != nil {
						t.Error(err)
					}
					done <- c
				}()
				p := n.accept()
				p.welcome(nil)
				c := <-done
				_ = c.Send(1, nil)
				<-c.Done()
				if err := c.Err(); !isFailure(err) {
					t.Errorf("the client ended with %v", err)
				}
				_ = p.nc.Close()
			})
		}
	}
}
