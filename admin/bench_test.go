package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// crowdSize is how many users a benchmark has: 20,000, or what ADMIN_USERS says, such as 1000000.
func crowdSize(b *testing.B) int {
	text := os.Getenv("ADMIN_USERS")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// link is the connection of a user who is not really there.
type link usermgr.Address

func (l link) Address() usermgr.Address { return usermgr.Address(l) }
func (link) Quiesce(done func())        { done() }
func (link) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// crowded returns a page, and its server with a crowd online.
func crowded(b *testing.B) (*Admin, *rollcall.Server) {
	b.Helper()
	srv := testkit.Must(rollcall.New(rollcall.Config{Addr: "127.0.0.1:0", Users: usermgr.Config{HeartbeatTimeout: -1},
		Engine: engine.Config{Loops: 1}, Bridge: bridge.Config{}}))
	srv.HandleDefault(func(c *rollcall.Conn, m *rollcall.Message) error { return c.Reply(m, m.Body) })
	for i := range crowdSize(b) {
		at := usermgr.Address{Conn: 1<<40 + uint64(i), Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), uint16(i)), Via: "tcp"}
		s := testkit.Must(srv.Users.Register(context.Background(), usermgr.Logon{UserID: fmt.Sprintf("user-%07d", i)}, link(at)))
		s.Received(1, 1+i%100, 100)
	}
	a := testkit.Must(New(Config{Users: srv.Users, Engines: []Engine{{Engine: srv.Engine, Bridge: srv.Bridge}},
		Authorize: func(*http.Request) (string, Permission) { return "olga", View }}))
	if err := srv.Listen(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- srv.Engine.Run(ctx) }()
	b.Cleanup(func() {
		_ = a.Close()
		cancel()
		<-ran
		_ = srv.Users.Close(context.Background())
	})
	return a, srv
}

func (a *Admin) benchmarked(b testing.TB, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+apiPrefix+path, nil))
	if w.Code != 200 {
		b.Errorf("%s: %d", path, w.Code)
	}
	return w
}

// BenchmarkAnswers is each kind of answer, with a crowd: the mean, and within which time 99 % of them come.
func BenchmarkAnswers(b *testing.B) {
	a, _ := crowded(b)
	for _, path := range []string{"overview", "sessions", "user?id=user-0000007", "sessions?q=nobody", "sessions?q=user-0000007", "sessions?device=9", "sessions?trouble=1", "sessions?top=in"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			var took []time.Duration
			for b.Loop() {
				a.tops = topCache{}
				began := time.Now()
				a.benchmarked(b, path)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-for-99-%")
		})
	}
}

// BenchmarkEchoBesideAPage is an echo of 64 bytes, by 32 requests at a time, alone and while a page asks as app.js does: its counts every two
// seconds, and who is in trouble as often as that may be.
func BenchmarkEchoBesideAPage(b *testing.B) {
	a, srv := crowded(b)
	c := testkit.Must(client.Dial(context.Background(), srv.Addrs()[0].String(), client.Config{UserID: "talker"}))
	defer c.Close()
	for _, open := range []bool{false, true} {
		b.Run(fmt.Sprintf("page=%t", open), func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				if open {
					a.browse(ctx, b)
				}
			}()
			b.SetParallelism(32)
			body := make([]byte, 64)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := c.Request(ctx, 1, body); err != nil {
						b.Error(err)
						return
					}
				}
			})
			cancel()
			<-ended
		})
	}
}

// browse asks as a page does that shows the overview.
func (a *Admin) browse(ctx context.Context, b testing.TB) {
	ticks := time.NewTicker(2 * time.Second)
	defer ticks.Stop()
	var looked time.Time
	var took time.Duration
	for {
		a.benchmarked(b, "overview")
		if time.Since(looked) > max(5*time.Second, 50*took) {
			looked = time.Now()
			a.benchmarked(b, "sessions?trouble=1")
			took = time.Since(looked)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// What the server pays for an event while a page watches: at 10,000 events a second 10 µs are a tenth of a core.
func BenchmarkEvent(b *testing.B) {
	users := testkit.Must(usermgr.New(usermgr.Config{}))
	defer users.Close(b.Context())
	a := testkit.Must(New(Config{Users: users}))
	defer a.Close()
	w := &watcher{queue: make(chan event, watcherQueue)}
	if _, _, _, ok := a.hub.join(w, nil); !ok {
		b.Fatal("not let in")
	}
	defer a.hub.leave(w)
	s := &stream{hub: &a.hub, watcher: w}
	b.ReportAllocs()
	for b.Loop() {
		a.hub.tell(eventView{Kind: "tagged", User: "bob", Old: "a", Tag: "b"})
		if len(w.queue) == batch {
			e := <-w.queue
			s.append(&e)
			s.drain()
			s.text = s.text[:0]
		}
	}
}
