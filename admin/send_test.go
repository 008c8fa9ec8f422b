package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
)

// sender is a page that may send, and what bob has got.
type sender struct {
	*stand
	got chan string
}

func newSender(t *testing.T) *sender {
	var pushes *push.Service
	t.Cleanup(func() { _ = pushes.Close(context.Background()) })
	s := newStandWith(t, rollcall.Config{}, func(srv *rollcall.Server) { pushes = push.New(srv.Bridge) }, func(c *Config) { c.Send, c.Push = true, pushes })
	x := &sender{s, make(chan string, 10)}
	s.Client(t, "bob", client.Config{
		HandleDefault: func(_ *client.Client, m *protocol.Message) error {
			x.got <- fmt.Sprintf("%d %s", m.Type, m.Body)
			return nil
		},
		OnPush: func(_ *client.Client, p *protocol.PushMessage) {
			x.got <- fmt.Sprintf("%v %s %s", p.Kind, p.Name, p.Content)
		},
	})
	return x
}

// What is sent and pushed reaches the user as it was written, and is in the audit before and after.
func TestSendAndPush(t *testing.T) {
	s := newSender(t)
	if v := get[overviewView](t, s.stand, "overview"); !slices.Equal(v.Has, []string{"send", "push"}) {
		t.Errorf("it has %q", v.Has)
	}
	for _, c := range []struct {
		path string
		body map[string]any
		want string
		do   string
	}{
		{"users/send", map[string]any{"user": "bob", "type": 7, "text": "<b>hi</b>"}, "7 <b>hi</b>", "send type 7"},
		{"users/send", map[string]any{"user": "bob", "type": 1, "base64": "AP8="}, "1 \x00\xff", "send type 1"},
		{"users/send", map[string]any{"user": "bob", "type": 65279}, "65279 ", "send type 65279"},
		{"users/push", map[string]any{"user": "bob", "text": "lunch"}, fmt.Sprintf("%v  lunch", protocol.PushText), "push"},
		{"users/push", map[string]any{"user": "bob", "text": "lunch", "kind": "notification", "confirm": true}, fmt.Sprintf("%v  lunch", protocol.PushNotification), "push"},
		{"users/push", map[string]any{"user": "bob", "base64": "AP8=", "kind": "custom", "name": "order"}, fmt.Sprintf("%v order \x00\xff", protocol.PushCustom), "push"},
	} {
		v := post[sent](t, s.stand, c.path, c.body)
		if got := testkit.Receive(t, "the message", s.got); got != c.want || v.User != "bob" || v.Outcome == "" {
			t.Errorf("%v: bob has got %q, and not %q; the answer is %+v", c.body, got, c.want, v)
		}
		if c.body["confirm"] == true && v.Outcome != "handed to 1 sessions, confirmed by 1" {
			t.Errorf("with a confirmation: %s", v.Outcome)
		}
		wantAudit(t, s.stand, c.do+" begun bob", c.do+" done bob")
	}
}

// What makes no sense is refused without an act, and an act that fails says why.
func TestWhatCannotBeSent(t *testing.T) {
	s := newSender(t)
	large := strings.Repeat("x", maxMessage+1)
	for _, c := range []struct {
		path, body, says string
		status           int
	}{
		{"users/send", `{}`, "user", 400}, {"users/push", `{"text":"x"}`, "user", 400},
		{"users/send", `{"user":"bob","type":65280}`, "type", 400}, {"users/send", `{"user":"bob"}`, "type", 400},
		{"users/send", `{"user":"bob","text":"x","base64":"AA=="}`, "exclude", 400}, {"users/send", `{"user":"bob","base64":"!"}`, "base64", 400},
		{"users/push", `{"user":"bob","kind":"gossip"}`, "kind", 400}, {"users/push", `{"user":"bob","kind":"custom"}`, "name", 400},
		{"users/push", `{"user":"bob","name":"x"}`, "name", 400}, {"users/push", `{"user":"bob","base64":"AP8="}`, "UTF-8", 400},
		{"users/send", `{"user":"bob","text":"` + large + `"}`, "bytes", 413}, {"users/push", `{"user":"bob","text":"` + large + `"}`, "bytes", 413},
	} {
		got := s.ask("POST", apiPrefix+c.path, c.body)
		var v failure
		if err := json.Unmarshal([]byte(got.body), &v); err != nil || got.status != c.status || !strings.Contains(v.Error, c.says) {
			t.Errorf("%s with %.60s is answered %d: %s", c.path, c.body, got.status, got.body)
		}
	}
	if all := s.audited(); len(all) > 0 {
		t.Errorf("a bad request begins an act: %+v", all)
	}
	for _, path := range []string{"users/send", "users/push"} {
		if got := s.ask("POST", apiPrefix+path, `{"user":"zoe","text":"x"`+map[bool]string{true: `,"type":1`}[path == "users/send"]+`}`); got.status != 404 || !strings.Contains(got.body, "UserOffline") {
			t.Errorf("%s to a user who is offline is answered %d: %s", path, got.status, got.body)
		}
		if all := s.audited(); len(all) != 2 || all[1].Outcome == "" {
			t.Errorf("the audit has %+v", all)
		}
	}
	select {
	case got := <-s.got:
		t.Errorf("bob has got %q", got)
	default:
	}
}

// A page sends nothing unless it is told that it may.
func TestSendingIsOff(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	s.logOn(t, "bob")
	for _, path := range []string{"users/send", "users/push"} {
		if got := s.ask("POST", apiPrefix+path, `{"user":"bob","text":"x"}`); got.status != 404 || !strings.Contains(got.body, "admin.Config.Send") {
			t.Errorf("%s is answered %d: %s", path, got.status, got.body)
		}
	}
	if all := s.audited(); len(all) > 0 {
		t.Errorf("the audit has %+v", all)
	}
}
