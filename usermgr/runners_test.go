package usermgr_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// quietLater is a link whose message handlers return when the test says so.
type quietLater struct {
	usermgr.Link
	asked *atomic.Int64
	quiet chan struct{}
}

func (l quietLater) Quiesce(done func()) {
	l.asked.Add(1)
	go func() { // one goroutine would do, but the count below leaves these out
		<-l.quiet
		done()
	}()
}

// Rule 10: the end of many users at once, whose message handlers are waited for, takes a few goroutines, not one a user.
func TestTheEndOfManyUsersTakesFewGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users = 2000
		m := newManager(t, usermgr.Config{HeartbeatTimeout: -1, QuiesceTimeout: time.Minute})
		var disconnected atomic.Int64
		m.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { disconnected.Add(1) }})
		var asked atomic.Int64
		quiet := make(chan struct{})
		for i := range users {
			logOnAs(t, m, usermgr.Logon{UserID: fmt.Sprint("user ", i)}, quietLater{newLink(uint64(i)), &asked, quiet})
		}
		before := runtime.NumGoroutine()
		cleared := make(chan int, 1)
		go func() {
			n, _ := m.Clear(t.Context())
			cleared <- n
		}()
		synctest.Wait()
		if n := asked.Load(); n != users {
			t.Fatalf("%d of %d sessions were asked to be quiet", n, users)
		}
		if n := runtime.NumGoroutine() - before - users; n > 100 {
			t.Errorf("%d goroutines wait for %d users", n, users)
		}
		close(quiet)
		if n := <-cleared; n != users || disconnected.Load() != users {
			t.Errorf("Clear ended %d sessions, and %d were told of", n, disconnected.Load())
		}
	})
}

// Rule 10: handlers that block hold up their own users, however many they are.
func TestManyFrozenHandlersHoldUpTheirOwnUsersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const frozen = 1000
		m := newManager(t, usermgr.Config{HeartbeatTimeout: -1})
		release := make(chan struct{})
		thaw := sync.OnceFunc(func() { close(release) })
		defer thaw()
		var held atomic.Int64
		m.Subscribe(usermgr.Events{Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) {
			if s.UserID != "bystander" {
				held.Add(1)
				<-release
			}
		}})
		for i := range frozen {
			logOn(t, m, fmt.Sprint("user ", i), newLink(uint64(i)))
		}
		cleared := make(chan int, 1)
		go func() {
			n, _ := m.Clear(t.Context())
			cleared <- n
		}()
		time.Sleep(time.Minute) // fake: the start of goroutines is slowed down
		if n := held.Load(); n != frozen {
			t.Fatalf("%d of %d handlers run", n, frozen)
		}
		for i := range 10 {
			logOn(t, m, "bystander", newLink(uint64(frozen+i)))
			wait(t, endUser(m, "bystander", protocol.KickedOut, ""))
		}
		thaw()
		if n := <-cleared; n != frozen {
			t.Errorf("Clear ended %d sessions", n)
		}
	})
}

// Rule 16: Close returns when the goroutines of the turns have ended, and what ends later is still told.
func TestCloseWaitsForTheTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{HeartbeatTimeout: -1})
		release, entered := make(chan struct{}), make(chan struct{})
		m.Subscribe(usermgr.Events{Offline: func(usermgr.UserData) { close(entered); <-release }})
		logOn(t, m, "ann", newLink(1)).End(protocol.ClientClosed)
		<-entered
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := m.Close(ctx); err == nil {
			t.Error("Close returned while a handler ran")
		}
		close(release)
		closeManager(t, m)
	})
}
