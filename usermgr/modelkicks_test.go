package usermgr_test

import (
	"context"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// kicker is a Manager, or one whose doings are written down.
type kicker interface {
	usermgr.Kicker
	KickSession(id string, o *usermgr.KickOptions) (usermgr.Wait, error)
	SessionAt(conn uint64) (usermgr.SessionInfo, bool)
	Clear(ctx context.Context) (sessions int, err error)
}

// endUser ends a user's sessions; for one who is not online it ends none.
func endUser(m kicker, userID string, code protocol.CloseCode, text string) usermgr.Wait {
	return orNone(m.Kick(userID, &usermgr.KickOptions{Code: code, Text: text}))
}

func endToken(m kicker, userID, token string, code protocol.CloseCode, text string) usermgr.Wait {
	return orNone(m.Kick(userID, &usermgr.KickOptions{Code: code, Text: text, Token: token}))
}

func endSession(m kicker, id string, code protocol.CloseCode, text string) usermgr.Wait {
	return orNone(m.KickSession(id, &usermgr.KickOptions{Code: code, Text: text}))
}

func endAt(m kicker, conn uint64, code protocol.CloseCode, text string) usermgr.Wait {
	s, _ := m.SessionAt(conn)
	return endSession(m, s.ID, code, text)
}

func orNone(w usermgr.Wait, err error) usermgr.Wait {
	if err != nil {
		return func(context.Context) ([]usermgr.Kicked, error) { return nil, nil }
	}
	return w
}

// startClear does not wait for a Clear.
func startClear(m kicker) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _ = m.Clear(ctx)
}
