package bridge

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// whoIsOnline answers a client that asks who is online. It runs on the event loop.
func (b *Bridge) whoIsOnline(c *engine.Conn, m *protocol.Message) error {
	about, err := system.ParseIDList(m.Body)
	if err != nil {
		return protocol.Errorf(protocol.Refused, "%v", err)
	}
	if b.cfg.MayAskWhoIsOnline == nil || !b.cfg.MayAskWhoIsOnline(m.UserID, about) {
		return protocol.Errorf(protocol.Refused, "this server does not tell you who is online")
	}
	if b.cfg.Elsewhere != nil {
		return b.whoIsOnlineElsewhere(c, m, about)
	}
	var online []string
	for _, id := range about {
		if b.isOnline(id) {
			online = append(online, id)
		}
	}
	return b.tellOnline(c, m, about, online)
}

// whoIsOnlineElsewhere answers a client that asks who is online, where users may have their sessions on other servers.
func (b *Bridge) whoIsOnlineElsewhere(c *engine.Conn, m *protocol.Message, about []string) error {
	return engine.Async(func(c *engine.Conn, m *protocol.Message) error {
		ctx, cancel := context.WithTimeout(c.Context(), b.cfg.LogonDeadline)
		defer cancel()
		online, err := b.cfg.Elsewhere.Online(ctx, about...)
		if err != nil {
			return protocol.Errorf(protocol.InternalError, "who is online cannot be found out now")
		}
		return b.tellOnline(c, m, about, online)
	})(c, m)
}

// tellOnline answers the question m with the users in online that are visible to the asker. It asks Visible after it is known who is online, so
// that a user who comes and hides at once is not in the answer.
func (b *Bridge) tellOnline(c *engine.Conn, m *protocol.Message, about, online []string) error {
	if b.cfg.Visible != nil {
		visible := make(map[string]bool, len(about))
		for _, id := range about {
			visible[id] = b.isVisible(m.UserID, id)
		}
		online = slices.DeleteFunc(online, func(id string) bool { return !visible[id] })
	}
	body, err := system.AppendIDList(nil, online)
	if err != nil {
		return err
	}
	return c.Reply(m, body)
}

// isVisible asks Config.Visible.
func (b *Bridge) isVisible(asker, userID string) (visible bool) {
	contain.Call(func() { visible = b.cfg.Visible(asker, userID) }, func(v any) {
		b.log.Error("Visible panicked", zap.Any("panic", v), zap.Stack("stack"))
	})
	return visible
}
