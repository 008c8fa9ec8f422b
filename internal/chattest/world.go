// Package chattest runs servers with package chat in a test, alone or as nodes of a cluster, and clients that speak the wire. Packages of several
// modules use it.
//
//	w := chattest.NewWorld(t, chat.Config{Store: store})
//	ann, bob := w.LogOn("ann"), w.LogOn("bob")
//	group := ann.Create()
//	bob.Join(group)
//	ann.Say(group, "hello")
//	bob.WantHeard("P29", group+"#1 ann: hello")
package chattest

import (
	"context"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// World is a server with a chat service.
type World struct {
	*rollcalltest.Server
	Chat  *chat.Service
	Store chat.Store
	T     *testing.T

	dialled int
	closed  bool
	nodes   *Nodes // nil for a server alone
}

// settler is what *chat.Service is in the tests of package chat. Elsewhere tests wait for what must come.
type settler interface{ Settle() }

// Settle waits until all that was stored before is delivered, on all servers, and reports whether the service can tell that.
func (w *World) Settle() bool {
	w.T.Helper()
	if w.nodes != nil {
		return w.nodes.settle()
	}
	return w.settle()
}

func (w *World) settle() bool {
	s, settles := any(w.Chat).(settler)
	if settles {
		s.Settle()
	}
	return settles
}

// NewWorld starts a server whose users may have several devices. Presence is told at once, unless cfg has an interval.
func NewWorld(t *testing.T, cfg chat.Config) *World {
	t.Helper()
	w := &World{T: t, Store: cfg.Store}
	w.start(cfg, usermgr.Config{}, nil)
	return w
}

func (w *World) start(cfg chat.Config, users usermgr.Config, elsewhere bridge.Elsewhere) {
	t := w.T
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = chat.NewMemory()
		w.Store = cfg.Store
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = testkit.Patience // a busy machine is no fault
	}
	if cfg.Presence.Interval == 0 {
		cfg.Presence.Interval = -1
	}
	cfg.Presence.StoreTimeout = testkit.Patience
	users.Devices = usermgr.Devices{OnePerClass: true}
	config := bridge.Config{
		Elsewhere:         elsewhere,
		MayAskWhoIsOnline: func(string, []string) bool { return true },
		Visible:           func(asker, user string) bool { return w.Chat.Presence().VisibleTo(asker, user) },
	}
	w.Server = rollcalltest.NewServer(t, rollcall.Config{Users: users, Bridge: config}, func(s *rollcall.Server) {
		w.Chat = testkit.Must(chat.New(s.Bridge, cfg))
	})
	t.Cleanup(w.End)
}

// Online waits until the server knows that users are online, which it learns after they have been let in.
func (w *World) Online(users ...string) {
	w.T.Helper()
	for _, u := range users {
		testkit.Eventually(w.T, u+" is online", func() bool { return w.Chat.Presence().Visible(u) == protocol.PresenceOnline })
	}
}

// End stops the server and closes the service. It may be called again.
func (w *World) End() {
	w.T.Helper()
	if w.closed {
		return
	}
	w.closed = true
	w.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if err := w.Chat.Close(ctx); err != nil {
		w.T.Errorf("the service did not end: %v", err)
	}
}
