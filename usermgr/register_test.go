package usermgr_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// refusal returns the close code with which err refuses a logon, and fails the test if it is none.
func refusal(t *testing.T, err error) protocol.CloseCode {
	t.Helper()
	var ce *protocol.CloseError
	if !errors.As(err, &ce) {
		t.Fatalf("the logon ended with %v, want a *protocol.CloseError", err)
	}
	return ce.Code
}

// Rules 1 and 3, E1: registering brings the user online, once, before Register returns.
func TestRegisterBringsTheUserOnlineAndTellsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		s := logOn(t, m, "ann", newLink(1))
		j.expect(t, "Connected ann@1")
		if !m.IsOnline("ann") || s.UserID() != "ann" {
			t.Errorf("online: %v, the session's user: %q", m.IsOnline("ann"), s.UserID())
		}
	})
}

// Rule 5: the handlers of Connected return before Register does, so before the first message is delivered.
func TestRegisterWaitsForConnectedHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		m.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { time.Sleep(time.Hour) }})
		began := time.Now()
		logOn(t, m, "ann", newLink(1))
		if took := time.Since(began); took != time.Hour {
			t.Errorf("Register returned after %v, the handler after an hour", took)
		}
	})
}

// E1: who is bound is the user of the logon; a second user on another connection is another user.
func TestUsersAreSeparate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		ann := logOn(t, m, "ann", newLink(1))
		logOn(t, m, "bob", newLink(2))
		ann.End(protocol.ClientClosed)
		synctest.Wait()
		j.expect(t, "Connected ann@1", "Connected bob@2", "Disconnected ann@1 ClientClosed")
		if m.IsOnline("ann") || !m.IsOnline("bob") {
			t.Errorf("ann online: %v, bob online: %v", m.IsOnline("ann"), m.IsOnline("bob"))
		}
	})
}

// User IDs are compared byte by byte: nothing is folded.
func TestUserIDsAreCaseSensitive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1))
		if m.IsOnline("Ann") {
			t.Error("Ann is online, but only ann logged on")
		}
	})
}

// Session IDs are version 7 UUIDs, and each session has its own.
func TestSessionIDsAreUUIDsOfVersion7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		first, second := logOn(t, m, "ann", newLink(1)), logOn(t, m, "bob", newLink(2))
		id, err := uuid.Parse(first.ID())
		if err != nil || id.Version() != 7 {
			t.Errorf("session ID %q: version %d, %v", first.ID(), id.Version(), err)
		}
		if first.ID() == second.ID() {
			t.Errorf("two sessions have the ID %s", first.ID())
		}
	})
}

func TestRegisterNeedsAUserID(t *testing.T) {
	m, j := watched(t, usermgr.Config{})
	if _, err := m.Register(t.Context(), usermgr.Logon{}, newLink(1)); !errors.Is(err, usermgr.ErrBlankID) {
		t.Errorf("the error is %v, want ErrBlankID", err)
	}
	j.expect(t)
}

// Rule 3: a logon whose connection ended before its turn fires nothing, and says why with the cause it was given.
func TestLogonThatEndsBeforeItsTurnFiresNothing(t *testing.T) {
	deadline := func(ctx context.Context) (context.Context, func()) {
		return context.WithTimeout(ctx, time.Second)
	}
	gone := func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(time.Second, func() { cancel(&protocol.CloseError{Code: protocol.NetworkError}) })
		return ctx, func() { cancel(nil) }
	}
	for _, c := range []struct {
		name string
		ends func(context.Context) (context.Context, func())
		want protocol.CloseCode
	}{
		{"deadline", deadline, protocol.InternalError},
		{"connection lost", gone, protocol.NetworkError},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watched(t, usermgr.Config{})
				freeze := make(chan struct{})
				m.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { <-freeze }})
				beginLogOn(t, m, "ann", newLink(1)) // holds ann's turn
				synctest.Wait()

				ctx, cancel := c.ends(t.Context())
				defer cancel()
				_, err := m.Register(ctx, usermgr.Logon{UserID: "ann"}, newLink(2))
				if got := refusal(t, err); got != c.want {
					t.Errorf("the logon ended with %v, want %v", got, c.want)
				}
				close(freeze)
				synctest.Wait()
				j.expect(t, "Connected ann@1")
			})
		})
	}
}

