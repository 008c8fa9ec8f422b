package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// logonID is the message ID of the Logon. The Logon is answered before any other request is sent.
const logonID = 1

// connect makes one attempt: it tries each address until a server accepts or refuses the logon.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	var before error
	for _, addr := range c.targets() {
		cn, err := c.connectTo(ctx, addr)
		if err == nil {
			c.reached(addr)
			return cn, nil
		}
		if before != nil {
			err = fmt.Errorf("%w (before that, %v)", err, before)
		}
		before = err
		var lost *lostError
		var ce *protocol.CloseError
		if ctx.Err() != nil || codes.As(err, &ce) && !errors.As(err, &lost) {
			break
		}
	}
	return nil, before
}

// connectTo makes one connection and logs on.
func (c *Client) connectTo(ctx context.Context, addr string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Dial)
	defer cancel()
	c.tried = addr
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()

	fields, err := c.logonFields(ctx, session)
	if err != nil {
		return nil, err
	}
	frame, err := c.logonFrame(fields)
	if err != nil {
		return nil, err
	}
	t, err := c.cfg.target(addr)
	if err != nil {
		return nil, err
	}
	o, err := contained("DialContext", func() (opened, error) { return c.open(ctx, t) })
	if err != nil {
		return nil, err
	}
	nc := o.nc
	stop := interrupts(ctx, nc)
	cn := newConn(c, nc)
	if t.url != nil {
		cn.speakWebSocket(o.early)
	}
	err = cn.logOn(frame)
	if !stop() { // ctx ended, which is why the logon failed, if it did
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() == nil {
			cn.partAfterRefusal(err)
		}
		_ = nc.Close()
		return nil, fmt.Errorf("rollcall: logging on at %s: %w", t.name, err)
	}
	return cn, nil
}

// interrupts makes the end of ctx end what reads and writes, until stop is called, which returns false when that has happened.
func interrupts(ctx context.Context, nc net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
}

// logonFields returns the fields of a Logon.
func (c *Client) logonFields(ctx context.Context, session string) (map[string]string, error) {
	fields := make(map[string]string)
	maps.Copy(fields, c.cfg.Fields)
	if c.cfg.UDP != "" {
		fields[system.FieldUDP] = ""
	}
	if session != "" {
		fields[protocol.FieldSession] = session
	}
	if c.cfg.Token != nil {
		token, err := contained("Token", func() (string, error) { return c.cfg.Token(ctx) })
		if err != nil {
			return nil, fmt.Errorf("rollcall: no token to log on with: %w", err)
		}
		if token != "" {
			fields[protocol.FieldToken] = token
		}
	}
	return fields, nil
}

// contained calls a function of the application on a goroutine of its own. It returns a panic, or a Goexit, as an
// error.
func contained[T any](who string, f func() (T, error)) (v T, err error) {
	contain.Apart(func() { v, err = f() }, func(failure any) { err = panicError(who, failure) })
	return v, err
}

func (c *Client) logonFrame(fields map[string]string) ([]byte, error) {
	body, err := protocol.AppendStringMap(nil, fields)
	if err != nil {
		return nil, err
	}
	return protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeLogon, ID: logonID, Device: c.cfg.Device,
		UserID: c.cfg.UserID, Body: body})
}

// logOn sends the Logon and waits for its answer, which comes before any other frame.
func (cn *conn) logOn(frame []byte) error {
	if cn.ws != nil {
		frame = cn.ws.message(frame)
	}
	if _, err := cn.nc.Write(frame); err != nil {
		return networkError(err)
	}
	var m protocol.Message
	if err := cn.frames.next(&m); err != nil {
		return err
	}
	switch {
	case m.Type == protocol.TypeClose && !m.IsReply():
		return closeNotice(m.Body)
	case m.Type != protocol.TypeLogon || !m.IsReply() || m.ID != logonID:
		return &protocol.CloseError{Code: protocol.InvalidMessage,
			Text: fmt.Sprintf("the server answered the logon with a message of type 0x%04x", m.Type)}
	}
	fields, err := protocol.ParseLogonReply(m.Body)
	if err != nil {
		return err
	}
	if m.Flags&protocol.FlagError != 0 {
		return &protocol.CloseError{Code: protocol.InvalidMessage, Text: "the logon was refused without a code"}
	}
	cn.userID, cn.session = m.DestUserID, fields[protocol.FieldSession]
	cn.setHeartbeat(fields[protocol.FieldHeartbeatMS])
	cn.setMaxBody(fields[system.FieldMaxBody])
	cn.setDatagrams(fields)
	cn.expires = milliseconds(fields[protocol.FieldExpiresMS])
	return nil
}

// setHeartbeat sets how often the client sends a sign of life, and asks the server for one; ms is the interval that the
// server asked for.
func (cn *conn) setHeartbeat(ms string) {
	asked := milliseconds(ms)
	if asked <= 0 {
		asked = defaultHeartbeat
	}
	asked = max(asked, leastHeartbeat)
	cn.ghostTimeout = min(3*asked, never)
	cfg := &cn.client.cfg
	cn.interval = orDefault(cfg.Timeouts.Heartbeat, asked, never)
	cn.serverTimeout = orDefault(cfg.Timeouts.Server, max(3*cn.interval, leastServerTimeout), never)
	if cfg.Timeouts.Heartbeat < 0 {
		cn.serverTimeout = never
	}
}

// setMaxBody sets the largest body to send and the largest to accept; told is the server's limit.
func (cn *conn) setMaxBody(told string) {
	own := cn.client.cfg.MaxBody
	cn.maxBody, cn.frames.maxBody = protocol.DefaultMaxBody, protocol.DefaultMaxBody
	if own > 0 {
		cn.frames.maxBody = own
	}
	if n, err := strconv.ParseUint(told, 10, 64); err == nil {
		cn.maxBody = int(min(n, noLimit))
		cn.frames.maxBody = max(cn.frames.maxBody, cn.maxBody)
	}
	if own > 0 {
		cn.maxBody = min(cn.maxBody, own)
	}
}

// milliseconds parses a decimal number of milliseconds, at most never; 0 if it is not a number.
func milliseconds(s string) time.Duration {
	ms, err := strconv.ParseUint(s, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return time.Duration(min(ms, uint64(never/time.Millisecond))) * time.Millisecond
}

// closeNotice returns the content of a Close message.
func closeNotice(body []byte) error {
	ce, err := protocol.ParseClose(body)
	if err != nil {
		return err
	}
	return ce
}

// networkError returns the error for a connection that ended without a Close.
func networkError(err error) error {
	return &lostError{CloseError: protocol.CloseError{Code: protocol.NetworkError, Text: err.Error()}, cause: err}
}

// lostError is a close code with the network error that caused it.
type lostError struct {
	protocol.CloseError
	cause error
}

func (e *lostError) Unwrap() []error { return []error{&e.CloseError, e.cause} }
