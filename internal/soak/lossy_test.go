//go:build linux

package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/lossy"
)

// Rules 3, 8 and 12, over UDP, where a fifth of all datagrams is lost, and some come twice or late: clients log on, ask until they are
// answered, and leave, a third of them without a word. What the server holds does not grow, each logon is one session, and each session
// ends.
func TestChurnOverALossyNetwork(t *testing.T) {
	besideOthers(t)
	s := startServer(t, settings{UDP: true, Interval: 100 * time.Millisecond, Timeout: sized(5*time.Second, 5*time.Second, 10*time.Second),
		CloseTimeout: time.Second})
	duration := sized(300*time.Millisecond, time.Second, soakTime())
	network := lossy.Network{Lose: 0.2, Repeat: 0.05, Delay: 0.05, Seed: rand.Uint64()}
	t.Logf("the network's seed is %d", network.Seed)
	over := make(chan struct{})
	time.AfterFunc(duration, func() { close(over) })
	var dials, visits, silent atomic.Int64
	var visiting sync.WaitGroup
	for n := range sized(8, 16, 200) {
		visiting.Go(func() {
			for i := 0; ; i++ {
				v := lossyVisitor{network: network, dials: &dials}
				if err := v.visit(s.at.Addr, fmt.Sprintf("user%d.%d", n, i)); err != nil {
					t.Errorf("user%d.%d: %v", n, i, err)
				}
				if (n+i)%3 == 2 {
					v.silent.Store(true)
					silent.Add(1)
				}
				v.leave(t)
				visits.Add(1)
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	<-time.After(duration / 2)
	first := s.collected()
	visiting.Wait()
	last := s.until("all that came has gone, and goroutines that logons have left have ended", func(now state) bool {
		return now.Engine.Conns.Open == 0 && now.Disconnected == now.Connected && now.Goroutines <= first.Goroutines+8
	})
	t.Logf("%d clients, of whom %d left without a word; %d datagrams of theirs did not come; %v", visits.Load(), silent.Load(), last.Engine.Lost, last.usage)
	if n := int(visits.Load()); last.Connected != n || int(last.Engine.Accepted) != n || last.PushedOut > 0 {
		t.Errorf("%d clients logged on; the server had %d connections, %d Connected and %d PushedOut", n, last.Engine.Accepted, last.Connected, last.PushedOut)
	}
	if last.TimedOut < int(silent.Load()) {
		t.Errorf("%d clients fell silent, and %d timed out", silent.Load(), last.TimedOut)
	}
	if last.MessagesIn < 3*int(visits.Load()) {
		t.Errorf("%d messages were counted, want %d and more", last.MessagesIn, 3*visits.Load())
	}
	if last.Users != 0 || last.Descriptors > first.Descriptors {
		t.Errorf("%d users, %v", last.Users, last.usage)
	}
	if grown := last.Resident - first.Resident; soakTime() >= time.Minute && !raced && grown > 32<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
}

// lossyVisitor is a client over a lossy network.
type lossyVisitor struct {
	network lossy.Network
	dials   *atomic.Int64
	client  *client.Client
	silent  atomic.Bool // nothing that it sends comes through any more
}

// visit logs on, and asks three times until an answer comes.
func (v *lossyVisitor) visit(addr, user string) (err error) {
	v.client, err = client.Dial(context.Background(), "udp://"+addr, client.Config{UserID: user, Timeouts: client.Timeouts{Dial: patience, Close: 2 * time.Second},
		Reconnect: client.Reconnect{Max: -1},
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			nc, err := v.network.Dial(ctx, addr, uint64(v.dials.Add(1)))
			return silencedConn{nc, &v.silent}, err
		}})
	if err != nil {
		return err
	}
	for i := range 3 {
		body := fmt.Sprint(user, " asks ", i)
		for began := time.Now(); ; {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			reply, err := v.client.Request(ctx, echo, []byte(body))
			timedOut := ctx.Err() != nil
			cancel()
			if err == nil && string(reply.Body) != body {
				return fmt.Errorf("%q is answered with %q", body, reply.Body)
			}
			if err == nil {
				break
			}
			if !timedOut || time.Since(began) > patience {
				return err
			}
		}
	}
	return nil
}

// leave closes the client, which repeats its Close until the server has confirmed it, or has been silent for long.
func (v *lossyVisitor) leave(t *testing.T) {
	if v.client == nil {
		return
	}
	if err := v.client.Close(); err != nil {
		t.Error(err)
	}
}

// silencedConn is a connection from which nothing comes through once it is silent.
type silencedConn struct {
	net.Conn
	silent *atomic.Bool
}

func (c silencedConn) Write(b []byte) (int, error) {
	if c.silent.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}
