package client_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestCloseSendsWhatWasSentBeforeAndThenANotice(t *testing.T) {
	n := sockets(t)
	cfg := client.Config{}
	changes := watch(&cfg)
	c, p := n.dial(cfg, nil)
	expect(t, changes, client.Online)
	for range 10 {
		if err := c.Send(1, make([]byte, 20_000)); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	got := p.readEnd()
	if len(got) != 11 || got[10].Type != protocol.TypeClose {
		t.Fatalf("%d messages come, the last is %+v", len(got), got[len(got)-1])
	}
	if ce, err := protocol.ParseClose(got[10].Body); err != nil || ce.Code != protocol.ClientClosed {
		t.Errorf("the notice says %v, %v", ce, err)
	}
	select {
	case <-closed:
		t.Error("Close does not wait for the server's end")
	default:
	}
	_ = p.nc.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := expect(t, changes, client.Closed); err != client.ErrClosed || c.Err() != client.ErrClosed || c.State() != client.Closed {
		t.Errorf("%v with %v and %v", c.State(), err, c.Err())
	}
	if err := c.Send(1, nil); !errors.Is(err, client.ErrClosed) {
		t.Errorf("Send returns %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("the second Close returns %v", err)
	}
	<-c.Done()
}

func TestCloseGivesUpOnAServerThatDoesNotEnd(t *testing.T) {
	for name, reads := range map[string]bool{"but reads": true, "and does not read": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipes(t).dial(client.Config{Timeouts: client.Timeouts{Close: 7 * time.Second}}, nil)
				if reads {
					go func() { p.read() }()
				}
				began := time.Now()
				if err := c.Close(); err != nil || time.Since(began) != 7*time.Second {
					t.Errorf("Close returns %v after %v", err, time.Since(began))
				}
			})
		})
	}
}

func TestCloseEndsRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipes(t).dial(client.Config{}, nil)
		began := time.Now()
		go func() {
			p.read()
			_ = c.Close() // and the server does not end
		}()
		if _, err := c.Request(t.Context(), 1, nil); !errors.Is(err, client.ErrDisconnected) || time.Since(began) > 0 {
			t.Errorf("the request ends with %v after %v", err, time.Since(began))
		}
		<-c.Done()
	})
}

func TestANegativeCloseTimeMeansNoWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pipes(t).dial(client.Config{Timeouts: client.Timeouts{Close: -1}}, nil)
		began := time.Now()
		if err := c.Close(); err != nil || time.Since(began) != 0 {
			t.Errorf("Close returns %v after %v", err, time.Since(began))
		}
	})
}

// A handler is never waited for by a Close inside it; nothing is delivered after it.
func TestCloseMayBeCalledInAHandler(t *testing.T) {
	for _, in := range []string{"a message handler", "OnState with Online", "OnState with Closed"} {
		t.Run(in, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls, states := 0, ""
				closeIt := func(c *client.Client) {
					calls++
					began := time.Now()
					if err := c.Close(); err != nil || time.Since(began) > 0 {
						t.Errorf("Close returns %v after %v", err, time.Since(began))
					}
				}
				cfg := client.Config{
					HandleDefault: func(c *client.Client, _ *protocol.Message) error { closeIt(c); return nil },
					OnState: func(c *client.Client, s client.State, _ error) {
						states += s.String() + " "
						if in == "OnState with "+s.String() {
							closeIt(c)
						}
					}}
				c, p := pipes(t).dial(cfg, nil)
				if in != "OnState with Online" {
					p.write(protocol.Message{Type: 1}, protocol.Message{Type: 1})
				}
				p.goodbye()
				<-c.Done()
				wanted := 1
				if in == "OnState with Closed" {
					wanted = 2
				}
				if calls != wanted || states != "Online Closed " || c.Err() != client.ErrClosed {
					t.Errorf("%d handlers ran, states: %s, %v", calls, states, c.Err())
				}
			})
		})
	}
}

// goodbye reads the Close, and ends the server's side.
func (p *peer) goodbye() {
	p.t.Helper()
	if m := p.read(); m.Type != protocol.TypeClose {
		p.t.Errorf("the client sends %+v", m)
	}
	_ = p.nc.Close()
}

// Close does not wait for a handler that runs, since it may be called by it; Done does.
func TestDoneWaitsForTheLastHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipes(t).dial(client.Config{HandleDefault: func(*client.Client, *protocol.Message) error { time.Sleep(time.Hour); return nil }}, nil)
		p.write(protocol.Message{Type: 1})
		synctest.Wait()
		began := time.Now()
		go p.goodbye()
		if err := c.Close(); err != nil || time.Since(began) > 0 {
			t.Errorf("Close returns %v after %v", err, time.Since(began))
		}
		<-c.Done()
		if took := time.Since(began); took != time.Hour {
			t.Errorf("Done after %v", took)
		}
	})
}

func TestCloseEndsAReconnectingClient(t *testing.T) {
	for _, while := range []string{"waiting", "connecting", "logging on"} {
		t.Run(while, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := pipes(t)
				cfg := client.Config{Reconnect: client.Reconnect{Min: time.Hour, Max: time.Hour}, Timeouts: client.Timeouts{Dial: -1, Heartbeat: -1}}
				if while != "waiting" {
					cfg.Reconnect.Min = -1
				}
				changes := watch(&cfg)
				c, p := n.dial(cfg, nil)
				expect(t, changes, client.Online)
				_ = p.nc.Close()
				expect(t, changes, client.Reconnecting)
				if while == "logging on" {
					n.accept().read()
				}
				synctest.Wait()
				began := time.Now()
				if err := c.Close(); err != nil || time.Since(began) > 0 {
					t.Errorf("Close returns %v after %v", err, time.Since(began))
				}
				if err := expect(t, changes, client.Closed); err != client.ErrClosed {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}

func TestCloseSaysWhenSomethingDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		stuck := make(chan struct{})
		calls := 0
		cfg := client.Config{Token: func(context.Context) (string, error) {
			if calls++; calls > 1 {
				<-stuck
			}
			return "", nil
		}}
		c, p := n.dial(cfg, nil)
		_ = p.nc.Close()
		time.Sleep(time.Second)
		if c.Close() == nil {
			t.Error("Close returns nil while Token is stuck")
		}
		close(stuck)
		<-c.Done()
	})
}

func TestDialledConnectionsAreClosedWhenTheLogonFails(t *testing.T) {
	n := sockets(t)
	var opened net.Conn
	cfg := client.Config{UserID: "alice", DialContext: func(ctx context.Context, netw, addr string) (nc net.Conn, err error) {
		opened, err = n.dialContext(ctx, netw, addr)
		return opened, err
	}}
	go func() {
		p := n.accept()
		p.refuse(p.read(), protocol.CloseError{Code: protocol.Unauthorized})
	}()
	if _, err := client.Dial(t.Context(), "first:1", cfg); code(t, err) != protocol.Unauthorized {
		t.Errorf("refused with %v", err)
	}
	if _, err := opened.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is open: %v", err)
	}
}
