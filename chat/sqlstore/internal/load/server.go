package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// BenchmarkServer measures a whole server on loopback: 50 groups of 20 users, each with a connection, and messages of 200 bytes, to a group or to one
// user each. It reports messages that were stored and answered in a second, frames that were delivered, and the time from a message to its
// answer: half, and 99 of 100. Clients and server share the processors. With so many in flight each client sends when it has its answer. With
// so many a second they come when their time has come, and count from then. The targets in docs/benchmarks.md are messages/s of at least 10,000
// for SQLite, to a group, and 20,000 for PostgreSQL, to one user each, and with half of SQLite's p99-ms of at most 50.
func BenchmarkServer(b *testing.B, store chat.Store) {
	const groups, members = 50, 20
	var messages *chat.Service
	var cfg rollcall.Config
	cfg.Users.HeartbeatTimeout = -1 // some clients have nothing to send for long
	srv := rollcalltest.NewServer(b, cfg, func(s *rollcall.Server) {
		var err error
		if messages, err = chat.New(s.Bridge, chat.Config{Store: store, Strangers: true}); err != nil {
			b.Fatal(err)
		}
	})
	b.Cleanup(func() {
		srv.Stop()
		if err := messages.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	var clients []*client
	for g := range groups {
		id := chat.GroupID(0)
		for m := range members {
			user := fmt.Sprintf("user%d-%d", g, m)
			if m == 0 {
				var err error
				if id, err = messages.CreateGroup(b.Context(), user, chat.Group{Open: true}); err != nil {
					b.Fatal(err)
				}
			} else if _, err := messages.Join(b.Context(), id, user); err != nil {
				b.Fatal(err)
			}
			clients = append(clients, dial(b, srv.Addr, user, id))
		}
	}
	rand.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
	for _, inFlight := range []int{20, 800} {
		b.Run(fmt.Sprintf("%d in flight", inFlight), func(b *testing.B) {
			exchange(b, messages, clients[:inFlight], func(int) time.Time { return time.Now() })
		})
	}
	b.Run("800 in flight, to one user each", func(b *testing.B) {
		var pairs []*client
		for i := range 800 {
			c := *clients[i]
			c.to, c.with = "user", clients[i^1].user
			pairs = append(pairs, &c)
		}
		exchange(b, messages, pairs, func(int) time.Time { return time.Now() })
	})
	const rate = 5000
	b.Run(fmt.Sprintf("%d a second", rate), func(b *testing.B) {
		began := time.Now()
		exchange(b, messages, clients, func(i int) time.Time {
			due := began.Add(time.Duration(i) * time.Second / rate)
			time.Sleep(time.Until(due))
			return due
		})
	})
}

// exchange has the clients send b.N messages. A client sends its next one when it has its answer, and begin has returned the time from which message i
// counts.
func exchange(b *testing.B, messages *chat.Service, clients []*client, begin func(i int) time.Time) {
	before := messages.Stats()
	b.ResetTimer()
	var all sync.WaitGroup
	var next atomic.Int64
	took := make([]time.Duration, b.N)
	for _, c := range clients {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				began := begin(i)
				c.send(b)
				took[i] = time.Since(began)
			}
		})
	}
	all.Wait()
	elapsed, after := b.Elapsed().Seconds(), messages.Stats()
	b.ReportMetric(float64(b.N)/elapsed, "messages/s")
	b.ReportMetric(float64(after.Delivered-before.Delivered)/elapsed, "deliveries/s")
	b.ReportMetric(float64(after.Stored-before.Stored)/float64(max(after.Batches-before.Batches, 1)), "messages/commit")
	report(b, took, time.Millisecond, "ms")
}

// client is a connection that reads all that comes.
type client struct {
	net.Conn
	user     string
	to, with string // what it sends to: "group", or "user", with its name
	id       uint32
	answered chan *protocol.Message
}

func dial(b *testing.B, addr, user string, group chat.GroupID) *client {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	c := &client{Conn: conn, user: user, to: "group", with: strconv.FormatUint(uint64(group), 10), answered: make(chan *protocol.Message, 1)}
	c.write(b, wiretest.Logon(user))
	go func() { // until the connection is closed
		defer close(c.answered)
		_ = wiretest.Each(make([]byte, 64<<10), conn.Read, func(m *protocol.Message) error {
			if m.IsReply() {
				c.answered <- m.Clone()
			}
			return nil
		})
	}()
	<-c.answered
	return c
}

func (c *client) write(b *testing.B, m *protocol.Message) {
	frame, err := protocol.Binary.Append(nil, m)
	if err == nil {
		_, err = c.Write(frame)
	}
	if err != nil {
		b.Error(err)
	}
}

// send sends a message and waits for its answer.
func (c *client) send(b *testing.B) {
	c.id++
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: protocol.ChatSend, Fields: map[string]string{c.to: c.with},
		Content: system.AppendPost(nil, uuid.New(), 1, make([]byte, 200))})
	if err != nil {
		b.Error(err)
	}
	c.write(b, &protocol.Message{Type: protocol.TypeChat, ID: c.id, Body: body})
	switch m := <-c.answered; {
	case m == nil:
		b.Error("the server has closed the connection")
	case m.Flags&protocol.FlagError != 0:
		b.Error(protocol.ParseClose(m.Body))
	}
}
