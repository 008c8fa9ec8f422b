package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

var errDown = errors.New("no route to the server")

// Full jitter: each wait is random between 0 and a bound that doubles up to Reconnect.Max.
func TestTheWaitingBetweenAttemptsIsWithinItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		cfg := client.Config{Reconnect: client.Reconnect{Min: 200 * time.Millisecond, Max: 5 * time.Second}}
		changes := watch(&cfg)
		_, p := n.dial(cfg, nil)
		<-changes
		bounds := []time.Duration{200, 400, 800, 1600, 3200, 5000, 5000, 5000}
		for range bounds {
			n.fail <- errDown
		}
		_ = p.nc.Close()
		before := time.Now()
		<-changes
		for i, bound := range bounds {
			if err := expect(t, changes, client.Reconnecting); !errors.Is(err, errDown) {
				t.Errorf("attempt %d failed with %v", i, err)
			}
			if waited := time.Since(before); waited > bound*time.Millisecond {
				t.Errorf("before attempt %d the client waits %v, the bound is %v", i, waited, bound*time.Millisecond)
			}
			before = time.Now()
		}
		n.accept().welcome(nil)
		expect(t, changes, client.Online)
	})
}

// docs/protocol.md, Backoff with full jitter: the time that the server gives comes before the random one.
func TestTheServersRetryTimeIsWaitedAtLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		_, p := n.dial(client.Config{}, nil)
		p.notice(protocol.CloseError{Code: protocol.ServerStopping, Info: map[string]string{"retry-ms": "5000"}})
		began := time.Now()
		n.accept().welcome(nil)
		if waited := time.Since(began); waited < 5*time.Second || waited > 5200*time.Millisecond {
			t.Errorf("the client waits %v, want 5s and up to 200ms", waited)
		}
	})
}

func TestTheWaitingBeginsAnewWhenAConnectionHasLasted(t *testing.T) {
	for name, lasts := range map[string]time.Duration{"a minute": time.Minute, "less": 59 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := pipes(t)
				cfg := client.Config{Timeouts: client.Timeouts{Heartbeat: -1}, Reconnect: client.Reconnect{Min: time.Nanosecond, Max: time.Hour}}
				changes := watch(&cfg)
				_, p := n.dial(cfg, nil)
				for range 30 {
					n.fail <- errDown
				}
				_ = p.nc.Close()
				p = n.accept()
				p.welcome(nil)
				time.Sleep(lasts)
				for len(changes) > 0 {
					<-changes
				}
				_ = p.nc.Close()
				began := time.Now()
				n.accept().welcome(nil)
				waited := time.Since(began)
				// Attempt 0 waits a nanosecond at most; attempt 31 up to 2 s, and less than 2 ns once in a thousand million times.
				if fresh := waited <= time.Nanosecond; fresh != (lasts == time.Minute) {
					t.Errorf("after a connection of %v the client waits %v", lasts, waited)
				}
			})
		})
	}
}

func TestAnotherAddressIsTriedAndThenTheFirstAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		_, p := n.dial(client.Config{}, nil)
		p.notice(protocol.CloseError{Code: protocol.ServerStopping, Info: map[string]string{"address": "second:2"}})
		p = n.accept()
		p.welcome(nil)
		_ = p.nc.Close()
		synctest.Wait()
		n.fail <- errDown
		n.accept().welcome(nil)
		for i, want := range []string{"first:1", "second:2", "second:2", "first:1"} {
			if got := <-n.dials; got != want {
				t.Errorf("attempt %d goes to %s, want %s", i, got, want)
			}
		}
	})
}

// A client takes its own old session over, which the server may not know to be dead.
func TestTheLastSessionIsSentAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		c, p := n.dial(client.Config{Fields: map[string]string{"session": "from-disk"}}, map[string]string{"session": "one"})
		for _, s := range []struct{ last, next string }{{"one", "two"}, {"two", "three"}} {
			_ = p.nc.Close()
			p = n.accept()
			fields, err := system.ParseStringMap(p.welcome(map[string]string{"session": s.next}).Body)
			if err != nil || fields["session"] != s.last {
				t.Errorf("the Logon carries %v (%v), want the session %s", fields, err, s.last)
			}
		}
		synctest.Wait()
		if c.SessionID() != "three" {
			t.Errorf("the session is %s", c.SessionID())
		}
	})
}

