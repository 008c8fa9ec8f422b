package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/lossy"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// Over a network that loses, repeats and reorders datagrams, and whose clients move, every client logs on and keeps its session; each of its
// messages is delivered once at most, and it learns of its end.
func TestClientsOverALossyNetwork(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LOSSY_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("LOSSY_SEED=%d", seed)
	clients := 30
	if testing.Short() {
		clients = 10
	}
	var mu sync.Mutex
	delivered := make(map[string]int)
	srv := rollcalltest.NewServer(t, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{{Network: "udp", Cleartext: true}}}}, func(s *rollcall.Server) {
		s.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
			mu.Lock()
			delivered[string(m.Body)]++
			mu.Unlock()
			return c.Reply(m, m.Body)
		})
	})
	network := lossy.Network{Lose: 0.2, Repeat: 0.1, Delay: 0.1, Move: 0.05, Seed: seed}
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() { // t.Error may be called here, t.Fatal not
			user := fmt.Sprintf("user%d", n)
			dials := uint64(0)
			c, err := client.Dial(t.Context(), "udp://"+srv.Addr, client.Config{UserID: user, Timeouts: client.Timeouts{Dial: testkit.Patience},
				DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
					dials++
					return network.Dial(ctx, addr, uint64(n)<<16|dials)
				}})
			if err != nil {
				t.Errorf("%s: %v", user, err)
				return
			}
			session := c.SessionID()
			for i := 0; i < 20; {
				for try := 0; ; try++ {
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					body := fmt.Sprintf("%s: %d, %d", user, i, try)
					reply, err := c.Request(ctx, 1, []byte(body))
					cancel()
					if err == nil && string(reply.Body) != body {
						t.Errorf("the answer to %q is %q", body, reply.Body)
					}
					if err == nil {
						break
					}
					if !errors.Is(err, context.DeadlineExceeded) || try > 500 {
						t.Errorf("%s: %v", user, err)
						return
					}
				}
				i++
			}
			if c.SessionID() != session {
				t.Errorf("%s has session %s after %s", user, c.SessionID(), session)
			}
			if n%2 == 0 {
				if _, err := srv.Users.Kick(user, nil); err != nil {
					t.Errorf("%s cannot be kicked: %v", user, err)
				}
				for c.State() != client.Closed { // what it sends is answered with the code, if the notice was lost
					_ = c.Send(2, nil)
					select {
					case <-c.Done():
					case <-time.After(20 * time.Millisecond):
					}
				}
				if err := c.Err(); !errors.Is(err, protocol.KickedOut) {
					t.Errorf("%s was kicked, and has ended with %v", user, err)
				}
			}
			_ = c.Close()
		})
	}
	all.Wait()
	testkit.Eventually(t, "everybody is offline", func() bool { return srv.Users.Count() == 0 })
	for body, n := range delivered {
		if n > 1 {
			t.Errorf("%q was delivered %d times", body, n)
		}
	}
	if len(delivered) < clients*20 {
		t.Errorf("%d messages were delivered", len(delivered))
	}
}
