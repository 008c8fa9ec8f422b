package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// leastRenewal is the least time between two renewals, however short a time the server gives.
const leastRenewal = 100 * time.Millisecond

// renewAll renews the session before it expires, until ctx ends, with the connection. It is a goroutine of its own, since
// Config.Token may take its time.
func (cn *conn) renewAll(ctx context.Context) {
	end, wait := cn.now()+cn.expires, renewAfter(cn.expires)
	for sleep(ctx, wait) {
		expires, err := cn.renew(ctx)
		var ce *protocol.CloseError
		switch {
		case err == nil && expires == 0: // it does not expire any more
			return
		case err == nil:
			end, wait = cn.now()+expires, max(renewAfter(expires), leastRenewal)
			continue
		case errors.As(err, &ce) && ce != nil && !worthAnotherTry(ce.Code):
			return
		}
		left := end - cn.now()
		if left <= 0 {
			return
		}
		wait = max(spread(left/16, left/8), leastRenewal, retryAfter(ce))
	}
}

// renewAfter is how long a client leaves a session that may last for d: at random, so that the clients of a server that was
// started anew do not all renew in the same moment.
func renewAfter(d time.Duration) time.Duration { return spread(d*6/10, d*3/4) }

// spread returns a random time from least to most.
func spread(least, most time.Duration) time.Duration {
	return least + time.Duration(rand.Int64N(int64(most-least)+1))
}

// worthAnotherTry reports whether a renewal that was refused with a code may be tried again: each counts as a failed logon
// where the token is not good.
func worthAnotherTry(code protocol.CloseCode) bool {
	return code.MayReconnect() || code == protocol.Refused || code == protocol.HandlerFailed || code == protocol.TimedOut
}

// renew shows the server a fresh token, and returns how long the session may last from now on; 0 for ever.
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
	delete(fields, protocol.FieldSession) // it takes over nothing
	return fields, err
}
