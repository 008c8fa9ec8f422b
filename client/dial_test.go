package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// dialled is what Dial returns.
type dialled struct {
	c   *client.Client
	err error
}

// start calls Dial on a goroutine of its own.
func (n *network) start(ctx context.Context, addr string, cfg client.Config) <-chan dialled {
	cfg.DialContext, cfg.UserID = n.dialContext, "alice"
	done := make(chan dialled, 1)
	go func() {
		c, err := client.Dial(ctx, addr, cfg)
		if c != nil {
			n.t.Cleanup(func() { _ = c.Close() })
		}
		done <- dialled{c, err}
	}()
	return done
}

// With Reconnect.First Dial tries again, with the same waits, where a client that was online would.
func TestDialTriesAgainWhenItIsTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		for range 3 {
			n.fail <- errDown
		}
		began := time.Now()
		done := n.start(context.Background(), "first:1", client.Config{Reconnect: client.Reconnect{First: true}})
		p := n.accept()
		p.refuse(p.read(), protocol.CloseError{Code: protocol.ServerStopping, Info: map[string]string{"retry-ms": "5000"}})
		_ = p.nc.Close()
		n.accept().welcome(nil)
		d := <-done
		if d.err != nil {
			t.Fatal(d.err)
		}
		if waited := time.Since(began); waited < 5*time.Second || waited > 10*time.Second {
			t.Errorf("Dial took %v", waited)
		}
		_ = d.c.Close()
		n.hangUp()
	})
}

func TestDialThatTriesAgainEnds(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  client.Reconnect
		code protocol.CloseCode
		is   error
	}{
		"when the server refuses for good":  {client.Reconnect{First: true}, protocol.Unauthorized, nil},
		"with its context":                  {client.Reconnect{First: true}, 0, context.DeadlineExceeded},
		"after one attempt by default":      {client.Reconnect{}, 0, errDown},
		"after one attempt without retries": {client.Reconnect{First: true, Max: -1}, 0, errDown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := pipes(t)
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				for range 100 - 1 {
					n.fail <- errDown
					if c.code != 0 {
						break
					}
				}
				done := n.start(ctx, "first:1", client.Config{Reconnect: c.cfg})
				if c.code != 0 {
					p := n.accept()
					p.refuse(p.read(), protocol.CloseError{Code: c.code})
					_ = p.nc.Close()
				}
				d := <-done
				switch {
				case d.err == nil:
					t.Error("Dial returned no error")
				case c.code != 0 && code(t, d.err) != c.code, c.is != nil && !errors.Is(d.err, c.is), c.is == context.DeadlineExceeded && !errors.Is(d.err, errDown):
					t.Errorf("Dial returned %v", d.err)
				}
			})
		})
	}
}

// Several addresses are tried in turn, without a pause, beginning with the one that was connected last; a refusal ends the
// attempt.
func TestSeveralAddressesAreTriedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		n.fail <- errDown
		began := time.Now()
		done := n.start(context.Background(), "a:1, b:2,c:3", client.Config{Reconnect: client.Reconnect{Min: time.Minute, Max: time.Minute}})
		p := n.accept()
		p.welcome(nil)
		c := (<-done).c
		if c == nil || time.Since(began) != 0 {
			t.Fatalf("Dial took %v", time.Since(began))
		}
		for range 4 { // at b, c and a, and at b again
			n.fail <- errDown
		}
		_ = p.nc.Close()
		p = n.accept()
		p.refuse(p.read(), protocol.CloseError{Code: protocol.RateLimited})
		_ = p.nc.Close()
		n.accept().welcome(nil)
		for i, want := range []string{"a:1", "b:2", "b:2", "c:3", "a:1", "b:2", "c:3", "b:2"} {
			select {
			case got := <-n.dials:
				if got != want {
					t.Errorf("attempt %d goes to %s, want %s", i, got, want)
				}
			default:
				t.Fatalf("there were %d attempts", i)
			}
		}
		_ = c.Close()
		n.hangUp()
	})
}

func TestAnEmptyAddressAmongSeveralIsAnError(t *testing.T) {
	for _, addr := range []string{"", "a:1,", ",a:1", "a:1,,b:2"} {
		if _, err := client.Dial(context.Background(), addr, client.Config{UserID: "alice"}); err == nil {
			t.Errorf("Dial to %q returned no error", addr)
		}
	}
}

// Reconnect ends the wait before the next attempt, but not the one that the server has asked for, and does nothing while the
// client is online.
func TestReconnectTriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		c, p := n.dial(client.Config{Reconnect: client.Reconnect{Min: 1000 * time.Hour, Max: 1000 * time.Hour}}, nil)
		c.Reconnect() // online: nothing
		for _, asked := range []time.Duration{0, 5 * time.Second} {
			notice := protocol.CloseError{Code: protocol.ServerStopping}
			if asked > 0 {
				notice.Info = map[string]string{"retry-ms": "5000"}
			}
			p.notice(notice)
			began := time.Now()
			time.Sleep(time.Second)
			synctest.Wait()
			if c.State() != client.Reconnecting {
				t.Fatal("the client did not wait")
			}
			c.Reconnect()
			p = n.accept()
			if waited := time.Since(began); waited != max(asked, time.Second) {
				t.Errorf("the client waited %v", waited)
			}
			p.welcome(nil)
			synctest.Wait()
		}
		_ = c.Close()
		n.hangUp()
		c.Reconnect()
	})
}

// A request whose context has ended is not sent.
func TestARequestWhoseContextHasEndedIsNotSent(t *testing.T) {
	n := sockets(t)
	c, p := n.dial(client.Config{}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, ask := range map[string]func() error{
		"Request":     func() error { _, err := c.Request(ctx, 1, nil); return err },
		"RequestTo":   func() error { _, err := c.RequestTo(ctx, "bob", 1, nil); return err },
		"Ping":        func() error { _, err := c.Ping(ctx); return err },
		"WhoIsOnline": func() error { _, err := c.WhoIsOnline(ctx, "bob"); return err },
	} {
		if err := ask(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s returned %v", name, err)
		}
	}
	if err := c.Send(7, nil); err != nil {
		t.Fatal(err)
	}
	if m := p.read(); m.Type != 7 {
		t.Errorf("the server got %v", m)
	}
}
