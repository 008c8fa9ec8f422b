package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// Send sends a message to the server and expects no reply. It returns when the message is queued; then the body may be used again.
// It blocks only while more than 256 KiB wait for the network, and for Timeouts.Write at most.
//
// It returns ErrNotConnected while there is no connection, ErrClosed when the client has ended, protocol.MessageTooLarge
// (errors.Is) for a body that is larger than the server accepts or than Config.MaxBody, or an error for a message that cannot be
// encoded or whose type is the system's. Of the system's types only 0xFF06 to 0xFF09 are sent, which are for optional packages, and
// only to the server. A message that is queued or under way when the connection is lost is lost without an error: use Request where the
// sender must know that the message has arrived.
func (c *Client) Send(typ uint16, body []byte) error {
	return c.sendMessage(&protocol.Message{Type: typ, Body: body})
}

// SendTo is Send to another user, through the server, which decides whether to pass the message on.
func (c *Client) SendTo(dest string, typ uint16, body []byte) error {
	return c.sendMessage(&protocol.Message{Type: typ, DestUserID: dest, Body: body})
}

// sendMessage sends a message of an application type. It leaves UserID empty, because the server knows the sender,
// perhaps in another spelling than Config's.
func (c *Client) sendMessage(m *protocol.Message) error {
	cn, err := c.connFor(m)
	if err != nil {
		return err
	}
	return cn.send(context.Background(), m)
}

// Reply answers m, a message that a handler got. The answer goes to m's sender, the server or another user. It is sent even when m's
// ID is 0, which means that the sender expects no answer. Reply may be called after the handler has returned; when the client has a
// new connection by then, the answer is most likely ignored. The errors are the same as Send's. After protocol.MessageTooLarge a
// sender that waits gets HandlerFailed instead of the answer.
func (c *Client) Reply(m *protocol.Message, body []byte) error {
	err := c.answer(m, protocol.FlagReply, body)
	if errors.Is(err, protocol.MessageTooLarge) {
		_ = c.ReplyError(m, protocol.Errorf(protocol.HandlerFailed, "the answer could not be sent"))
	}
	return err
}

// ReplyError answers m with an error. When why is or wraps a code from 3000 on (a protocol.CloseCode, or a *protocol.CloseError with
// its text and Info), the sender gets that. For any other error the sender gets HandlerFailed without a text. Nothing is sent where
// m's ID is 0, because the sender could not match the answer. The errors are the same as Send's.
func (c *Client) ReplyError(m *protocol.Message, why error) error {
	if m.ID == 0 {
		return nil
	}
	var ce *protocol.CloseError
	if !codes.As(why, &ce) || ce == nil || ce.Code < leastAnswer {
		ce = &protocol.CloseError{Code: protocol.HandlerFailed}
	}
	return c.answer(m, protocol.FlagReply|protocol.FlagError, system.AppendClose(nil, ce))
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

// Request sends a message to the server and waits for its reply, which the caller may keep. Any number of requests may wait at a
// time; replies may come in any order.
//
// The error is ctx's when ctx ends first, a *protocol.CloseError when the server answered with one, ErrDisconnected when the
// connection was lost meanwhile, and otherwise an error of Send. Without a deadline in ctx Request may wait until the connection
// ends.
func (c *Client) Request(ctx context.Context, typ uint16, body []byte) (*protocol.Message, error) {
	return c.request(ctx, &protocol.Message{Type: typ, Body: body})
}

// RequestTo is Request with a message for another user. That user or the server answers, as the server decides; replies from other
// users are ignored. When several sessions of that user answer, the first reply counts. When the user is offline the server
// answers with the *protocol.CloseError UserOffline.
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

// Ping sends a Heartbeat that the server answers, and returns how long the answer took. The errors are the same as Request's.
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

// WhoIsOnline asks the server which of the users are online, and returns their IDs in the order of ids. One call takes at most
// 1,000 IDs, each of 1 to 255 bytes of UTF-8 without control characters.
//
// The errors are the same as Request's. A server that does not allow the request answers with the *protocol.CloseError Refused.
func (c *Client) WhoIsOnline(ctx context.Context, ids ...string) ([]string, error) {
	body, err := system.AppendIDList(nil, ids)
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
	online, err := system.ParseIDList(reply.Body)
	if err != nil {
		return nil, fmt.Errorf("rollcall: the server's answer to who is online: %w", err)
	}
	return online, nil
}

// connFor returns the connection for m. It returns an error for a message that the application must not send.
func (c *Client) connFor(m *protocol.Message) (*conn, error) {
	switch {
	case m.Type < protocol.FirstSystemType:
	case !isOptional(m.Type):
		return nil, fmt.Errorf("rollcall: message type 0x%04x is the system's", m.Type)
	case m.DestUserID != "" && m.DestUserID != protocol.ServerID:
		return nil, fmt.Errorf("rollcall: message type 0x%04x is the system's, and goes to no other user", m.Type)
	}
	return c.connForBody(m.Body)
}

// isOptional reports whether a system type is for optional packages: presence, contacts, groups and chat. The program sends such
// messages, and has handlers for them.
func isOptional(typ uint16) bool { return typ >= protocol.TypePresence && typ <= protocol.TypeChat }

// connForBody returns the connection for a message with this body.
func (c *Client) connForBody(body []byte) (*conn, error) {
	cn, err := c.current()
	if err == nil && len(body) > cn.maxBody {
		return nil, protocol.Errorf(protocol.MessageTooLarge, "a body of %d bytes, and %d is the limit of the server or of MaxBody", len(body), cn.maxBody)
	}
	return cn, err
}

// current returns the connection, or an error that says why there is none.
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
