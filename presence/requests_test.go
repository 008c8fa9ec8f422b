package presence_test

import (
	"context"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A request that cannot be read, or asks for what there is not, is answered Refused; the connection stays, and nothing has changed.
func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	for _, body := range [][]byte{
		nil,
		{1},
		{1, 1},
		{0, 0},
		{4, 0}, // only the server tells
		{5, 0},
		{1, 0}, // without a state
		append([]byte{1, 1, 5}, "state\x00\x07offline"...),
		append([]byte{1, 1, 5}, "state\x00\x011"...),
		append([]byte{2, 1, 2}, "on\x00\x012"...),
		{3, 0},       // without a list
		{3, 0, 0, 1}, // cut off
	} {
		ann.id++
		ann.send(&protocol.Message{Type: protocol.TypePresence, ID: ann.id, Body: body})
		if _, err := ann.answer(); code(err) != protocol.Refused {
			t.Errorf("%x is answered %v", body, err)
		}
	}
	w.settle()
	if s := w.presence.Visible("ann"); s != presence.Online {
		t.Errorf("ann is %v", s)
	}
	if n := w.presence.Stats().Waiting; n != 0 {
		t.Errorf("%d requests wait", n)
	}
}

// A request without an ID is served, and not answered.
func TestARequestWithoutAnIDIsNotAnswered(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	ann.send(&protocol.Message{Type: protocol.TypePresence, Body: append([]byte{1, 1, 5}, "state\x00\x04busy"...)})
	testkit.Eventually(t, "ann is busy", func() bool { return w.presence.Visible("ann") == presence.Busy })
	ann.wantHeard("P22", "")
}

// A server on which too many requests wait says so at once, and when to try again.
func TestTooManyRequestsAreRefused(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	end := w.presence.Fill()
	_, err := ann.ask(protocol.PresenceWatch, nil)
	ce, _ := err.(*protocol.CloseError)
	if code(err) != protocol.HandlerFailed || ce.Info[protocol.FieldRetryMS] == "" || w.presence.Stats().Busy != 1 {
		t.Errorf("it is answered %v, %+v", err, ce)
	}
	end()
	ann.watch()
}

// The server may choose a state for a user, online or offline. It may not choose Offline, or a state that does not exist.
func TestTheServerMayChooseForAUser(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	if err := w.presence.Set(t.Context(), "bob", presence.Busy); err != nil {
		t.Fatal(err)
	}
	if r := w.store.of("bob"); r.Wanted != presence.Busy {
		t.Errorf("rule P19: %+v is stored", r)
	}
	w.tick()
	testkit.Eventually(t, "nothing is kept of a user who is offline", func() bool { return w.presence.Stats().Users == 0 })
	ann, bob := w.logOn("ann"), w.logOn("bob")
	w.tick()
	if got := ann.watch(); got != "bob busy" {
		t.Errorf("rule P19: ann is told %q", got)
	}
	bob.watch()
	if err := w.presence.Set(t.Context(), "bob", presence.Stealth); err != nil {
		t.Fatal(err)
	}
	w.tick()
	ann.wantHeard("P23", "bob offline")
	bob.wantHeard("P20", "bob stealth")
	for _, s := range []presence.State{presence.Offline, 4} {
		if err := w.presence.Set(t.Context(), "bob", s); err == nil {
			t.Errorf("rule P19: bob may be %v", s)
		}
	}
	if err := w.presence.Set(t.Context(), "", presence.Busy); err == nil {
		t.Error("a user without an ID may be busy")
	}
}

// Notices have the names of the configuration.
func TestNoticesHaveNames(t *testing.T) {
	w := newWorld(t, presence.Config{Names: presence.Names{Online: "on-user-onlined", Offline: "on-user-offlined"}}, usermgr.Config{})
	ann := w.logOn("ann")
	w.tick()
	ann.watch()
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"on-user-onlined", func() { w.logOn("bob") }},
		{"busy", func() { testkit.Must(0, w.presence.Set(t.Context(), "bob", presence.Busy)) }},
		{"on-user-offlined", func() { testkit.Must(0, w.presence.Set(t.Context(), "bob", presence.Stealth)) }},
	} {
		c.do()
		w.tick()
		o := testkit.Must(protocol.ParseOperation(ann.receive().Body))
		if o.Op != protocol.PresenceNotice || o.Fields["name"] != c.name {
			t.Errorf("the notice is %+v, not %s", o, c.name)
		}
	}
}

// Without Contacts users are told about no other user. A user's own devices are told what the user has chosen.
func TestWithoutContactsOnlyTheUsersOwnDevicesAreTold(t *testing.T) {
	w := newWorld(t, presence.Config{Contacts: none}, usermgr.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	ann.watch()
	bob.watch()
	w.tick()
	bob.set(presence.Busy)
	w.tick()
	ann.wantHeard("P20", "")
	bob.wantHeard("P20", "bob busy")
	if got := ann.query("bob"); len(got) != 0 {
		t.Errorf("rule P25: ann is told %+v", got)
	}
}

// What no program can mean panics, and says so.
func TestNewPanicsForMisuse(t *testing.T) {
	srv := testkit.Must(rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"}))
	t.Cleanup(func() { _ = srv.Users.Close(context.Background()) })
	service := presence.New(srv.Bridge)
	t.Cleanup(func() { _ = service.Close(context.Background()) })
	for name, misuse := range map[string]func(){
		"no bridge":     func() { presence.New(nil) },
		"two Configs":   func() { presence.New(srv.Bridge, presence.Config{}, presence.Config{}) },
		"a second time": func() { presence.New(srv.Bridge) },
		"a bad name":    func() { presence.New(srv.Bridge, presence.Config{Names: presence.Names{Busy: "\xff"}}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it does not panic", name)
				}
			}()
			misuse()
		}()
	}
}
