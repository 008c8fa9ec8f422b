package client

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/protocol"
)

// leastRenewal is the least time between two renewals, even when the server gives less.
const leastRenewal = 100 * time.Millisecond

// renewAll renews the session before it expires, until the connection and with it ctx ends. It is a goroutine of its
// own, because Config.Token may take long.
func (cn *conn) renewAll(ctx context.Context) {
	end, wait := cn.now()+cn.expires, renewAfter(cn.expires)
	for sleep(ctx, wait) {
		expires, err := cn.renew(ctx)
		var ce *protocol.CloseError
		switch {
		case err == nil && expires == 0: // the session no longer expires
			return
		case err == nil:
			end, wait = cn.now()+expires, max(renewAfter(expires), leastRenewal)
			continue
		case codes.As(err, &ce) && ce != nil && !worthAnotherTry(ce.Code):
			return
		}
		left := end - cn.now()
		if left <= 0 {
			return
		}
		wait = max(spread(left/16, left/8), leastRenewal, retryAfter(ce))
	}
}

// renewAfter returns how long to wait before the renewal of a session that may last for d. It is random, so that the
// clients of a restarted server do not all renew at once.
func renewAfter(d time.Duration) time.Duration { return spread(d*6/10, d*3/4) }

// spread returns a random time from least to most.
func spread(least, most time.Duration) time.Duration {
	return least + time.Duration(rand.Int64N(int64(most-least)+1))
}

// worthAnotherTry reports whether a renewal may be tried again after this code. A renewal with a bad token must not,
// because each attempt counts as a failed logon.
func worthAnotherTry(code protocol.CloseCode) bool {
	return code.MayReconnect() || code == protocol.Refused || code == protocol.HandlerFailed || code == protocol.TimedOut
}

// renew sends the server a fresh token, and returns how long the session may last from now on; 0 for ever.
func (cn *conn) renew(ctx context.Context) (expires time.Duration, err error) {
	c := cn.client
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Dial)
	defer cancel()
	fields, err := c.freshFields(ctx)
	if err != nil {
		return 0, err
	}
	body, err := protocol.AppendStringMap(nil, fields)
	if err != nil {
		return 0, err
	}
	reply, err := cn.request(ctx, &protocol.Message{Type: protocol.TypeRenew, Device: c.cfg.Device, Body: body})
	if err != nil {
		return 0, err
	}
	answer, err := protocol.ParseLogonReply(reply.Body)
	if err != nil {
		return 0, err
	}
	return milliseconds(answer[protocol.FieldExpiresMS]), nil
}

// freshFields is logonFields for a renewal.
func (c *Client) freshFields(ctx context.Context) (map[string]string, error) {
	fields, err := c.logonFields(ctx, "")
	delete(fields, protocol.FieldSession) // a renewal takes over no session
	return fields, err
}
