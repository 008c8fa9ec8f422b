package usermgr

import (
	"context"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

var _ seam.Renewer = (*session)(nil)

// Renew implements [seam.Renewer]. It takes a turn of the user. From then on the session has the new token: a kick revokes
// that one, and the same token twice is one session. So another session of the user with this token is pushed out, as
// by a logon; with IgnoreNew the renewal is refused. A banned user's renewal is refused too. Without a token the
// session keeps its present one.
func (s *session) Renew(ctx context.Context, token string) error {
	u := s.user
	t, turn := handOver()
	u.post(t)
	if !u.awaitTurn(ctx, t, turn) {
		return contextError(ctx)
	}
	defer u.passOn()
	return u.renew(ctx, s, token)
}

// renew is a renewal's turn, on the goroutine that called Renew.
func (u *user) renew(ctx context.Context, s *session, token string) error {
	m := u.manager
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	var twins []*session
	if token != "" {
		u.finishEnded()
		for o := range u.all {
			if o != s && o.hasToken(token) {
				twins = append(twins, o)
			}
		}
	}
	if m.relogon == IgnoreNew && len(twins) > 0 {
		return &protocol.CloseError{Code: protocol.AlreadyLoggedOn, Text: "another session of " + u.id + " has this token"}
	}
	if err := u.setToken(s, token); err != nil {
		return err
	}
	for _, old := range twins {
		u.pushOut(old, nil, s, s.address())
	}
	return nil
}

// setToken gives s a new token, unless the session has ended, the user is banned, or the token was revoked. A
// later kick revokes the new token.
func (u *user) setToken(s *session, token string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if why := s.why(); why != nil {
		return &protocol.CloseError{Code: why.code, Text: "the session has ended"}
	}
	if u.manager.isBanned(u.id) {
		return errBanned()
	}
	if u.manager.isRevoked(u.id, &Logon{Token: token}) {
		return &protocol.CloseError{Code: protocol.Unauthorized, Text: "the token was revoked"}
	}
	if token != "" {
		s.needLazy().token = token
	}
	return nil
}
