package push

import (
	"context"
	"errors"
	"fmt"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// kicker is what a user manager may have besides, see usermgr.UserManager.
type kicker interface {
	KickUser(userID string, o usermgr.KickOptions) (*usermgr.Kick, error)
}

// Kick throws a user out with notice: a KickOut message with the reason, o.Text, goes to the user's sessions and to every
// pusher; then every session ends, even where a pusher failed. Result.Kicked tells what became of them. Nil options are the
// zero value.
//
// The error is usermgr.ErrBlankID or usermgr.ErrUnknownID; it wraps errors.ErrUnsupported where the user manager has no
// method KickUser, and then no notice was sent; or else it joins those of the pushers and that of ctx. Kick waits until the
// sessions have ended, or ctx does; do not call it on an event loop, in the user's own event handler, or in a message handler
// of a user whom others may kick: two who kick each other would wait for each other's handlers.
//
// A message that is kept for the user waits on, until its time is over.
func (s *Service) Kick(ctx context.Context, userID string, o *usermgr.KickOptions) (Result, error) {
	if o == nil {
		o = &usermgr.KickOptions{}
	}
	if userID == "" {
		return Result{}, usermgr.ErrBlankID
	}
	m, ok := s.bridge.Users().(kicker)
	if !ok {
		return Result{}, fmt.Errorf("rollcall: the user manager has no KickUser: %w", errors.ErrUnsupported)
	}
	r, err := s.Push(ctx, ToUsers(userID), newMessage(protocol.PushKickOut, []byte(o.Text)), nil)
	k, kickErr := m.KickUser(userID, *o)
	if kickErr == nil {
		r.Kicked, kickErr = k.Wait(ctx)
	}
	return r, errors.Join(err, kickErr)
}
