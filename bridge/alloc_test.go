//go:build !race

package bridge_test

import (
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// The message path of a bound user allocates nothing, from the socket to the handler and back, counting and beating
// included: whether messages come in crowds or one by one, and whether they carry a user ID.
func TestMessagePathAllocatesNothing(t *testing.T) {
	for _, c := range []struct {
		name          string
		batch, rounds int
		message       protocol.Message
	}{
		{"in crowds", 100, 2000, protocol.Message{Type: echo, ID: 7, Body: make([]byte, 64)}},
		{"one by one", 1, 20_000, protocol.Message{Type: echo, ID: 7, Body: make([]byte, 64)}},
		{"with both user IDs", 100, 1000, protocol.Message{Type: echo, ID: 7, UserID: "ann", DestUserID: "_0", Body: make([]byte, 64)}},
		{"to another user", 100, 1000, protocol.Message{Type: echo, ID: 7, DestUserID: "bob"}},
		{"heartbeats", 100, 1000, protocol.Message{Type: protocol.TypeHeartbeat, ID: 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, options{engine: engine.Config{Loops: 1},
				users: usermgr.Config{HeartbeatTimeout: time.Minute, HeartbeatCheckInterval: 100 * time.Millisecond}})
			client := s.logOn("ann")
			reply := c.message
			reply.Flags, reply.UserID, reply.DestUserID = protocol.FlagReply, "", ""
			requests, replies := repeated(t, &c.message, c.batch), repeated(t, &reply, c.batch)
			_ = client.conn.SetDeadline(time.Now().Add(patience))
			round := func() {
				if _, err := client.conn.Write(requests); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(client.conn, replies); err != nil {
					t.Fatal(err)
				}
			}
			for range 200 { // buffers grow to their size
				round()
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range c.rounds {
				round()
			}
			runtime.ReadMemStats(&after)
			allocations, messages := after.Mallocs-before.Mallocs, uint64(c.batch*c.rounds)
			t.Logf("%d allocations for %d messages", allocations, messages)
			if allocations > messages/1000 { // the tickers of the process are not the message path's
				t.Errorf("%d allocations for %d messages", allocations, messages)
			}
			if c.message.Type == echo {
				eventually(t, "every message is counted", func() bool {
					data, _ := s.users.User("ann")
					return data.In.Messages == uint64(c.batch*(c.rounds+200)) && data.Out.Messages == data.In.Messages
				})
			}
		})
	}
}

// A message to a user costs a look-up and Conn.Send: no allocation. The loop may allocate while its lists grow to their size.
func TestSendToAUserAllocatesNothing(t *testing.T) {
	s := serve(t, options{engine: engine.Config{Loops: 1}})
	client := s.logOn("ann")
	go io.Copy(io.Discard, client.conn) //nolint:errcheck // until the client is closed
	body := make([]byte, 64)
	send := func() {
		if err := s.bridge.Send("ann", push, body); err != nil {
			t.Fatal(err)
		}
	}
	for range 2000 {
		send()
	}
	const sends = 20_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range sends {
		send()
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > sends/100 {
		t.Errorf("%d allocations for %d messages", n, sends)
	}
}

func repeated(t *testing.T, m *protocol.Message, n int) (b []byte) {
	t.Helper()
	for range n {
		b = append(b, frame(t, m)...)
	}
	return b
}
