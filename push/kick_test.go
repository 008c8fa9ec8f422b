package push_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// S6: the KickOut message with its reason goes out, then every session goes offline, even when a pusher failed.
func TestKickWithNotice(t *testing.T) {
	srv, service := newServer(t, rollcalltest.Config{Users: usermgr.Config{Devices: usermgr.OnePerDevice()}})
	service.Register("panics", failing{})
	var got []chan *protocol.PushMessage
	var clients []*client.Client
	for device := range uint16(3) {
		ch := make(chan *protocol.PushMessage, 1)
		cfg := receiver(ch)
		cfg.Device = device
		got = append(got, ch)
		clients = append(clients, srv.Client(t, "ann", cfg))
	}
	r, err := service.Kick(t.Context(), "ann", usermgr.KickOptions{Text: "for spam"})
	if err != nil || len(r.Kicked) != 3 {
		t.Fatalf("the kick ended with %+v, %v", r, err)
	}
	for i, c := range clients {
		if p := receive(t, "the KickOut", got[i]); p.Kind != protocol.PushKickOut || string(p.Content) != "for spam" {
			t.Errorf("client %d got %+v", i, p)
		}
		receive(t, "the end of a client", c.Done())
		var ce *protocol.CloseError
		if !errors.As(c.Err(), &ce) || ce.Code != protocol.KickedOut || ce.Text != "for spam" {
			t.Errorf("client %d ended with %v", i, c.Err())
		}
		if r.Kicked[i].Outcome != usermgr.OutcomeTold {
			t.Errorf("session %d: %v", i, r.Kicked[i].Outcome)
		}
	}
	if srv.Users.IsOnline("ann") {
		t.Error("ann is still online")
	}
	if _, err := service.Kick(t.Context(), "ann", usermgr.KickOptions{}); !errors.Is(err, usermgr.ErrUnknownID) {
		t.Errorf("a kick of a user who is gone: %v", err)
	}
}

type panickingKicker struct{ failing }

func (panickingKicker) Kick(context.Context, string, usermgr.KickOptions) ([]usermgr.Kicked, error) {
	panic("kicker")
}

// S6: a Kicker that panics keeps nobody online elsewhere.
func TestAPanicOfAKickerStopsNoOther(t *testing.T) {
	service := push.New()
	service.Register("first", panickingKicker{})
	srv := rollcalltest.NewServer(t, rollcalltest.Config{Setup: func(s *rollcalltest.Server) {
		service.Register("engine", push.NewEngine(s.Bridge))
	}})
	srv.Client(t, "ann", client.Config{})
	r, err := service.Kick(t.Context(), "ann", usermgr.KickOptions{})
	var panicked *push.PanicError
	if len(r.Kicked) != 1 || !errors.As(err, &panicked) || srv.Users.IsOnline("ann") {
		t.Errorf("the kick ended with %+v, %v", r, err)
	}
}

// kicker is a Pusher of nothing whose kicks end as it says.
type kicker struct {
	failing
	kicked []usermgr.Kicked
	err    error
}

func (k kicker) Kick(context.Context, string, usermgr.KickOptions) ([]usermgr.Kicked, error) {
	return k.kicked, k.err
}

// S6: every Kicker's error is told, in whatever order they are asked; that nobody is there, only where all say so.
func TestAKickLosesNoError(t *testing.T) {
	unknown := fmt.Errorf("elsewhere: %w", usermgr.ErrUnknownID)
	broken, late := errors.New("broken"), context.DeadlineExceeded
	one := []usermgr.Kicked{{}}
	quiet := errors.New("quiet") // what the pushes end with
	for name, tc := range map[string]struct {
		kickers []kicker
		want    []error
		not     error
	}{
		"unknown everywhere":            {[]kicker{{err: unknown}, {err: unknown}}, []error{usermgr.ErrUnknownID}, nil},
		"unknown here, kicked there":    {[]kicker{{err: unknown}, {kicked: one}}, nil, nil},
		"kicked here, unknown there":    {[]kicker{{kicked: one}, {err: unknown}}, nil, nil},
		"no session, and no error":      {[]kicker{{}, {err: unknown}}, nil, nil},
		"late here, unknown there":      {[]kicker{{kicked: one, err: late}, {err: unknown}}, []error{late}, usermgr.ErrUnknownID},
		"unknown here, broken there":    {[]kicker{{err: unknown}, {err: broken}}, []error{broken}, usermgr.ErrUnknownID},
		"late here, broken there":       {[]kicker{{kicked: one, err: late}, {err: broken}}, []error{late, broken}, nil},
		"broken here, and kicked there": {[]kicker{{err: broken}, {kicked: one}}, []error{broken}, nil},
	} {
		service := push.New()
		for _, k := range tc.kickers {
			k.failing = failing{quiet}
			service.Register("", k)
		}
		_, err := service.Kick(t.Context(), "ann", usermgr.KickOptions{})
		if len(tc.want) == 0 && err != nil || tc.not != nil && errors.Is(err, tc.not) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tc.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, which does not say %v", name, err, want)
			}
		}
	}
}
