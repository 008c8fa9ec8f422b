package admin

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/internal/clustertest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A session that has lost messages is in trouble for a time, and not for its life.
func TestLostMessagesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1}))
		defer users.Close(context.Background())
		a := testkit.Must(New(Config{Users: users}))
		defer a.Close()
		s := testkit.Must(users.Register(context.Background(), usermgr.Logon{UserID: "bob"}, clustertest.Link(1)))
		trouble := func() []string {
			i, _ := users.SessionAt(1)
			return a.troubleOf(&i, 0)
		}
		if got := trouble(); len(got) > 0 {
			t.Errorf("at first %q", got)
		}
		time.Sleep(time.Hour)
		s.Dropped(1, 3, 400)
		time.Sleep(recently - time.Second)
		if got := trouble(); !slices.Equal(got, []string{"dropped"}) {
			t.Errorf("a moment later %q", got)
		}
		time.Sleep(2 * time.Second)
		if got := trouble(); len(got) > 0 {
			t.Errorf("after the time %q", got)
		}
		s.Dropped(1, 1, 100)
		if got := trouble(); !slices.Equal(got, []string{"dropped"}) {
			t.Errorf("again %q", got)
		}
	})
}