// AlreadyLoggedOn may be the client's own ghost for as long as the server takes to notice a silence, and no longer.
func TestAlreadyLoggedOnIsTriedAgainForTheHeartbeatTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		cfg := client.Config{Reconnect: client.Reconnect{Min: time.Second, Max: time.Second}}
		changes := watch(&cfg)
		c, p := n.dial(cfg, map[string]string{"heartbeat-ms": "20000"})
		<-changes
		_ = p.nc.Close()
		lost := time.Now()
		refusals := 0
		for c.State() != client.Closed {
			select {
			case nc := <-n.conns:
				p := &peer{t: t, nc: nc}
				p.refuse(p.read(), protocol.CloseError{Code: protocol.AlreadyLoggedOn})
				refusals++
				_ = nc.Close()
			case <-c.Done():
			}
			synctest.Wait()
		}
		if took := time.Since(lost); took < time.Minute || took > 61*time.Second || refusals < 60 {
			t.Errorf("given up after %v and %d refusals, want a minute", took, refusals)
		}
		if got := code(t, c.Err()); got != protocol.AlreadyLoggedOn {
			t.Errorf("the client ended with %v", got)
		}
	})
}

func TestANegativeReconnectMaxMeansNever(t *testing.T) {
	n := sockets(t)
	cfg := client.Config{Reconnect: client.Reconnect{Max: -1}}
	changes := watch(&cfg)
	c, p := n.dial(cfg, nil)
	expect(t, changes, client.Online)
	_ = p.nc.Close()
	if got := code(t, expect(t, changes, client.Closed)); got != protocol.NetworkError || len(n.dials) != 1 {
		t.Errorf("ended with %v after %d attempts", got, len(n.dials))
	}
	if err := c.Send(1, nil); !errors.Is(err, client.ErrClosed) || code(t, err) != protocol.NetworkError {
		t.Errorf("Send returns %v", err)
	}
}

func TestNothingIsSentOrKeptWhileThereIsNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		c, p := n.dial(client.Config{}, nil)
		_ = p.nc.Close()
		synctest.Wait()
		if err := c.Send(1, []byte("lost")); !errors.Is(err, client.ErrNotConnected) {
			t.Errorf("Send returns %v", err)
		}
		if _, err := c.Request(t.Context(), 1, nil); !errors.Is(err, client.ErrNotConnected) {
			t.Errorf("Request returns %v", err)
		}
		p = n.accept()
		p.welcome(nil)
		synctest.Wait()
		if err := c.Send(2, nil); err != nil {
			t.Fatal(err)
		}
		if m := p.read(); m.Type != 2 {
			t.Errorf("the new connection's first message is %+v", m)
		}
	})
}

func TestAnErrorOfTokenDecidesByItsCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		outcomes := make(chan error, 4)
		outcomes <- nil
		outcomes <- errDown // an identity server that cannot be reached: try again
		var none *protocol.CloseError
		outcomes <- none // not nil: an error without a code
		outcomes <- &protocol.CloseError{Code: protocol.Unauthorized}
		cfg := client.Config{Token: func(context.Context) (string, error) { return "", <-outcomes }}
		changes := watch(&cfg)
		_, p := n.dial(cfg, nil)
		expect(t, changes, client.Online)
		_ = p.nc.Close()
		expect(t, changes, client.Reconnecting)
		if err := expect(t, changes, client.Reconnecting); !errors.Is(err, errDown) {
			t.Errorf("the attempt failed with %v", err)
		}
		expect(t, changes, client.Reconnecting)
		if got := code(t, expect(t, changes, client.Closed)); got != protocol.Unauthorized {
			t.Errorf("ended with %v", got)
		}
	})
}

// What a server says last counts, also when the client learns first that it cannot write any more: a client that was
// pushed out must not come back and push the other one out.
func TestANoticeIsReadThoughWritingFails(t *testing.T) {
	for range 20 {
		n := sockets(t)
		cfg := client.Config{Reconnect: client.Reconnect{Min: -1}}
		changes := watch(&cfg)
		c, p := n.dial(cfg, nil)
		expect(t, changes, client.Online)
		sending := make(chan struct{})
		go func() {
			defer close(sending)
			for c.Send(1, make([]byte, 1000)) == nil {
			}
		}()
		p.read()
		p.notice(protocol.CloseError{Code: protocol.PushedOut})
		_ = p.nc.Close() // with unread bytes: the client's side is reset
		<-sending
		if got := code(t, expect(t, changes, client.Closed)); got != protocol.PushedOut {
			t.Fatalf("ended with %v", got)
		}
	}
}

func TestGarbageFromTheServerEndsTheClientAndIsReported(t *testing.T) {
	n := sockets(t)
	cfg := client.Config{MaxBody: 100}
	changes := watch(&cfg)
	_, p := n.dial(cfg, nil)
	expect(t, changes, client.Online)
	p.write(protocol.Message{Type: 1, Body: make([]byte, 101)})
	m := p.read()
	if ce, err := protocol.ParseClose(m.Body); m.Type != protocol.TypeClose || err != nil || ce.Code != protocol.MessageTooLarge {
		t.Errorf("the server is told %+v, %v", m, err)
	}
	p.readEnd()
	_ = p.nc.Close()
	if got := code(t, expect(t, changes, client.Closed)); got != protocol.MessageTooLarge {
		t.Errorf("ended with %v", got)
	}
}
