//go:build !race

package presence_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// With presence attached, and a session that watches, a message allocates nothing from the socket to the handler and back.
func TestMessagePathAllocatesNothing(t *testing.T) {
	const echo, batch, rounds = 0x0100, 100, 1000
	var states *presence.Service
	server := rollcalltest.NewServer(t, rollcall.Config{Engine: engine.Config{Loops: 1}}, func(s *rollcall.Server) {
		states = presence.New(s.Bridge)
		s.Engine.Handle(echo, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	})
	t.Cleanup(func() {
		server.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := states.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	c := testkit.Must(net.Dial("tcp", server.Addr))
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(testkit.Patience))
	var in wiretest.Reader
	for _, m := range []*protocol.Message{wiretest.Logon("ann"), wiretest.Request(protocol.TypePresence, 2, protocol.PresenceWatch, nil)} {
		if _, err := c.Write(testkit.Must(protocol.Binary.Append(nil, m))); err != nil {
			t.Fatal(err)
		}
		if r := testkit.Must(in.Next(c.Read)); !r.IsReply() {
			t.Fatalf("the answer is %+v", r)
		}
	}
	message := protocol.Message{Type: echo, ID: 7, Body: make([]byte, 64)}
	requests := bytes.Repeat(testkit.Must(protocol.Binary.Append(nil, &message)), batch)
	message.Flags = protocol.FlagReply
	replies := bytes.Repeat(testkit.Must(protocol.Binary.Append(nil, &message)), batch)
	round := func() {
		if _, err := c.Write(requests); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, replies); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 { // buffers grow to their size
		round()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		round()
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > batch*rounds/1000 { // the process's tickers are not the message path's
		t.Errorf("%d allocations for %d messages", n, batch*rounds)
	}
}
