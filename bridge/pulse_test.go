package bridge_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/usermgr"
)

// slowUplink is a network that carries so many bytes a second of what a client sends. The rest waits in the client's system,
// which takes all at once.
type slowUplink struct {
	net.Conn
	sent chan []byte
	gone chan struct{} // closed by Close
	once sync.Once
}

func newSlowUplink(nc net.Conn, rate int) *slowUplink {
	u := &slowUplink{Conn: nc, sent: make(chan []byte, 1000), gone: make(chan struct{})}
	go func() {
		for {
			var p []byte
			select {
			case p = <-u.sent:
			case <-u.gone:
				return
			}
			for len(p) > 0 {
				n, err := nc.Write(p[:min(500, len(p))])
				if err != nil {
					return
				}
				p = p[n:]
				time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
			}
		}
	}()
	return u
}

func (u *slowUplink) Write(p []byte) (n int, err error) {
	select {
	case u.sent <- slices.Clone(p):
		return len(p), nil
	case <-u.gone:
		return 0, net.ErrClosed
	}
}

func (u *slowUplink) Close() error {
	u.once.Do(func() { close(u.gone) })
	return u.Conn.Close()
}

// A client that sends a large message over a slow network is sent Heartbeats by the server: the client's own Heartbeat
// waits behind the message. The message arrives, and is answered.
func TestALargeMessageOverASlowNetworkArrives(t *testing.T) {
	const (
		silence = 1500 * time.Millisecond // of the client, and of the server
		rate    = 20_000
		size    = 5 * rate * int(silence/time.Millisecond) / 1000
	)
	s := serve(t, options{users: usermgr.Config{HeartbeatTimeout: silence, HeartbeatCheckInterval: 100 * time.Millisecond}})
	ctx, cancel := contextFor(4 * patience)
	defer cancel()
	lost := make(chan error, 10)
	c, err := client.Dial(ctx, s.addr(), client.Config{UserID: "ann", Timeouts: client.Timeouts{Server: silence},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return newSlowUplink(nc, rate), nil
		},
		OnState: func(_ *client.Client, _ client.State, err error) {
			if err != nil {
				lost <- err
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reply, err := c.Request(ctx, echo, make([]byte, size))
	if err != nil || len(reply.Body) != size {
		t.Errorf("the answer is %v, %v", reply, err)
	}
	select {
	case err := <-lost:
		t.Errorf("the connection was lost: %v", err)
	default:
	}
}
