package usermgr

import (
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

type nowhere struct{}

func (nowhere) Address() Address    { return Address{} }
func (nowhere) Quiesce(done func()) { done() }
func (nowhere) Close(_ *protocol.CloseError, done func(protocol.CloseOutcome)) {
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// Rule 17: no answer, at no moment, has a user online without a session after the last one ended without a grace.
func TestNobodyIsOnlineWithoutASession(t *testing.T) {
	m := testkit.Must(New(Config{ClosedHistory: 1}))
	defer func() { _ = m.Close(t.Context()) }()
	s, err := m.Register(t.Context(), Logon{UserID: "ann"}, nowhere{})
	if err != nil {
		t.Fatal(err)
	}
	u := m.users.get("ann")
	m.history.mu.Lock() // where the end of a session passes by between its unbinding and Offline
	defer m.history.mu.Unlock()
	s.End(protocol.NetworkError)
	testkit.Eventually(t, "the session is unbound", func() bool { return u.oldest.Load() == nil })
	if !u.online {
		t.Fatal("the moment has passed")
	}
	if d := u.data(); d.online {
		t.Errorf("the description is of a user who is online, with %d sessions", len(d.Sessions))
	}
	if _, online := u.displayItem(); online {
		t.Error("the user is shown")
	}
	if m.IsOnline("ann") || m.SetTag("ann", "x") {
		t.Error("the user is online")
	}
	if _, err := m.Kick("ann", nil); err != ErrUnknownID {
		t.Errorf("the kick ended with %v", err)
	}
}
