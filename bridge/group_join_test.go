package bridge_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// watchedManager has a test do something when it is asked who is online, before it answers, as of the question.
type watchedManager struct {
	*usermgr.Manager
	mu   sync.Mutex
	then []func() // for the next questions, one each
}

func (w *watchedManager) IsOnline(userID string) bool {
	online := w.Manager.IsOnline(userID)
	w.mu.Lock()
	var f func()
	if len(w.then) > 0 {
		f, w.then = w.then[0], w.then[1:]
	}
	w.mu.Unlock()
	if f != nil {
		f()
	}
	return online
}

// Rule 28: only a user who is online can join. A Join that finds out late that its user had gone does not end what the user, who is back,
// has joined since.
func TestAJoinThatCameTooLateLeavesALaterOneAlone(t *testing.T) {
	users := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1, Logger: zap.NewNop()}))
	t.Cleanup(func() {
		if err := users.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w := &watchedManager{Manager: users}
	s := newServerFor(t, options{}, users, w).start()
	ann, bob := s.logOn("ann"), s.logOn("bob")
	mustJoin(t, s.bridge.Group("room"), "bob") // from now on the bridge hears of sessions
	offline := make(chan struct{})
	defer users.Subscribe(usermgr.Events{Offline: func(usermgr.UserData) { close(offline) }})()
	w.mu.Lock()
	w.then = []func(){
		func() { // ann leaves when she was found online
			_ = ann.conn.Close()
			receive(t, "the end of being online", offline)
		},
		func() { // and is back when she was found offline
			ann = s.logOn("ann")
			mustJoin(t, s.bridge.Group("room"), "ann")
		},
	}
	w.mu.Unlock()
	mustJoin(t, s.bridge.Group("other room"), "ann")
	if got := names(s.bridge.Group("room")); got != "ann bob" {
		t.Errorf("the members are %s", got)
	}
	mustSend(t, s.bridge.Group("room"), "hello", 2)
	ann.expect(push, "hello")
	bob.expect(push, "hello")
}
