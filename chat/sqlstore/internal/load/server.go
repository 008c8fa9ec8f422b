package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
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

// BenchmarkServer measures a whole server on loopback: 50 groups of 20 users, each with a connection, and messages of 200 bytes of which so many
// are on their way at a time. It reports messages that were stored and answered in a second, frames that were delivered, and the time from a
// message to its answer: half, and 99 of 100. Clients and server share the processors.
func BenchmarkServer(b *testing.B, store chat.Store) {
	const groups, members = 50, 20
	var messages *chat.Service
	srv := rollcalltest.NewServer(b, rollcall.Config{}, func(s *rollcall.Server) {
		var err error
		if messages, err = chat.New(s.Bridge, chat.Config{Store: store}); err != nil {
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
	for _, inFlight := range []int{20, 800} {
		b.Run(fmt.Sprintf("%d in flight", inFlight), func(b *testing.B) {
			before := messages.Stats()
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var all sync.WaitGroup
			took := make([][]time.Duration, inFlight)
			rand.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
			for i, c := range clients[:inFlight] {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						began := time.Now()
						c.send(b)
						took[i] = append(took[i], time.Since(began))
					}
				})
			}
			all.Wait()
			elapsed, after := b.Elapsed().Seconds(), messages.Stats()
			lasted := slices.Sorted(slices.Values(slices.Concat(took...)))
			b.ReportMetric(float64(b.N)/elapsed, "messages/s")
			b.ReportMetric(float64(after.Delivered-before.Delivered)/elapsed, "deliveries/s")
			b.ReportMetric(float64(after.Stored-before.Stored)/float64(max(after.Batches-before.Batches, 1)), "messages/commit")
			b.ReportMetric(float64(lasted[len(lasted)/2])/1e6, "p50-ms")
			b.ReportMetric(float64(lasted[len(lasted)*99/100])/1e6, "p99-ms")
		})
	}
}

// client is a connection that reads all that comes.
type client struct {
	net.Conn
	group    string
	id       uint32
	answered chan *protocol.Message
}

func dial(b *testing.B, addr, user string, group chat.GroupID) *client {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	c := &client{Conn: conn, group: strconv.FormatUint(uint64(group), 10), answered: make(chan *protocol.Message, 1)}
	c.write(b, wiretest.Logon(user))
	go func() {
		var in wiretest.Reader
		for {
			m, err := in.Next(conn.Read)
			if err != nil {
				return
			}
			if m.IsReply() {
				c.answered <- m
			}
		}
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
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: protocol.ChatSend, Fields: map[string]string{"group": c.group},
		Content: system.AppendPost(nil, uuid.New(), 1, make([]byte, 200))})
	if err != nil {
		b.Error(err)
	}
	c.write(b, &protocol.Message{Type: protocol.TypeChat, ID: c.id, Body: body})
	if m := <-c.answered; m.Flags&protocol.FlagError != 0 {
		b.Error(protocol.ParseClose(m.Body))
	}
}
