//go:build !race

package push_test

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// BenchmarkEveryoneBesideBroadcast pushes to two thousand users with Service.Push and sends as many bytes to their connections with
// Engine.Broadcast, in turn: what the sender does, while the event loop stands still. It tells how fast the push is in parts of the broadcast, by the medians.
func BenchmarkEveryoneBesideBroadcast(b *testing.B) {
	for _, underWay := range []int{1, 4} {
		b.Run(fmt.Sprint("under-way=", underWay), func(b *testing.B) { everyone(b, underWay) })
	}
}

func everyone(b *testing.B, underWay int) {
	const users, hold = 2000, 9
	var service *push.Service
	held, release := make(chan struct{}), make(chan struct{})
	srv := rollcalltest.NewServer(b, rollcall.Config{Engine: engine.Config{Loops: 1}}, func(s *rollcall.Server) {
		service = push.New(s.Bridge)
		s.Engine.Handle(hold, func(*engine.Conn, *protocol.Message) error {
			held <- struct{}{}
			<-release
			return nil
		})
	})
	var got atomic.Int64
	var holder net.Conn
	for i := range users {
		conn, err := net.Dial("tcp", srv.Addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		logon, _ := protocol.Binary.Append(nil, wiretest.Logon(fmt.Sprint("user-", i)))
		if _, err := conn.Write(logon); err != nil {
			b.Fatal(err)
		}
		var in wiretest.Reader
		if _, err := in.Next(conn.Read); err != nil {
			b.Fatal(err)
		}
		holder = conn
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				got.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
	}
	body := make([]byte, 64)
	frame, err := system.AppendPush(nil, push.Binary(body))
	if err != nil {
		b.Fatal(err)
	}
	m := &protocol.Message{Type: protocol.TypePush, Body: frame}
	conns := slices.Collect(srv.Engine.Conns())
	ways := [2]func() int{
		func() int {
			n, err := srv.Engine.Broadcast(slices.Values(conns), m, nil)
			if err != nil {
				b.Fatal(err)
			}
			return n
		},
		func() int {
			r, err := service.Push(b.Context(), push.ToEveryone(), push.Binary(body), nil)
			if err != nil {
				b.Fatal(err)
			}
			return r.Sessions()
		},
	}
	holding, _ := protocol.Binary.Append(nil, &protocol.Message{Type: hold})
	var took [2][]time.Duration
	for i := 0; b.Loop(); i++ {
		for j := range 2 {
			way := (i + j) % 2
			if _, err := holder.Write(holding); err != nil {
				b.Fatal(err)
			}
			<-held
			began, n := time.Now(), 0
			for range underWay {
				n += ways[way]()
			}
			took[way] = append(took[way], time.Since(began))
			release <- struct{}{}
			if n != users*underWay {
				b.Fatalf("sent to %d", n)
			}
			rollcalltest.Eventually(b, func() bool { return srv.Engine.Stats().OutboundQueue == 0 }, "all is written")
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	broadcast, pushed := took[0][b.N/2], took[1][b.N/2]
	b.ReportMetric(float64(broadcast)/float64(pushed), "of-broadcast")
	b.ReportMetric(float64(pushed)/float64(users*underWay), "ns/user")
}
