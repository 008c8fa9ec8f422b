package bridge_test

import (
	"runtime"
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

func anyoneMayAsk(string, []string) bool { return true }

// E12: Visible decides of each asker and each user whether the answer to who is online tells that the user is online. It tells of no user
// who is offline, and is asked about those too.
func TestVisibleDecidesOfWhomTheAnswerTells(t *testing.T) {
	for name, workers := range map[string]int{"on the loop": 0, "with workers": 2} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var asked []string
			srv := rollcalltest.NewServer(t, rollcall.Config{Engine: engine.Config{Workers: workers}, Bridge: bridge.Config{
				MayAskWhoIsOnline: anyoneMayAsk,
				Visible: func(asker, userID string) bool {
					mu.Lock()
					defer mu.Unlock()
					asked = append(asked, asker+" "+userID)
					return userID != "eve" || asker == "bob"
				}}}, nil)
			ann, bob, eve := srv.Client(t, "ann", client.Config{}), srv.Client(t, "bob", client.Config{}), srv.Client(t, "eve", client.Config{})
			for _, tc := range []struct {
				asker                *client.Client
				about, online, asked []string
			}{
				{ann, []string{"eve"}, nil, []string{"ann eve"}},
				{ann, []string{"bob", "carol", "eve", "ann", "bob"}, []string{"bob", "ann", "bob"},
					[]string{"ann bob", "ann carol", "ann eve", "ann ann", "ann bob"}},
				{bob, []string{"eve", "carol"}, []string{"eve"}, []string{"bob eve", "bob carol"}},
				{eve, []string{"eve", "ann"}, []string{"ann"}, []string{"eve eve", "eve ann"}},
			} {
				mu.Lock()
				asked = nil
				mu.Unlock()
				online, err := tc.asker.WhoIsOnline(t.Context(), tc.about...)
				if err != nil || !slices.Equal(online, tc.online) {
					t.Errorf("of %q are told %q, %v; want %q", tc.about, online, err, tc.online)
				}
				mu.Lock()
				if !slices.Equal(asked, tc.asked) {
					t.Errorf("Visible was asked %q, want %q", asked, tc.asked)
				}
				mu.Unlock()
			}
		})
	}
}

// Rule 15: a panic in Visible hides that user, and has no other effect. A Goexit ends the asker's connection, as it does in a handler.
func TestAPanicInVisibleHidesTheUser(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	srv := rollcalltest.NewServer(t, rollcall.Config{Logger: zap.New(core), Bridge: bridge.Config{
		MayAskWhoIsOnline: anyoneMayAsk,
		Visible: func(_, userID string) bool {
			switch userID {
			case "mallory":
				panic("on purpose")
			case "trudy":
				runtime.Goexit()
			}
			return true
		}}}, nil)
	ann, mallory := srv.Client(t, "ann", client.Config{}), srv.Client(t, "mallory", client.Config{})
	srv.Client(t, "trudy", client.Config{})
	session := ann.SessionID()
	if online, err := ann.WhoIsOnline(t.Context(), "mallory", "ann"); err != nil || !slices.Equal(online, []string{"ann"}) {
		t.Errorf("online are told %q, %v", online, err)
	}
	if _, err := ann.Ping(t.Context()); err != nil || ann.SessionID() != session {
		t.Errorf("the connection of the asker: %v", err)
	}
	if n := logs.FilterMessage("Visible panicked").Len(); n != 1 {
		t.Errorf("%d panics were logged", n)
	}
	if online, err := mallory.WhoIsOnline(t.Context(), "ann", "trudy"); err == nil {
		t.Errorf("after a Goexit online are told %q", online)
	}
	if _, err := ann.Ping(t.Context()); err != nil || ann.SessionID() != session {
		t.Errorf("the connection of another user: %v", err)
	}
}
