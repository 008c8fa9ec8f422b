package chatclient

import (
	"context"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// SetState chooses the user's state: PresenceOnline, PresenceBusy or PresenceStealth. The server keeps the choice, for all sessions and later ones.
func (c *Client) SetState(ctx context.Context, state protocol.PresenceState) error {
	return c.do(ctx, protocol.TypePresence, protocol.PresenceSet, fields{"state": state.String()})
}

// Query asks for the states of some users, 1,000 at most. Users whom the user may not see are left out of the answer, and so are unknown ones.
func (c *Client) Query(ctx context.Context, userIDs ...string) ([]protocol.Presence, error) {
	ids, err := system.AppendIDList(nil, userIDs)
	if err != nil {
		return nil, err
	}
	a, err := c.request(ctx, protocol.TypePresence, protocol.PresenceQuery, nil, ids)
	if err != nil {
		return nil, err
	}
	all, err := protocol.ParsePresences(a.Content)
	if err != nil {
		return nil, malformed(err)
	}
	return all, nil
}

// Watch has the Client watch the user's contacts, on this connection and each later one, or no more. OnPresence gets what there is to see. An
// error is about this connection alone.
func (c *Client) Watch(ctx context.Context, on bool) error {
	var epoch int
	c.mail.put(func() { epoch = c.worker.watchBegins(on) })
	all, err := c.watch(ctx, on)
	c.mail.put(func() { c.worker.watched(epoch, on, all, err) })
	return err
}

// watch sends a Watch.
func (c *Client) watch(ctx context.Context, on bool) ([]protocol.Presence, error) {
	a, err := c.request(ctx, protocol.TypePresence, protocol.PresenceWatch, fields{"on": flag(on)}, nil)
	if err != nil || !on {
		return nil, err
	}
	all, err := protocol.ParsePresences(a.Content)
	if err != nil {
		return nil, malformed(err)
	}
	return all, nil
}
