package examples_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// With -relay the echo server is one that the clients' READMEs can talk to: users write to each other, and ask who is online.
func TestEchoRelays(t *testing.T) {
	addr := start(t, "echo", "-addr", "127.0.0.1:0", "-relay").address(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dial := func(user string) *client.Client {
		c, err := client.Dial(ctx, addr, client.Config{UserID: user, Handle: map[uint16]client.Handler{
			1: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, []byte("from "+user)) },
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	alice, _ := dial("alice"), dial("bob")
	if m, err := alice.RequestTo(ctx, "bob", 1, []byte("hi")); err != nil || string(m.Body) != "from bob" {
		t.Fatalf("bob answered %v, %v", m, err)
	}
	if m, err := alice.Request(ctx, 1, []byte("hi")); err != nil || string(m.Body) != "hi" {
		t.Fatalf("the server answered %v, %v", m, err)
	}
	online, err := alice.WhoIsOnline(ctx, "alice", "carol", "bob")
	if err != nil || !slices.Equal(online, []string{"alice", "bob"}) {
		t.Fatalf("online are %q, %v", online, err)
	}
}
