package chatclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// fields are the fields of an operation.
type fields map[string]string

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// without returns the fields that others do not have, or have with another value.
func (f fields) without(others fields) fields {
	rest := fields{}
	for name, v := range f {
		if others[name] != v {
			rest[name] = v
		}
	}
	return rest
}

// answer is the reply to a request.
type answer struct {
	protocol.Operation
}

// number returns a field's number; 0 if there is none.
func (a *answer) number(name string) uint64 {
	n, _ := strconv.ParseUint(a.Fields[name], 10, 63)
	return n
}

func (a *answer) flag(name string) bool { return a.Fields[name] == "1" }

// time returns a field's time in milliseconds since 1970; the zero Time if there is none.
func (a *answer) time(name string) time.Time { return timeOf(a.number(name)) }

// request sends an operation once, and returns the reply.
func (c *Client) request(ctx context.Context, typ uint16, op uint8, f fields, content []byte) (answer, error) {
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: op, Fields: f, Content: content})
	if err != nil {
		return answer{}, err
	}
	reply, err := c.Conn().Request(ctx, typ, body)
	if err != nil {
		return answer{}, err
	}
	o, err := protocol.ParseOperation(reply.Body)
	if err == nil && o.Op != op {
		err = fmt.Errorf("the operation is %d", o.Op)
	}
	if err != nil {
		return answer{}, malformed(err)
	}
	return answer{o}, nil
}

// do is request for what has no answer but that it is done.
func (c *Client) do(ctx context.Context, typ uint16, op uint8, f fields) error {
	_, err := c.request(ctx, typ, op, f, nil)
	return err
}

// malformed is the error for a reply that cannot be read. It hides a code in err, which is not the server's.
func malformed(err error) error { return fmt.Errorf("rollcall: a reply of the server: %v", err) }

// isLost reports whether a request has failed because there is no connection, or no longer the one that it was sent on.
func isLost(err error) bool {
	return errors.Is(err, client.ErrDisconnected) || errors.Is(err, client.ErrNotConnected)
}

const (
	leastPause = 100 * time.Millisecond
	mostPause  = 5 * time.Second
	mostRetry  = time.Hour // of what a server asks for
)

// mayRepeat reports whether a request that has failed may succeed if it is sent again, and when. attempt counts from 0.
func mayRepeat(err error, attempt int) (pause time.Duration, again bool) {
	var ce *protocol.CloseError
	if isLost(err) || !errors.As(err, &ce) || ce == nil {
		return 0, false
	}
	ms, noTime := strconv.ParseInt(ce.Info[protocol.FieldRetryMS], 10, 64)
	switch ce.Code {
	case protocol.Busy, protocol.NotStored, protocol.TimedOut, protocol.ServerStopping:
	case protocol.HandlerFailed: // with a time to come back it is the store that has failed
		if noTime != nil {
			return 0, false
		}
	default:
		return 0, false
	}
	pause = min(leastPause<<min(attempt, 10), mostPause)
	if noTime == nil && ms >= 0 {
		pause = min(time.Duration(min(ms, mostRetry.Milliseconds()))*time.Millisecond, mostRetry)
	}
	return pause + rand.N(pause/2+1), true // what was refused together does not come back together
}

// wait waits, and returns the error of ctx if that ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// persist calls request until it succeeds, or has failed for good, or the connection is lost.
func persist(ctx context.Context, request func() error) error {
	for attempt := 0; ; attempt++ {
		err := request()
		pause, again := mayRepeat(err, attempt)
		if !again {
			return err
		}
		if wait(ctx, pause) != nil {
			return err
		}
	}
}
