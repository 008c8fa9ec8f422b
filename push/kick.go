package push

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// finder is an optional method of a user manager, see usermgr.UserManager.
type finder interface {
	SessionAt(conn uint64) (usermgr.SessionInfo, bool)
}

// Kick throws a user out with notice: a KickOut message with the reason, o.Text, goes to the sessions that o selects
// and to every pusher; then those sessions end, even if a pusher failed. Result.Kicked has their outcomes. Nil options
// select all sessions of the user.
//
// In a cluster, with the Pusher of its node registered (cluster.Node.Pusher), it throws the user out on all nodes, as cluster.Node.Kick does: sessions
// on other nodes get the notice too. Result.Deliveries has the notices of this server alone. Where a node does not answer the error wraps
// cluster.ErrMissing, and Result.Kicked has the outcomes of the others.
//
// The error is usermgr.ErrBlankID or usermgr.ErrUnknownID. It wraps errors.ErrUnsupported, and no notice was sent, when
// the user manager is no usermgr.Kicker, or when o names devices or a token and the manager has no method SessionAt.
// Otherwise it joins the errors of the pushers and of ctx.
//
// Kick waits until the sessions have ended, or ctx ends. Do not call it on an event loop, in the user's own event
// handler, or in a message handler of a user that another handler may kick: two users who kick each other would wait
// for each other's handlers. Messages that are kept for the user go on waiting until their time is over.
func (s *Service) Kick(ctx context.Context, userID string, o *usermgr.KickOptions) (Result, error) {
	if o == nil {
		o = &usermgr.KickOptions{}
	}
	if userID == "" {
		return Result{}, usermgr.ErrBlankID
	}
	m, ok := s.bridge.Users().(usermgr.Kicker)
	if !ok {
		return Result{}, fmt.Errorf("rollcall: the user manager has no Kick: %w", errors.ErrUnsupported)
	}
	conns, err := s.meant(userID, o)
	if err != nil {
		return Result{}, err
	}
	notice := newMessage(protocol.PushKickOut, []byte(o.Text))
	if k := s.keeper.Load(); k != nil {
		if node, ok := (*k).(kicker); ok {
			r, err := s.push(context.WithValue(ctx, seam.KickKey{}, true), ToUsers(userID), notice, nil, conns, s.all())
			var kickErr error
			r.Kicked, kickErr = node.Kick(ctx, userID, o, notice)
			return r, errors.Join(err, kickErr)
		}
	}
	r, err := s.push(ctx, ToUsers(userID), notice, nil, conns, s.all())
	wait, kickErr := m.Kick(userID, o)
	if kickErr == nil {
		r.Kicked, kickErr = wait(ctx)
	}
	return r, errors.Join(err, kickErr)
}

// kicker is a seam.Keeper that is a cluster's node. Kick ends the sessions that o selects, on all nodes; on the others the notice goes to them first.
type kicker interface {
	Kick(ctx context.Context, userID string, o *usermgr.KickOptions, notice *Message) ([]usermgr.Kicked, error)
}

func init() {
	seam.NoticeHere = func(ctx context.Context, s *Service, userID string, o *usermgr.KickOptions, notice *Message) error {
		conns, err := s.meant(userID, o)
		if err == nil {
			_, err = s.push(ctx, ToUsers(userID), notice, nil, conns, nil)
		}
		return err
	}
}

// meant returns the connections of the user's sessions that o selects; nil for all.
func (s *Service) meant(userID string, o *usermgr.KickOptions) ([]*engine.Conn, error) {
	if len(o.Devices) == 0 && o.Token == "" {
		return nil, nil
	}
	m, ok := s.bridge.Users().(finder)
	if !ok {
		return nil, fmt.Errorf("rollcall: the user manager has no SessionAt: %w", errors.ErrUnsupported)
	}
	conns := make([]*engine.Conn, 0, 1) // not nil
	for c := range s.bridge.ConnsOf(userID) {
		i, ok := m.SessionAt(c.ID())
		if ok && (len(o.Devices) == 0 || slices.Contains(o.Devices, i.Device)) && (o.Token == "" || o.Token == i.Token) {
			conns = append(conns, c)
		}
	}
	return conns, nil
}
