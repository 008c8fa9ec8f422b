package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Send sends a message to the server, which expects no reply. It returns when the message is on its way; the body may be
// used again then. It blocks only while more than 256 KiB wait for the network, for Timeouts.Write at most.
//
// It returns ErrNotConnected while there is no connection, ErrClosed when the client has ended, a
// protocol.MessageTooLarge (errors.Is) for a body that is larger than the server takes, or than Config.MaxBody, or an error
// for a message that cannot be encoded. A message that was on its way when the connection was lost is lost without a
// word: use Request for what must be known to have arrived.
func (c *Client) Send(typ uint16, body []byte) error {
	return c.sendMessage(&protocol.Message{Type: typ, Body: body})
}

// SendTo is Send to another user, by way of the server. Whether the message is passed on is the server's decision.
func (c *Client) SendTo(dest string, typ uint16, body []byte) error {
	return c.sendMessage(&protocol.Message{Type: typ, DestUserID: dest, Body: body})
}

// sendMessage sends a message of an application type. It has no UserID: the server knows whom it is from, perhaps by another
// spelling than Config's.
func (c *Client) sendMessage(m *protocol.Message) error {
	cn, err := c.connFor(m)
	if err != nil {
		return err
	}
	return cn.send(context.Background(), m)
}

// Reply answers m, a message that a handler got; where m is another user's the answer is addressed to that user. It is
// sent even when m's ID is 0, which says that the sender expects none. It may be called after the handler has returned;
// on a later connection than m came with, the answer is most likely ignored. Errors are Send's; with a
// protocol.MessageTooLarge the sender is told HandlerFailed in place of the answer, if it waits for one.
func (c *Client) Reply(m *protocol.Message, body []byte) error {
	err := c.answer(m, protocol.FlagReply, body)
	if errors.Is(err, protocol.MessageTooLarge) {
		_ = c.ReplyError(m, protocol.Errorf(protocol.HandlerFailed, "the answer could not be sent"))
	}
	return err
}

// ReplyError tells the sender of m that what it asked for failed. A code from 3000 on in why (a protocol.CloseCode, or a
// *protocol.CloseError, with its text and Info) is what the sender gets; for any other error it gets HandlerFailed without a
// text. Where m's ID is 0 the sender could not tell what the error belongs to, and none is sent. Errors are Send's.
func (c *Client) ReplyError(m *protocol.Message, why error) error {
	if m.ID == 0 {
		return nil
	}
	var ce *protocol.CloseError
	if !errors.As(why, &ce) || ce == nil || ce.Code < leastAnswer {
		ce = &protocol.CloseError{Code: protocol.HandlerFailed}
	}
	return c.answer(m, protocol.FlagReply|protocol.FlagError, protocol.AppendClose(nil, ce))
}

// answer sends a reply to m.
func (c *Client) answer(m *protocol.Message, flags protocol.Flags, body []byte) error {
	err := c.sendMessage(&protocol.Message{Type: m.Type, Flags: flags, ID: m.ID, DestUserID: m.UserID, Body: body})
	if err == nil {
		c.unanswered.CompareAndSwap(m, nil)
	}
	return err
}

// leastAnswer is the lowest code that may answer a request: those below are about connections.
const leastAnswer protocol.CloseCode = 3000

// Request sends a message to the server and waits for its reply, which is the caller's to keep. Any number of requests
// may wait at a time; replies may come in any order.
//
// The error is ctx's when it ends first, a *protocol.CloseError when the server answered with one, ErrDisconnected when
// the connection was lost meanwhile, and otherwise Send's. Without a deadline in ctx, a server that never answers is
// waited for until the connection ends.
func (c *Client) Request(ctx context.Context, typ uint16, body []byte) (*protocol.Message, error) {
	return c.request(ctx, &protocol.Message{Type: typ, Body: body})
}

// RequestTo is Request with a message for another user. Who answers, that user or the server, is the server's decision; a
// reply from anybody else is not taken for one. Where several sessions of that user answer the first reply counts, and
// where the user is offline the server answers with the *protocol.CloseError UserOffline.
func (c *Client) RequestTo(ctx context.Context, dest string, typ uint16, body []byte) (*protocol.Message, error) {
	return c.request(ctx, &protocol.Message{Type: typ, DestUserID: dest, Body: body})
}

func (c *Client) request(ctx context.Context, m *protocol.Message) (*protocol.Message, error) {
	cn, err := c.connFor(m)
	if err != nil {
		return nil, err
	}
	return cn.request(ctx, m)
}

// Ping asks the server for a sign of life, with a Heartbeat, and returns how long it took. Errors are Request's.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	cn, err := c.current()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := cn.request(ctx, &protocol.Message{Type: protocol.TypeHeartbeat}); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// WhoIsOnline asks the server which of the users are online, and returns those, in the order asked. One request takes
// protocol.MaxIDList IDs, and they must be well-formed, see protocol.AppendIDList.
//
// Errors are Request's. A server that does not allow the question answers it with the *protocol.CloseError Refused.
func (c *Client) WhoIsOnline(ctx context.Context, ids ...string) ([]string, error) {
	body, err := protocol.AppendIDList(nil, ids)
	if err != nil {
		return nil, err
	}
	cn, err := c.connForBody(body)
	if err != nil {
		return nil, err
	}
	reply, err := cn.request(ctx, &protocol.Message{Type: protocol.TypeWhoIsOnline, Body: body})
	if err != nil {
		return nil, err
	}
	online, err := protocol.ParseIDList(reply.Body)
	if err != nil {
		return nil, fmt.Errorf("rollcall: the server's answer to who is online: %w", err)
	}
	return online, nil
}

// connFor returns the connection for m, which must be one that the application may send.
func (c *Client) connFor(m *protocol.Message) (*conn, error) {
	if m.Type >= protocol.FirstSystemType {
		return nil, fmt.Errorf("rollcall: message type 0x%04x is the system's", m.Type)
	}
	return c.connForBody(m.Body)
}

// connForBody returns the connection for a message with this body.
func (c *Client) connForBody(body []byte) (*conn, error) {
	cn, err := c.current()
	if err == nil && len(body) > cn.maxBody {
		return nil, protocol.Errorf(protocol.MessageTooLarge, "a body of %d bytes, and %d is the limit of the server or of MaxBody", len(body), cn.maxBody)
	}
	return cn, err
}

// current returns the connection, or why there is none.
func (c *Client) current() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.conn != nil:
		return c.conn, nil
	case c.err == nil && c.stopped == nil:
		return nil, ErrNotConnected
	case c.err == nil || c.err == ErrClosed:
		return nil, ErrClosed
	}
	return nil, fmt.Errorf("%w: %w", ErrClosed, c.err)
}