// Rule 3: a connection that has already ended does not come online, even if its user is offline.
func TestLogonOfAConnectionThatHasEndedFiresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(fmt.Errorf("lost: %w", &protocol.CloseError{Code: protocol.ClientClosed}))
		_, err := m.Register(ctx, usermgr.Logon{UserID: "ann"}, newLink(1))
		if got := refusal(t, err); got != protocol.ClientClosed {
			t.Errorf("the logon ended with %v, want the cause ClientClosed", got)
		}
		synctest.Wait()
		j.expect(t)
	})
}

// Rule 3: so does not one whose connection ended in the moment in which its turn came.
func TestLogonOfAConnectionThatEndsAsItsTurnComesFiresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		_, err := m.Register(endedUnseen{t.Context()}, usermgr.Logon{UserID: "ann"}, newLink(1))
		if got := refusal(t, err); got != protocol.InternalError {
			t.Errorf("the logon ended with %v, want InternalError", got)
		}
		synctest.Wait()
		j.expect(t)
	})
}

// endedUnseen is a context that has ended, but whose Done is not closed yet.
type endedUnseen struct{ context.Context }

func (endedUnseen) Done() <-chan struct{} { return nil }
func (endedUnseen) Err() error            { return context.Canceled }

// Rule 10: a frozen event handler holds its own user alone; a logon of that user that waits ends at its deadline, and
// the one that has begun is finished.
func TestFrozenHandlerHoldsItsOwnUserAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		thaw := make(chan struct{})
		m.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) {
			if s.UserID == "frozen" {
				<-thaw
			}
		}})
		began := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			_, err := m.Register(ctx, usermgr.Logon{UserID: "frozen"}, newLink(1000))
			began <- err
		}()
		synctest.Wait()

		for i := range uint64(100) {
			logOn(t, m, fmt.Sprint("user", i), newLink(i))
		}
		_, err := m.Register(ctx, usermgr.Logon{UserID: "frozen"}, newLink(1001))
		if got := refusal(t, err); got != protocol.InternalError {
			t.Errorf("the waiting logon ended with %v, want InternalError", got)
		}
		select {
		case err := <-began:
			t.Errorf("the logon that had begun was given up on: %v", err)
		default:
		}
		close(thaw)
		if err := <-began; err != nil {
			t.Errorf("the logon that had begun ended with %v", err)
		}
	})
}

// Rules 3 and 10: a logon that was withdrawn leaves those behind it in their order.
func TestLogonsThatWaitKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		thaw := make(chan struct{})
		unsubscribe := m.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { <-thaw }})
		for conn := range uint64(4) {
			ctx := t.Context()
			if conn == 2 {
				timed, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				ctx = timed
			}
			go m.Register(ctx, usermgr.Logon{UserID: "ann"}, newLink(conn)) //nolint:errcheck // the journal tells
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		unsubscribe()
		close(thaw)
		synctest.Wait()
		j.expect(t, "Connected ann@0",
			"PushedOut ann@0 by @1", "Disconnected ann@0 PushedOut", "Connected ann@1",
			"PushedOut ann@1 by @3", "Disconnected ann@1 PushedOut", "Connected ann@3")
	})
}

// Rule 16: after Close no user comes online any more.
func TestRegisterAfterCloseIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		closeManager(t, m)
		_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann"}, newLink(1))
		if got := refusal(t, err); got != protocol.ServerStopping {
			t.Errorf("the logon ended with %v, want ServerStopping", got)
		}
		j.expect(t)
	})
}
