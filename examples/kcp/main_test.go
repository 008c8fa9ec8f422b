package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const secret = "the test's"

// start runs a server until stop is called or the test ends.
func start(t *testing.T) (srv *rollcall.Server, addr string, stop func()) {
	t.Helper()
	srv, err := newServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err == nil {
		err = srv.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, srv, pc, secret) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = pc.Close()
	})
	return srv, pc.LocalAddr().String(), cancel
}

func dial(t *testing.T, addr, user string) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cfg := byKCP(user, secret)
	cfg.Reconnect.Max = -1
	c, err := client.Dial(ctx, addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wantEnd waits for the end of a client, and wants it to have been told this.
func wantEnd(t *testing.T, c *client.Client, code protocol.CloseCode, text string) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the client has not ended")
	}
	var why *protocol.CloseError
	if !errors.As(c.Err(), &why) || why.Code != code || why.Text != text {
		t.Errorf("the client ended with %v, want %v: %s", c.Err(), code, text)
	}
}

// Rule 14: all that the contract promises holds for a connection over KCP: a logon, requests, a kick with its code and text, a stop with its
// notice. Packets of strangers make no session.
func TestKCPFromTheLogonToTheStop(t *testing.T) {
	srv, addr, stop := start(t)
	stranger, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	for n := range 100 {
		_, _ = stranger.Write(bytes.Repeat([]byte{byte(n)}, 60))
	}
	ann, bob := dial(t, addr, "ann"), dial(t, addr, "bob")
	for _, size := range []int{0, 1, 1000, 300_000} {
		body := bytes.Repeat([]byte("0123456789"), size/10)
		if m, err := ann.Request(t.Context(), echo, body); err != nil || !bytes.Equal(m.Body, body) {
			t.Fatalf("the answer to %d bytes is %v, %v", size, m, err)
		}
	}
	for c := range srv.Conns() {
		if c.Transport() != "kcp" || !c.RemoteAddr().IsValid() {
			t.Errorf("a connection is from %v by %q", c.RemoteAddr(), c.Transport())
		}
	}
	if n := srv.Stats().Accepted; n != 2 {
		t.Errorf("there were %d connections, want 2", n)
	}
	if _, err := srv.Users.Kick("ann", &usermgr.KickOptions{Text: "enough"}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, ann, protocol.KickedOut, "enough")
	if m, err := bob.Request(t.Context(), echo, []byte("still here")); err != nil || string(m.Body) != "still here" {
		t.Errorf("the answer is %v, %v", m, err)
	}
	stop()
	wantEnd(t, bob, protocol.ServerStopping, "the server is stopping")
}

// Rule 3: a client that leaves is gone at once, and what it sent last makes no other connection.
func TestAKCPClientThatLeavesIsGone(t *testing.T) {
	srv, addr, _ := start(t)
	left := make(chan protocol.CloseCode, 1)
	srv.Users.Subscribe(rollcall.Events{Disconnected: func(_ rollcall.SessionInfo, why protocol.CloseCode) { left <- why }})
	if err := dial(t, addr, "ann").Close(); err != nil {
		t.Error(err)
	}
	if why := <-left; why != protocol.ClientClosed {
		t.Errorf("she left with %v", why)
	}
}
