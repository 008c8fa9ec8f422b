package usermgr_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 17: without a cluster Left comes when Offline does, before it, and after the grace; a user who comes back has not left.
func TestLeftComesBeforeOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{OfflineGrace: time.Minute})
		var mu sync.Mutex
		var got []string
		told := func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(got)
		}
		note := func(event string) func(usermgr.UserData) {
			return func(u usermgr.UserData) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, event+" "+u.UserID)
			}
		}
		m.Subscribe(usermgr.Events{Left: note("Left"), Offline: note("Offline")})
		logOn(t, m, "ann", newLink(1)).End(protocol.NetworkError)
		time.Sleep(time.Second)
		logOn(t, m, "ann", newLink(2)).End(protocol.NetworkError)
		time.Sleep(59 * time.Second)
		if got := told(); got != nil {
			t.Errorf("within the grace it was told %q", got)
		}
		time.Sleep(2 * time.Second)
		if got, want := told(), []string{"Left ann", "Offline ann"}; !slices.Equal(got, want) {
			t.Errorf("it was told %q, want %q", got, want)
		}
	})
}
