package rollcall_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

const patience = testkit.Patience

func run(t *testing.T, srv *rollcall.Server) (addr string, stop func() error) {
	t.Helper()
	if err := srv.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(ctx) }()
	return srv.Addrs()[0].String(), func() error {
		cancel()
		select {
		case err := <-ran:
			return err
		case <-time.After(patience):
			t.Fatal("Run does not return")
			return nil
		}
	}
}

// Rule 14: when Run has returned every event has been told, those of the last sessions too, and no goroutine is left.
func TestRunReturnsWhenEveryEventHasBeenTold(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	srv := testkit.Must(rollcall.New(rollcall.Config{Addr: "127.0.0.1:0", Logger: zap.NewNop()}))
	var told atomic.Int32
	srv.Users.Subscribe(rollcall.Events{
		Disconnected: func(rollcall.SessionInfo, rollcall.CloseCode) { told.Add(1) },
		Offline: func(rollcall.UserData) {
			testkit.BeSlow() // a Run that does not wait returns now
			told.Add(1)
		},
	})
	addr, stop := run(t, srv)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := testkit.Must(client.Dial(ctx, addr, client.Config{UserID: "ann", Reconnect: client.Reconnect{Max: -1}}))
	if err := stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if n := told.Load(); n != 2 {
		t.Errorf("%d events were told when Run returned, want 2", n)
	}
	<-c.Done()
}

// A client that the authenticator does not know is refused, and a message to a user reaches each of the user's sessions.
func TestAServerHasTheMethodsOfItsParts(t *testing.T) {
	srv := testkit.Must(rollcall.New(rollcall.Config{
		Addr: "127.0.0.1:0",
		Authenticate: func(_ context.Context, _ *rollcall.Conn, l rollcall.Logon) (rollcall.Identity, error) {
			if l.UserID == "eve" {
				return rollcall.Identity{}, fmt.Errorf("no eve here")
			}
			return rollcall.Identity{UserID: l.UserID}, nil
		},
		Logger: zap.NewNop(),
	}))
	addr, stop := run(t, srv)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got := make(chan string, 1)
	ann := testkit.Must(client.Dial(ctx, addr, client.Config{UserID: "ann", Handle: map[uint16]client.Handler{
		7: func(_ *client.Client, m *rollcall.Message) error { got <- string(m.Body); return nil },
	}}))
	defer ann.Close()
	if _, err := client.Dial(ctx, addr, client.Config{UserID: "eve"}); err == nil {
		t.Error("eve is let in")
	}
	if err := srv.Send("ann", 7, []byte("hello")); err != nil {
		t.Errorf("Send: %v", err)
	}
	select {
	case body := <-got:
		if body != "hello" {
			t.Errorf("ann got %q", body)
		}
	case <-ctx.Done():
		t.Error("ann got nothing")
	}
	if srv.Stats().Conns.Bound != 1 || srv.Users.Count() != 1 || srv.Logons().LoggingOn != 0 {
		t.Errorf("%d connections are bound, %d users online, %d log on", srv.Stats().Conns.Bound, srv.Users.Count(), srv.Logons().LoggingOn)
	}
	if err := stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

// A setting that makes no sense is named, whichever part it is of, and nothing keeps running.
func TestNewNamesTheSettingThatMakesNoSense(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, cfg := range map[string]rollcall.Config{
		"Config.Addr":       {},
		"Accept.Burst":      {Addr: ":0", Engine: engine.Config{Accept: engine.Accept{Burst: 3}}},
		"RelogonMode":       {Addr: ":0", Users: usermgr.Config{RelogonMode: 7}},
		"HeartbeatInterval": {Addr: ":0", Bridge: bridge.Config{HeartbeatInterval: time.Hour}},
	} {
		if _, err := rollcall.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: New returned %v", name, err)
		}
	}
}
