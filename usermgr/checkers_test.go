package usermgr_test

import (
	"context"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// The first of two managers that closes a checker would leave the other's users unwatched.
func TestTwoManagersNeedTwoCheckers(t *testing.T) {
	c := heartbeat.New(time.Second, time.Minute)
	m := testkit.Must(usermgr.New(usermgr.Config{HeartbeatChecker: c}))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("two managers have one checker")
			}
		}()
		testkit.Must(usermgr.New(usermgr.Config{HeartbeatChecker: c}))
	}()
	if _, err := usermgr.New(usermgr.Config{HeartbeatChecker: heartbeat.New(0, -1), HeartbeatTimeout: time.Minute}); err == nil {
		t.Error("a checker of one's own, and a timeout besides")
	}
	if err := m.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // each has a checker of its own
		m := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1}))
		if err := m.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}
