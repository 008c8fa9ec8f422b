//go:build !race

package bridge_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// noLink is a session without a connection.
type noLink struct{ conn uint64 }

func (l noLink) Address() usermgr.Address { return usermgr.Address{Conn: l.conn} }
func (l noLink) Quiesce(done func())      { done() }
func (l noLink) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// onlineUsers returns a bridge whose engine does not run, with so many users who are online.
func onlineUsers(t testing.TB, n int) (*bridge.Bridge, []string) {
	users := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1, Logger: zap.NewNop()}))
	t.Cleanup(func() {
		if err := users.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b := testkit.Must(bridge.Attach(testkit.Must(engine.New(engine.Config{Logger: zap.NewNop()})), users, nil, bridge.Config{Logger: zap.NewNop()}))
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("user-", i)
		link := noLink{1<<40 + uint64(i)}
		if _, err := users.Register(t.Context(), usermgr.Logon{UserID: names[i], Address: link.Address()}, link); err != nil {
			t.Fatal(err)
		}
	}
	return b, names
}

// Rule 28: an idle group takes 200 bytes at most, with its place among the others, and 16 bytes a member, and what its lists have room
// for besides; a user takes 140 bytes once, for all groups.
func TestMemoryOfGroups(t *testing.T) {
	const users, groups = 500, 600
	b, names := onlineUsers(t, users+1)
	all := make([]string, groups)
	for i := range all {
		all[i] = fmt.Sprint("group-", i)
	}
	_ = b.Group("").Join(bridge.Member{UserID: names[users]}) // the tables are there
	empty := int(testkit.Heap().HeapAlloc)
	for _, g := range all {
		mustJoin(t, b.Group(g), names[users])
	}
	oneMember := int(testkit.Heap().HeapAlloc)
	for _, u := range names[:users] {
		mustJoin(t, b.Group(all[0]), u)
	}
	oneGroup := int(testkit.Heap().HeapAlloc)
	for i, g := range all {
		for j, u := range names[:users] {
			if (i+j)%3 != 0 { // users are in different numbers of groups, and groups have different numbers of users
				mustJoin(t, b.Group(g), u)
			}
		}
	}
	memberships := -users
	for _, g := range all {
		memberships += len(b.Group(g).Members()) - 1
	}
	full := int(testkit.Heap().HeapAlloc)
	group := float64(oneMember-empty) / groups
	user := float64(oneGroup-oneMember) / users
	member := float64(full-oneGroup) / float64(memberships)
	t.Logf("a group with one member %.1f B, a member %.2f B, a user in one group %.1f B", group, member, user)
	if group > 200 || member > 17 || user > 140+16 {
		t.Error("that is too much")
	}
	if g, m := b.Groups(); g != groups+1 || m != users+1 {
		t.Errorf("%d groups and %d members", g, m)
	}
	for _, u := range names {
		for _, g := range all {
			b.Group(g).Leave(bridge.Member{UserID: u})
		}
	}
	b.Group("").Leave(bridge.Member{UserID: names[users]})
	if left := int(testkit.Heap().HeapAlloc) - empty; left > 64<<10 {
		t.Errorf("%d bytes are left when all have left", left)
	}
	runtime.KeepAlive(all)
}
