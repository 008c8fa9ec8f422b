package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// fields is a string map.
type fields = map[string]string

// frame returns the bytes of a message.
func frame(m *protocol.Message) []byte {
	b, err := protocol.Binary.Append(nil, m)
	check(err)
	return b
}

// tryRaw writes bytes, over WebSocket as one message.
func (c *conn) tryRaw(b []byte) error {
	if c.web != nil {
		return c.writeFrame(wsframe.Binary, b)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.nc.Write(b)
	return err
}

// write writes bytes, and notes what they are.
func (c *conn) write(b []byte, format string, a ...any) {
	c.s.t.log.addf("server   %s: > %s", c.name, fmt.Sprintf(format, a...))
	if err := c.tryRaw(b); err != nil {
		c.s.t.failf("the connection is gone (%v), want it open", err)
	}
}

func (c *conn) trySend(m *protocol.Message) error {
	c.s.t.log.addf("server   %s: > %s", c.name, describe(m))
	return c.tryRaw(frame(m))
}

// send sends a message.
func (c *conn) send(m *protocol.Message) { c.write(frame(m), "%s", describe(m)) }

// sendAll sends messages in one piece.
func (c *conn) sendAll(all ...*protocol.Message) {
	var b []byte
	for _, m := range all {
		b = append(b, frame(m)...)
	}
	c.write(b, "%d frames in one piece, the first is %s", len(all), describe(all[0]))
}

// next returns the next frame but heartbeats.
func (c *conn) next(what string) *protocol.Message {
	m, ok := c.frames.next(c.s.t.patience())
	if !ok {
		c.s.t.failf("got %s, want %s", c.outcome(), what)
	}
	return m
}

// outcome says why no frame has come.
func (c *conn) outcome() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return fmt.Sprintf("the end of the connection (%v)", c.end)
	}
	return "nothing"
}

// want returns the next frame, which must be of this type, and no reply.
func (c *conn) want(typ uint16, what string) *protocol.Message {
	m := c.next(what)
	if m.Type != typ || m.IsReply() {
		c.s.t.failf("got %s, want %s", describe(m), what)
	}
	return m
}

// wantReply returns the next frame, which must be the reply to a message.
func (c *conn) wantReply(typ uint16, id uint32, dest string, failed bool) *protocol.Message {
	what := fmt.Sprintf("the reply to message %d of type %d from %q", id, typ, dest)
	if failed {
		what = "an error in " + what
	}
	m := c.next(what)
	to := m.DestUserID
	if to == protocol.ServerID {
		to = ""
	}
	if m.Type != typ || m.ID != id || !m.IsReply() || to != dest || (m.Flags&protocol.FlagError != 0) != failed {
		c.s.t.failf("got %s, want %s", describe(m), what)
	}
	return m
}

// logon takes the Logon.
func (c *conn) logon() (*protocol.Message, fields) {
	m := c.want(protocol.TypeLogon, "a Logon")
	f, err := system.ParseStringMap(m.Body)
	if err != nil {
		c.s.t.failf("the Logon's body is no string map: %v", err)
	}
	return m, f
}

// accepted returns the reply that accepts a Logon, for a user.
func (c *conn) accepted(logon *protocol.Message, user string, f fields) *protocol.Message {
	c.mu.Lock()
	c.bound = user
	if user == "" {
		c.bound = c.named
	}
	c.mu.Unlock()
	body, err := system.AppendLogonReply(nil, f)
	check(err)
	return &protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: logon.ID, DestUserID: user, Body: body}
}

// welcome takes a Logon and accepts it with these fields, and a session if they have none.
func (c *conn) welcome(f fields) fields {
	m, asked := c.logon()
	if _, ok := f[protocol.FieldSession]; !ok {
		f = maps.Clone(f)
		if f == nil {
			f = fields{}
		}
		f[protocol.FieldSession] = "session-" + c.name
	}
	c.send(c.accepted(m, "", f))
	return asked
}

