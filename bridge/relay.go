package bridge

import (
	"errors"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// Relay passes the application's messages from one user to another: a message whose DestUserID names a user goes to every session of
// that user, under the sender's bound UserID. A reply goes the same way back. When the destination has no session, a sender who
// gave a message ID is answered UserOffline. The zero value passes everything on. With Config.Elsewhere, whether a user has a session on
// another server may turn out later.
//
// Its functions run where the engine's message handlers do, on the event loop unless there are Workers.
type Relay struct {
	// Allow, when set, is called for each message before it is passed on; from is the sender's connection. It may change m, its
	// DestUserID too (but a client accepts an answer only from the user it asked, or from the server). An error refuses
	// the message: a sender who gave an ID is answered as by Conn.ReplyError, but an error without a code is answered Refused,
	// with the error's text.
	Allow func(from *engine.Conn, m *protocol.Message) error
	// Undelivered, when set, is called for each message whose destination has no session. m is valid until it returns. With
	// Config.Elsewhere it may be called on another goroutine, also when the sender's connection has ended.
	Undelivered func(from *engine.Conn, m *protocol.Message)
}

// relay is the handler of messages for another user.
func (b *Bridge) relay(from *engine.Conn, m *protocol.Message) error {
	r := b.cfg.Relay
	if r.Allow != nil {
		out := *m // Allow may change out; m keeps the sender and the ID for the answer
		if err := r.Allow(from, &out); err != nil {
			b.refuseRelay(from, m, err)
			return nil
		}
		out.UserID, out.ID = m.UserID, m.ID
		b.pass(from, m, &out)
		return nil
	}
	b.pass(from, m, m)
	return nil
}

// pass sends out, which is m or Allow's change of it.
func (b *Bridge) pass(from *engine.Conn, m, out *protocol.Message) {
	err := b.sendHere(out.DestUserID, out, nil)
	if b.cfg.Elsewhere != nil {
		if errors.Is(err, protocol.UserOffline) {
			err = b.passBeyond(from, m, out)
		} else {
			err = b.sendBeyond(out.DestUserID, out, nil, err, nil)
		}
	}
	if err != nil {
		b.notPassed(from, m, out, err)
	}
}

// passBeyond sends out to another server. That there is no session may turn out later.
func (b *Bridge) passBeyond(from *engine.Conn, m, out *protocol.Message) error {
	request := *m // without its body, for the answer
	request.Body = nil
	if b.cfg.Relay.Undelivered == nil {
		passed := &protocol.Message{DestUserID: out.DestUserID}
		return b.sendBeyond(out.DestUserID, out, nil, errOffline, func(err error) { b.notPassed(from, &request, passed, err) })
	}
	passed := out.Clone()
	return b.sendBeyond(out.DestUserID, out, nil, errOffline, func(err error) {
		_ = engine.Async(func(from *engine.Conn, passed *protocol.Message) error { // the application's code may block
			b.notPassed(from, &request, passed, err)
			return nil
		})(from, passed)
	})
}

// notPassed is called for a message that reached no session.
func (b *Bridge) notPassed(from *engine.Conn, m, out *protocol.Message, err error) {
	if !errors.Is(err, protocol.UserOffline) {
		if m.IsReply() { // Allow has made a reply that cannot be sent, and the user who asked waits
			_ = b.SendMessage(out.DestUserID, &protocol.Message{Type: m.Type, Flags: protocol.FlagReply | protocol.FlagError, ID: m.ID,
				UserID: m.UserID, Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.HandlerFailed})}, nil)
		}
		b.refuseRelay(from, m, err)
		return
	}
	if b.cfg.Relay.Undelivered != nil {
		b.cfg.Relay.Undelivered(from, out)
	}
	_ = from.ReplyError(m, protocol.Errorf(protocol.UserOffline, "%s is offline", out.DestUserID))
}

func (b *Bridge) refuseRelay(from *engine.Conn, m *protocol.Message, err error) {
	if ce := (*protocol.CloseError)(nil); !codes.As(err, &ce) {
		err = protocol.Errorf(protocol.Refused, "%v", err)
	}
	_ = from.ReplyError(m, err)
}
