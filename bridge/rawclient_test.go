package bridge_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
)

// patience is how long a test waits for something that must happen.
const patience = testkit.Patience

// rawClient is one connection that speaks protocol.Binary and does nothing by itself. Methods that fail the test are
// for the test's own goroutine; dialRaw, write, read and tryLogOn are for any.
type rawClient struct {
	t    testing.TB
	conn net.Conn
	name string
	in   wiretest.Reader
	out  []byte

	heardOut chan struct{}
}

func dialRaw(addr string) (*rawClient, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &rawClient{conn: conn, heardOut: make(chan struct{})}, nil
}

// frame encodes messages.
func frame(t testing.TB, messages ...*protocol.Message) []byte {
	t.Helper()
	var b []byte
	for _, m := range messages {
		var err error
		if b, err = protocol.Binary.Append(b, m); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// rawFrame builds a first message without the codec's checks.
func rawFrame(typ uint16, userID string) []byte {
	b := make([]byte, layout.HeaderLen, layout.HeaderLen+len(userID))
	b[0], b[1] = 0x52, 1<<4
	binary.BigEndian.PutUint16(b[2:], typ)
	binary.BigEndian.PutUint32(b[4:], uint32(len(userID)))
	b[12] = byte(len(userID))
	return append(b, userID...)
}

// logonMessage is a Logon with the ID 1; its fields are key, value, key, value.
func logonMessage(userID string, fields ...string) *protocol.Message {
	return wiretest.Logon(userID, fields...)
}

func (c *rawClient) write(messages ...*protocol.Message) error {
	b := c.out[:0]
	for _, m := range messages {
		var err error
		if b, err = protocol.Binary.Append(b, m); err != nil {
			return err
		}
	}
	c.out = b
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.conn.Write(b)
	return err
}

// read returns the next message, or io.EOF when the server has ended its side between two messages.
func (c *rawClient) read() (*protocol.Message, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	return c.in.Next(c.conn.Read)
}

// hearOut reads until the server ends its side, keeps what came for read, and ends its own side.
func (c *rawClient) hearOut() {
	defer close(c.heardOut)
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	rest, _ := io.ReadAll(c.conn)
	c.in.Add(rest)
	_ = c.conn.(*net.TCPConn).CloseWrite()
}

// tryLogOn sends a Logon and reads its reply. The error is a *protocol.CloseError when the server refused, in its
// reply or with a notice in its place.
func (c *rawClient) tryLogOn(userID string, fields ...string) (reply map[string]string, err error) {
	if err := c.write(logonMessage(userID, fields...)); err != nil {
		return nil, err
	}
	m, err := c.read()
	if err != nil {
		return nil, err
	}
	switch {
	case m.Type == protocol.TypeLogon && m.IsReply() && m.ID == 1:
		return protocol.ParseLogonReply(m.Body)
	case m.Type == protocol.TypeClose:
		ce, err := protocol.ParseClose(m.Body)
		return nil, errors.Join(ce, err)
	}
	return nil, fmt.Errorf("the answer to a Logon is %+v", m)
}

func (c *rawClient) send(messages ...*protocol.Message) {
	c.t.Helper()
	if err := c.write(messages...); err != nil {
		c.t.Fatalf("client %s cannot send: %v", c.name, err)
	}
}

func (c *rawClient) sendBytes(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("client %s cannot send: %v", c.name, err)
	}
}

func (c *rawClient) receive() *protocol.Message {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatalf("client %s waits for a message: %v", c.name, err)
	}
	return m
}

// expect receives a message with this type and body.
func (c *rawClient) expect(typ uint16, body string) {
	c.t.Helper()
	if m := c.receive(); m.Type != typ || string(m.Body) != body {
		c.t.Fatalf("client %s received type %#x, %q; want type %#x, %q", c.name, m.Type, m.Body, typ, body)
	}
}

// logOn logs on and returns the fields of the reply.
func (c *rawClient) logOn(userID string, fields ...string) map[string]string {
	c.t.Helper()
	reply, err := c.tryLogOn(userID, fields...)
	if err != nil {
		c.t.Fatalf("client %s cannot log on as %s: %v", c.name, userID, err)
	}
	return reply
}

// ask sends a message of type echo and waits for it to come back.
func (c *rawClient) ask(text string) {
	c.t.Helper()
	c.send(&protocol.Message{Type: echo, ID: 9, Body: []byte(text)})
	c.expect(echo, text)
}

// expectClose receives the Close notice, which must be the last message, and then the server's end of the connection.
func (c *rawClient) expectClose(code protocol.CloseCode) *protocol.CloseError {
	c.t.Helper()
	m := c.receive()
	if m.Type != protocol.TypeClose {
		c.t.Fatalf("client %s received type %#x, %q; want a Close notice", c.name, m.Type, m.Body)
	}
	ce, err := protocol.ParseClose(m.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if ce.Code != code {
		c.t.Fatalf("client %s was closed with %v, want %v", c.name, ce, code)
	}
	c.expectEnd()
	return ce
}

// reset ends the connection at once, without a word. Who only closes it may still be waiting for an answer.
func (c *rawClient) reset() {
	_ = c.conn.(*net.TCPConn).SetLinger(0)
	_ = c.conn.Close()
}

// expectEnd receives the server's end of the connection: a proper one, no reset.
func (c *rawClient) expectEnd() {
	c.t.Helper()
	if m, err := c.read(); err != io.EOF {
		c.t.Fatalf("client %s received %+v, %v; want the server's end", c.name, m, err)
	}
}

// expectRefused receives what refuses a Logon: the error reply, then the Close notice, then the end.
func (c *rawClient) expectRefused(code protocol.CloseCode) {
	c.t.Helper()
	m := c.receive()
	if m.Type != protocol.TypeLogon || m.Flags != protocol.FlagReply|protocol.FlagError || m.ID != 1 {
		c.t.Fatalf("client %s received %+v, want the error reply to its Logon", c.name, m)
	}
	_, err := protocol.ParseLogonReply(m.Body)
	var ce *protocol.CloseError
	if !errors.As(err, &ce) || ce.Code != code {
		c.t.Fatalf("client %s was refused with %v, want %v", c.name, err, code)
	}
	c.expectClose(code)
}

// untilClose receives whatever comes before the Close notice, and then that.
func (c *rawClient) untilClose(code protocol.CloseCode) {
	c.t.Helper()
	for {
		m := c.receive()
		if m.Type != protocol.TypeClose {
			continue
		}
		if ce, err := protocol.ParseClose(m.Body); err != nil || ce.Code != code {
			c.t.Fatalf("client %s was closed with %v, %v; want %v", c.name, ce, err, code)
		}
		return
	}
}
