package admin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
)

// Pusher pushes messages. A *push.Service is one; the interface lets a program without pushes do without the package.
type Pusher interface {
	// Push pushes a message, as push.Service.Push does. Any goroutine may call it.
	Push(ctx context.Context, to push.Target, m *push.Message, o *push.Options) (push.Result, error)
}

// maxMessage is the most bytes of a message that a request sends.
const maxMessage = 64 << 10

// sent is what became of a message.
type sent struct {
	User    string `json:"user"`
	Outcome string `json:"outcome"`
}

// message is in the body of both requests that send.
type message struct {
	User   string `json:"user"`
	Text   string `json:"text"`
	Base64 string `json:"base64"` // in place of text: bytes
}

// content returns the message's bytes; if they are none, it answers so and returns false.
func (m *message) content(c *call) (content []byte, ok bool) {
	content = []byte(m.Text)
	var err error
	if m.Base64 != "" {
		content, err = base64.StdEncoding.DecodeString(m.Base64)
	}
	switch {
	case m.User == "":
		c.fail(http.StatusBadRequest, "user is missing: the user's ID")
	case m.Text != "" && m.Base64 != "":
		c.fail(http.StatusBadRequest, "text and base64 exclude each other")
	case err != nil:
		c.fail(http.StatusBadRequest, "base64: "+err.Error())
	case !utf8.ValidString(m.Text):
		c.fail(http.StatusBadRequest, "text must be UTF-8")
	case len(content) > maxMessage:
		c.fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the message has more than %d bytes", maxMessage))
	default:
		return content, true
	}
	return nil, false
}

// forAudit returns what the audit has of the message.
func (m *message) forAudit(content []byte) string {
	if m.Base64 != "" {
		return fmt.Sprintf("%d bytes", len(content))
	}
	return limitText(m.Text, maxText)
}

// send sends a message of the application to a user's sessions.
func (a *Admin) send(c *call) {
	var body struct {
		message
		Type int `json:"type"`
	}
	if !a.cfg.Send {
		c.fail(http.StatusNotFound, "admin.Config.Send is not set, so that this page sends nothing")
		return
	}
	if !c.read(&body) {
		return
	}
	content, ok := body.content(c)
	if !ok {
		return
	}
	if body.Type < 1 || body.Type >= int(protocol.FirstSystemType) {
		c.fail(http.StatusBadRequest, fmt.Sprintf("type must be a number from 1 to %d", protocol.FirstSystemType-1))
		return
	}
	act := Action{Do: fmt.Sprint("send type ", body.Type), User: body.User, Text: body.forAudit(content)}
	a.carryOut(c, act, func(context.Context) (string, error) {
		err := error(protocol.UserOffline)
		for i := range a.cfg.Engines { // the user may have sessions on each
			b := a.cfg.Engines[i].Bridge
			if b == nil {
				continue
			}
			if one := b.Send(body.User, uint16(body.Type), content); err != nil && (one == nil || !errors.Is(one, protocol.UserOffline)) {
				err = one
			}
		}
		return "on its way", err
	})
}

// push pushes a message to a user.
func (a *Admin) push(c *call) {
	var body struct {
		message
		Kind    string `json:"kind"`
		Name    string `json:"name"`
		Confirm bool   `json:"confirm"`
	}
	if !a.cfg.Send || a.cfg.Push == nil {
		c.fail(http.StatusNotFound, "admin.Config.Send and Push are not set, so that this page pushes nothing")
		return
	}
	if !c.read(&body) {
		return
	}
	content, ok := body.content(c)
	if !ok {
		return
	}
	var m *push.Message
	switch body.Kind {
	case "", "text":
		m = push.Text(string(content))
	case "notification":
		m = push.Notification(string(content))
	case "custom":
		m = push.Custom(body.Name, content)
	default:
		c.fail(http.StatusBadRequest, "kind must be text, notification or custom")
		return
	}
	if (body.Kind == "custom") != (body.Name != "") || len(body.Name) > 255 {
		c.fail(http.StatusBadRequest, "name must have 1 to 255 bytes with the kind custom, and none with another")
		return
	}
	if body.Kind != "custom" && !utf8.Valid(content) {
		c.fail(http.StatusBadRequest, "bytes that are not UTF-8 need the kind custom")
		return
	}
	act := Action{Do: "push", User: body.User, Text: body.forAudit(content)}
	a.carryOut(c, act, func(ctx context.Context) (string, error) {
		r, err := a.cfg.Push.Push(ctx, push.ToUsers(body.User), m, &push.Options{Confirm: body.Confirm})
		if err != nil {
			return "", err
		}
		var failed error
		got := 0
		for _, d := range r.Deliveries {
			if d.Err == nil {
				got++
			} else if failed == nil {
				failed = d.Err
			}
		}
		switch {
		case got == 0:
			return "", failed
		case body.Confirm:
			return fmt.Sprintf("handed to %d sessions, confirmed by %d", got, r.Confirmed()), nil
		}
		return fmt.Sprintf("handed to %d sessions", got), nil
	})
}

// carryOut does an act, with the audit before and after, and answers with what came of it.
func (a *Admin) carryOut(c *call, act Action, do func(context.Context) (outcome string, err error)) {
	done := a.act(c)
	if done == nil {
		return
	}
	defer done()
	ctx, cancel := patience(c)
	defer cancel()
	act.Who, act.From, act.Stage = c.who, c.RemoteAddr, Begun
	a.cfg.Audit(act)
	outcome, err := do(ctx)
	if err != nil {
		outcome = strings.TrimPrefix(err.Error(), "rollcall: ")
	}
	act.Stage, act.Outcome = Done, outcome
	a.cfg.Audit(act)
	switch {
	case errors.Is(err, protocol.UserOffline):
		c.fail(http.StatusNotFound, outcome)
	case err != nil:
		c.fail(http.StatusBadGateway, outcome)
	default:
		c.answer(sent{act.User, outcome})
	}
}
