package engine

import (
	"errors"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// inFlight reports whether a message counts towards MaxRequests.
func (c *Conn) inFlight(m *protocol.Message) bool {
	return m.ID != 0 && !m.IsReply() && m.Type < protocol.FirstSystemType && !c.engine.handlers.relays(m)
}

// requested counts a message that is a request of the application. It reports whether the request is over the limit;
// then it has answered the request. It runs on the loop.
func (c *Conn) requested(m *protocol.Message) (refused bool) {
	if !c.inFlight(m) {
		return false
	}
	c.mu.Lock()
	u := c.used()
	if refused = u.requests >= c.engine.cfg.Limits.MaxRequests; !refused {
		if u.inFlight == nil {
			u.inFlight = make(map[uint32]int)
		}
		u.inFlight[m.ID]++ // a client may use an ID twice
		u.requests++
	}
	c.mu.Unlock()
	if refused {
		_ = c.sendReply(m, protocol.FlagReply|protocol.FlagError, system.AppendClose(nil,
			&protocol.CloseError{Code: protocol.Refused, Text: "too many requests wait for their answers"}))
	}
	return refused
}

// reply sends the answer to m. m's request stops counting before that, because a client that has the answer may ask
// again. Where the answer itself cannot be sent, a client that waits for it gets an error instead.
func (c *Conn) reply(m *protocol.Message, flags protocol.Flags, body []byte) error {
	if c.counts(m) {
		c.mu.Lock()
		if u := c.used(); u.inFlight[m.ID] > 0 {
			u.requests--
			if u.inFlight[m.ID]--; u.inFlight[m.ID] == 0 {
				delete(u.inFlight, m.ID)
			}
		}
		c.mu.Unlock()
	}
	err := c.sendReply(m, flags, body)
	if err == nil || errors.Is(err, ErrClosed) || flags&protocol.FlagError != 0 || m.ID == 0 || m.IsReply() {
		return err
	}
	_ = c.sendReply(m, protocol.FlagReply|protocol.FlagError, system.AppendClose(nil,
		&protocol.CloseError{Code: protocol.HandlerFailed, Text: "the answer could not be sent"}))
	return &toldError{err, c, m.ID}
}

// toldError is the reason why an answer was not sent. The client has been told it, so a handler that returns it causes
// no second answer.
type toldError struct {
	error
	conn *Conn
	id   uint32
}

func (e *toldError) Unwrap() error { return e.error }

// handlerFailed answers a message whose handler returned an error.
func (c *Conn) handlerFailed(m *protocol.Message, err error) {
	c.engine.handlerErrors.Add(1)
	if told := (*toldError)(nil); errors.As(err, &told) && told.conn == c && told.id == m.ID {
		return
	}
	if errors.Is(err, ErrClosed) && c.state.Load() >= stateClosing { // otherwise another connection is closed, not this one
		return
	}
	_ = c.ReplyError(m, err)
}

// counts reports whether requests are limited and m is a request.
func (c *Conn) counts(m *protocol.Message) bool {
	return c.engine.limits&limitRequests != 0 && c.inFlight(m)
}
