package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// What a client does over TCP it does over UDP, where the network loses nothing.
func TestAClientIsTheSameOverUDP(t *testing.T) {
	for name, test := range sameOverAll {
		over(t, transport{udp: true}, name, test)
	}
}

// A message that no datagram takes is refused, and the connection goes on.
func TestAMessageOverUDPFitsIntoADatagram(t *testing.T) {
	over(t, transport{udp: true}, "udp", func(t *testing.T) {
		srv := newServer(t, rollcall.Config{}, nil)
		c := join(t, srv, "alice", client.Config{})
		for name, err := range map[string]error{
			"a large body":      c.Send(1, make([]byte, udpwire.MaxBody+1)),
			"with a user's ID":  c.SendTo("bob", 1, make([]byte, udpwire.MaxBody-2)),
			"a frame of 64 KiB": c.Send(1, make([]byte, 64<<10)),
		} {
			if !errors.Is(err, protocol.MessageTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for range 300 { // more than are written at a time
			if err := c.SendTo("bob", 1, make([]byte, udpwire.MaxBody-3)); err != nil {
				t.Fatal(err)
			}
		}
		testkit.Eventually(t, "an answer to a Ping", func() bool { // the kernel may have had no room for the first
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Ping(ctx)
			return err == nil
		})
	})
}

// What a datagram cannot do is said before anything is sent.
func TestAddressesOfUDPAreChecked(t *testing.T) {
	for addr, want := range map[string]string{
		"udp://localhost":       "a host and a port alone",
		"udp://localhost:1/x":   "a host and a port alone",
		"udp://localhost:1?x=y": "a host and a port alone",
		"udp://:1":              "no host",
	} {
		if _, err := client.Dial(t.Context(), addr, client.Config{UserID: "alice"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
	over(t, transport{udp: true}, "a large logon", func(t *testing.T) {
		srv := newServer(t, rollcall.Config{}, nil)
		_, err := client.Dial(t.Context(), "udp://"+srv.Addr, client.Config{UserID: "alice", Fields: map[string]string{"x": strings.Repeat("x", 1200)}})
		if err == nil || !strings.Contains(err.Error(), "over UDP at most") {
			t.Errorf("a logon that no datagram takes: %v", err)
		}
	})
}

// Rule 14 over UDP: a client that closes says so until the server has confirmed it.
func TestAClientRepeatsItsCloseOverUDP(t *testing.T) {
	over(t, transport{udp: true}, "udp", func(t *testing.T) {
		srv := newServer(t, rollcall.Config{}, nil)
		lost := &lossConn{}
		c := join(t, srv, "alice", client.Config{DialContext: lost.dial})
		lost.drop.Store(3) // the Close, as a message and from the end of its side, and a repeat
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		testkit.Eventually(t, "alice is offline", func() bool { return !srv.Users.IsOnline("alice") })
		if n := srv.Stats().Closed[protocol.ClientClosed]; n != 1 {
			t.Errorf("%d clients have closed", n)
		}
	})
}

// lossConn is a connection whose next datagrams are lost.
type lossConn struct {
	net.Conn
	drop atomic.Int32
}

func (c *lossConn) dial(ctx context.Context, network, addr string) (_ net.Conn, err error) {
	c.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
	return c, err
}

func (c *lossConn) Write(b []byte) (int, error) {
	if c.drop.Add(-1) >= 0 {
		return len(b), nil
	}
	return c.Conn.Write(b)
}
