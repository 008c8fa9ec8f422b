//go:build linux

package soak

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
)

// A server restarts, in good order the first time and by kill -9 the second. All its clients are back by themselves. The
// clients are in this process and the server in another, each with a descriptor a client.
func TestStormAfterARestart(t *testing.T) {
	returnsTheDescriptors(t)
	overPlainAndTLS(t, storm)
}

func storm(t *testing.T, cert *certificate) {
	besideOthers(t)
	n := sized(100, 200, 10_000)
	s := startServer(t, settings{TLS: cert})
	var trust *tls.Config
	if cert != nil {
		var err error
		if trust, err = trusting(cert.CA); err != nil {
			t.Fatal(err)
		}
	}
	var online, closed atomic.Int64
	clients := make([]*client.Client, n)
	slots := make(chan struct{}, 64) // dials at a time
	var dialling sync.WaitGroup
	began := time.Now()
	for i := range clients {
		slots <- struct{}{}
		dialling.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c, err := client.Dial(ctx, s.at.Addr, client.Config{TLS: trust, UserID: fmt.Sprint("user", i), Timeouts: client.Timeouts{Heartbeat: -1},
				Reconnect: client.Reconnect{Max: sized(500*time.Millisecond, time.Second, 5*time.Second)},
				OnState: func(_ *client.Client, st client.State, err error) {
					switch st {
					case client.Online:
						online.Add(1)
					case client.Closed:
						closed.Add(1)
					}
				}})
			if err != nil {
				t.Errorf("user%d: %v", i, err)
				return
			}
			clients[i] = c
		})
	}
	dialling.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Logf("%d clients logged on in %v", n, time.Since(began).Round(time.Millisecond))
	for round, how := range []string{"a stop", "kill -9"} {
		began = time.Now()
		if how == "kill -9" {
			s.kill()
		} else {
			s.end()
		}
		down := time.Since(began)
		s = startServer(t, settings{TLS: cert, Addr: s.at.Addr})
		up := time.Now()
		want := int64(n * (round + 2))
		eventually(t, "all clients are back", func() bool { return online.Load() == want })
		st := s.until("the server has them all", func(now state) bool { return now.Users == n })
		t.Logf("after %s, which took %v, all %d were back %v after the new server was there: %v", how,
			down.Round(time.Millisecond), n, time.Since(up).Round(time.Millisecond), st.usage)
		if closed.Load() > 0 {
			t.Errorf("%d clients have given up", closed.Load())
		}
	}
	for _, c := range clients {
		dialling.Go(func() { _ = c.Close(); <-c.Done() })
	}
	dialling.Wait()
	s.until("everybody is gone", func(now state) bool { return now.Users == 0 && now.Engine.Conns.Open == 0 })
}