// coded is the body of a Close or an error reply.
func coded(code protocol.CloseCode, text string, info fields) []byte {
	return system.AppendClose(nil, &protocol.CloseError{Code: code, Text: text, Info: info})
}

// closing is a Close.
func closing(code protocol.CloseCode, text string, info fields) *protocol.Message {
	return &protocol.Message{Type: protocol.TypeClose, Body: coded(code, text, info)}
}

// refuse takes a Logon, answers it with an error reply, sends the Close and ends the connection, as a server does.
func (c *conn) refuse(code protocol.CloseCode, text string, info fields) fields {
	m, asked := c.logon()
	c.sendAll(&protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError, ID: m.ID,
		Body: coded(code, text, info)}, closing(code, text, info))
	c.finish()
	return asked
}

// close sends a Close, and ends the connection.
func (c *conn) close(code protocol.CloseCode, text string, info fields) {
	c.send(closing(code, text, info))
	c.finish()
}

// finish ends the server's side of the connection in order: what was sent before still arrives.
func (c *conn) finish() {
	if c.web != nil {
		_ = c.writeFrame(wsframe.Close, wsframe.AppendClose(nil, wsframe.Normal, ""))
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// cut breaks the connection.
func (c *conn) cut() {
	c.s.t.log.addf("server   %s: cuts the connection", c.name)
	_ = c.raw.Close()
}

// hold keeps the connection open when the client has ended its side, until the function that it returns is called.
func (c *conn) hold() (release func()) {
	c.lingering.Add(1)
	return c.lingering.Done
}

// setSilent makes the server answer no heartbeats, or answer them again.
func (c *conn) setSilent(silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = silent
}

// wantEnd waits for the end of the client's side, and returns the frames before it.
func (c *conn) wantEnd() (before []*protocol.Message) {
	for {
		m, ok := c.frames.next(c.s.t.patience())
		if ok {
			before = append(before, m)
			continue
		}
		c.mu.Lock()
		end := c.end
		c.mu.Unlock()
		if end == nil {
			c.s.t.failf("got nothing, want the end of the connection")
		}
		return before
	}
}

// endedInOrder reports whether the client's side has ended between two frames, without a reset.
func (c *conn) endedInOrder() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.end, io.EOF) {
		return nil
	}
	return c.end
}

// wantClose takes the next frame, which must be a Close with this code.
func (c *conn) wantClose(code protocol.CloseCode) {
	m := c.want(protocol.TypeClose, fmt.Sprintf("a Close with %v", code))
	got, err := protocol.ParseClose(m.Body)
	if err != nil || got.Code != code {
		c.s.t.failf("got a Close with %v, want %v", got, code)
	}
}

// codeOf returns the code of an error reply.
func (c *conn) codeOf(m *protocol.Message) protocol.CloseCode {
	got, err := protocol.ParseClose(m.Body)
	if err != nil {
		c.s.t.failf("the body of an error reply is not valid: %v: %s", err, describe(m))
	}
	return got.Code
}

// fence lets the testee send a message, and requires that nothing comes before it.
func (c *conn) fence() {
	t := c.s.t
	body := t.unique("fence")
	t.do(command{"do": "send", "tag": body, "type": plainType, "body": hexOf(body)})
	m := c.next("a message that the testee was told to send, and nothing before it")
	if m.Type != plainType || m.IsReply() || string(m.Body) != body {
		t.failf("got %s, want nothing before the message %q", describe(m), body)
	}
	t.tagged("done", body)
}

// message is a plain message of the server.
func message(body string) *protocol.Message {
	return &protocol.Message{Type: plainType, Body: []byte(body)}
}

// plainType is the application's type that testees have a handler for.
const plainType = 1

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }

// inPieces writes bytes one by one. It waits a little now and then, so that they do not come together.
func (c *conn) inPieces(b []byte) {
	c.s.t.log.addf("server   %s: > %d bytes one by one", c.name, len(b))
	for i := range b {
		if err := c.tryRaw(b[i : i+1]); err != nil {
			c.s.t.failf("the connection is gone (%v), want it open", err)
		}
		if i < 64 || i%16 == 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
}
