package bridge_test

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// lastShown keeps the last item that a display has shown.
type lastShown struct {
	mu   sync.Mutex
	item usermgr.DisplayItem
}

func (l *lastShown) ClearAll()                             {}
func (l *lastShown) RemoveUser(string, protocol.CloseCode) {}
func (l *lastShown) SetOrUpdateUserItem(i usermgr.DisplayItem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.item = i
}

// Rule 14: what a client's bytes go through is in its session, in the events of its coming and going, in a filter and on display.
func TestASessionSaysItsTransport(t *testing.T) {
	ca := testca.New(t)
	secure := &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}
	path := filepath.Join(t.TempDir(), "s")
	trusts := &tls.Config{RootCAs: ca.Pool}
	unix := func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }
	for _, tc := range []struct {
		name, via, scheme string
		listener          engine.Listener
		client            client.Config
	}{
		{"tcp", "tcp", "", engine.Listener{}, client.Config{}},
		{"tls", "tls", "", engine.Listener{TLS: secure}, client.Config{TLS: trusts}},
		{"ws", "ws", "ws://", engine.Listener{WebSocket: new(engine.WebSocket)}, client.Config{}},
		{"wss", "wss", "wss://", engine.Listener{WebSocket: new(engine.WebSocket), TLS: secure}, client.Config{TLS: trusts}},
		{"unix", "unix", "", engine.Listener{Network: "unix", Addr: path}, client.Config{DialContext: unix}},
		{"a pipe", "pipe", "", engine.Listener{}, client.Config{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, options{engine: engine.Config{Listeners: []engine.Listener{tc.listener}}})
			came, went := make(chan usermgr.SessionInfo, 1), make(chan usermgr.SessionInfo, 1)
			s.users.Subscribe(usermgr.Events{
				Connected:    func(i usermgr.SessionInfo) { came <- i },
				Disconnected: func(i usermgr.SessionInfo, _ protocol.CloseCode) { went <- i },
			})
			var shown lastShown
			defer s.users.Display(&shown, time.Millisecond)()
			s.start()
			cfg, addr := tc.client, tc.scheme+s.addr()
			cfg.UserID, cfg.Reconnect.Min = "ann", -1
			var served sync.WaitGroup
			if tc.via == "pipe" {
				cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					served.Go(func() { _ = s.engine.ServeConn(theirs) })
					return ours, nil
				}
			}
			if tc.via == "unix" {
				addr = "localhost:1" // DialContext goes elsewhere
			}
			c, err := client.Dial(t.Context(), addr, cfg)
			if err != nil {
				t.Fatal(err)
			}
			i := <-came
			ip := tc.via != "unix" && tc.via != "pipe"
			if i.Via != tc.via || i.Remote.IsValid() != ip {
				t.Errorf("Connected got %v by %q", i.Remote, i.Via)
			}
			if over := slices.Collect(s.users.Sessions(usermgr.Filter{Via: tc.via})); len(over) != 1 || over[0].Address != i.Address {
				t.Errorf("by %s there are %v", tc.via, over)
			}
			if !testkit.ComesTrue(patience, func() bool {
				shown.mu.Lock()
				defer shown.mu.Unlock()
				return shown.item.Address == i.Address
			}) {
				t.Errorf("shown is %+v", shown.item)
			}
			_ = c.Close()
			if i := <-went; i.Via != tc.via {
				t.Errorf("Disconnected got %q", i.Via)
			}
			served.Wait()
		})
	}
}
