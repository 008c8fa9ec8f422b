package push_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// S6: the KickOut message with its reason goes out, then every session goes offline, even when a pusher failed.
func TestKickWithNotice(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}}, quiet)
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
	r, err := service.Kick(t.Context(), "ann", &usermgr.KickOptions{Text: "for spam"})
	if err == nil || !strings.Contains(err.Error(), "panicked") || len(r.Kicked) != 3 {
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
		if r.Kicked[i].Outcome != protocol.OutcomeTold {
			t.Errorf("session %d: %v", i, r.Kicked[i].Outcome)
		}
	}
	if srv.Users.IsOnline("ann") {
		t.Error("ann is still online")
	}
	if _, err := service.Kick(t.Context(), "ann", nil); !errors.Is(err, usermgr.ErrUnknownID) {
		t.Errorf("a kick of a user who is gone: %v", err)
	}
}

// S6: a kick of a device, or of the session with a token, tells those sessions alone, and ends no other.
func TestKickWithNoticeOfSomeSessions(t *testing.T) {
	for name, o := range map[string]*usermgr.KickOptions{
		"device": {Text: "out", Devices: []uint16{1}},
		"token":  {Text: "out", Token: "token 1"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, service := newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}}, quiet)
			got := make(chan *protocol.PushMessage, 2)
			for device := range uint16(2) {
				cfg := receiver(got)
				cfg.Device = device
				cfg.Token = func(context.Context) (string, error) { return fmt.Sprint("token ", device), nil }
				srv.Client(t, "ann", cfg)
			}
			r, err := service.Kick(t.Context(), "ann", o)
			if err != nil || len(r.Kicked) != 1 || r.Kicked[0].Session.Device != 1 {
				t.Errorf("the kick ended with %+v, %v", r, err)
			}
			if r.Sessions() != 1 || r.Deliveries[0].Device != 1 {
				t.Errorf("the notice went to %+v", r.Deliveries)
			}
			receive(t, "the KickOut", got)
			if d, _ := srv.Users.User("ann"); len(d.Sessions) != 1 || d.Sessions[0].Device != 0 {
				t.Errorf("ann has %v", d.Sessions)
			}
		})
	}
}
