package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/clients/conformance/testee"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// client is one client, from its dial to its end.
type client struct {
	how  *testee.Command
	stop chan struct{} // closed by close
	done chan struct{} // closed at its end

	mu       sync.Mutex
	writing  sync.Mutex
	nc       net.Conn // nil while it is not online
	raw      net.Conn // also while it logs on
	stopped  bool
	over     bool
	session  string
	user     string
	address  string // that is tried
	asked    int    // tokens
	lastID   uint32
	maxBody  int
	waiting  map[uint32]*request
	requests []*protocol.Message
	pushes   map[uuid.UUID]chan struct{} // each is closed when its handler may return
	dealt    map[uuid.UUID]bool          // pushes whose handler has returned
	unsent   []uuid.UUID                 // acknowledgements for the next connection
	sent     time.Time
	heard    time.Time
}

// request waits for its reply.
type request struct {
	tag, to string
	users   bool
}

func newClient(how *testee.Command) *client {
	if how.Types == nil {
		how.Types = []uint16{1}
	}
	c := &client{how: how, stop: make(chan struct{}), done: make(chan struct{}), user: how.User, address: how.Address,
		lastID: rand.Uint32(), waiting: map[uint32]*request{}, pushes: map[uuid.UUID]chan struct{}{}, dealt: map[uuid.UUID]bool{}}
	if breaks("numbers-from-1") {
		c.lastID = 0
	}
	return c
}

func (c *client) do(cmd *testee.Command) {
	switch cmd.Do {
	case "close":
		c.close()
	case "send":
		if err := c.send(&protocol.Message{Type: cmd.Type, DestUserID: cmd.To, Body: cmd.Bytes()}); err != "" {
			testee.Tell(testee.Event{"event": "error", "tag": cmd.Tag, "reason": err})
			return
		}
		testee.Tell(testee.Event{"event": "done", "tag": cmd.Tag})
	case "request":
		c.ask(cmd, &protocol.Message{Type: cmd.Type, DestUserID: cmd.To, Body: cmd.Bytes()}, false)
	case "online":
		body, err := system.AppendIDList(nil, cmd.Users)
		if err != nil {
			testee.Tell(testee.Event{"event": "error", "tag": cmd.Tag, "reason": "invalid"})
			return
		}
		c.ask(cmd, &protocol.Message{Type: protocol.TypeWhoIsOnline, Body: body}, true)
	case "reply":
		c.reply(cmd)
	case "ack":
		c.mu.Lock()
		close(c.pushes[uuid.MustParse(cmd.Push)])
		c.mu.Unlock()
	case "show":
		c.mu.Lock()
		text := fmt.Sprintf("a client of %q", c.user)
		if breaks("shows-the-session") {
			text += ", session " + c.session
		}
		c.mu.Unlock()
		testee.Tell(testee.Event{"event": "shown", "tag": cmd.Tag, "text": text})
	}
}

// send sends a message, or says why not.
func (c *client) send(m *protocol.Message) (reason string) {
	c.mu.Lock()
	nc, most, over := c.nc, c.maxBody, c.over || c.stopped
	c.mu.Unlock()
	if c.how != nil && c.how.MaxBody > 0 {
		most = min(most, c.how.MaxBody)
	}
	f, err := protocol.Binary.Append(nil, m)
	switch {
	case err != nil:
		return "invalid"
	case over:
		return "closed"
	case nc == nil:
		return "not-connected"
	case len(m.Body) > most && !breaks("too-large"):
		return "too-large"
	}
	c.write(nc, f)
	return ""
}

func (c *client) write(nc net.Conn, f []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, _ = nc.Write(f)
	c.mu.Lock()
	c.sent = time.Now()
	c.mu.Unlock()
}

func (c *client) nextID() uint32 {
	c.lastID++
	if c.lastID == 0 {
		c.lastID++
	}
	return c.lastID
}

func (c *client) ask(cmd *testee.Command, m *protocol.Message, users bool) {
	c.mu.Lock()
	m.ID = c.nextID()
	c.waiting[m.ID] = &request{tag: cmd.Tag, to: cmd.To, users: users}
	c.mu.Unlock()
	if reason := c.send(m); reason != "" {
		c.fails(m.ID, testee.Event{"reason": reason})
		return
	}
	if cmd.TimeoutMS > 0 {
		time.AfterFunc(time.Duration(cmd.TimeoutMS)*time.Millisecond, func() { c.fails(m.ID, testee.Event{"reason": "timeout"}) })
	}
}

// fails ends a request without an answer.
func (c *client) fails(id uint32, e testee.Event) {
	c.mu.Lock()
	r := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if r != nil {
		e["event"], e["tag"] = "error", r.tag
		testee.Tell(e)
	}
}

func (c *client) reply(cmd *testee.Command) {
	c.mu.Lock()
	to := c.requests[cmd.Request]
	c.mu.Unlock()
	m := &protocol.Message{Type: to.Type, Flags: protocol.FlagReply, ID: to.ID, DestUserID: to.UserID, Body: cmd.Bytes()}
	if cmd.Code != 0 {
		c.refuse(m, protocol.CloseCode(cmd.Code), cmd.Text)
		return
	}
	if c.send(m) == "too-large" {
		c.refuse(m, protocol.HandlerFailed, "")
	}
	if breaks("answers-twice") {
		c.send(m)
	}
}

func (c *client) refuse(m *protocol.Message, code protocol.CloseCode, text string) {
	m.Flags |= protocol.FlagReply | protocol.FlagError
	m.Body = system.AppendClose(nil, &protocol.CloseError{Code: code, Text: text})
	c.send(m)
}

// received handles a message. An error ends the connection.
func (c *client) received(nc net.Conn, m *protocol.Message) *protocol.CloseError {
	switch {
	case m.IsReply():
		c.answered(m)
	case m.Type == protocol.TypeHeartbeat:
		if m.ID != 0 {
			c.send(&protocol.Message{Type: m.Type, Flags: protocol.FlagReply, ID: m.ID})
		}
	case m.Type == protocol.TypeClose:
		e, err := protocol.ParseClose(m.Body)
		if err != nil {
			return invalid(err)
		}
		return e
	case m.Type == protocol.TypePush:
		p, err := protocol.ParsePush(m.Body)
		if err != nil {
			if breaks("bad-frames") {
				return nil
			}
			c.complain(nc, invalid(err))
			return invalid(err)
		}
		c.pushed(p)
	case m.Type >= protocol.FirstSystemType:
	case !slices.Contains(c.how.Types, m.Type):
		if m.ID != 0 && m.UserID == "" && !breaks("no-answer") {
			c.refuse(&protocol.Message{Type: m.Type, ID: m.ID}, protocol.NoHandler, "")
		}
	case m.ID != 0:
		c.mu.Lock()
		c.requests = append(c.requests, m)
		n := len(c.requests) - 1
		c.mu.Unlock()
		testee.Tell(testee.Event{"event": "request", "request": n, "from": m.UserID, "type": m.Type, "body": hex.EncodeToString(m.Body)})
	default:
		testee.Tell(testee.Event{"event": "message", "from": m.UserID, "type": m.Type, "body": hex.EncodeToString(m.Body)})
	}
	return nil
}

func (c *client) answered(m *protocol.Message) {
	c.mu.Lock()
	r := c.waiting[m.ID]
	if r == nil || m.UserID != "" && m.UserID != r.to && !breaks("any-users-reply") {
		c.mu.Unlock()
		return
	}
	delete(c.waiting, m.ID)
	c.mu.Unlock()
	e := testee.Event{"event": "reply", "tag": r.tag, "from": m.UserID, "body": hex.EncodeToString(m.Body)}
	if m.Flags&protocol.FlagError != 0 {
		ce, err := protocol.ParseClose(m.Body)
		if err != nil {
			ce = invalid(err)
		}
		e = testee.Event{"event": "error", "tag": r.tag, "reason": "refused", "code": ce.Code, "text": ce.Text}
	} else if r.users {
		users, _ := system.ParseIDList(m.Body)
		e = testee.Event{"event": "reply", "tag": r.tag, "users": users}
	}
	testee.Tell(e)
}

func (c *client) pushed(p *protocol.PushMessage) {
	c.mu.Lock()
	release, known := c.pushes[p.ID]
	dealt := c.dealt[p.ID]
	if known && !breaks("push-twice") {
		c.mu.Unlock()
		if dealt && p.Confirm {
			c.acknowledge(p.ID)
		}
		return
	}
	release = make(chan struct{})
	c.pushes[p.ID] = release
	c.mu.Unlock()
	var ms int64
	if !p.Time.IsZero() {
		ms = p.Time.UnixMilli()
	}
	if breaks("acknowledges-early") && p.Confirm {
		c.acknowledge(p.ID)
	}
	testee.Tell(testee.Event{"event": "push", "id": p.ID.String(), "kind": p.Kind, "name": p.Name, "time": ms, "confirm": p.Confirm,
		"metadata": p.Metadata, "body": hex.EncodeToString(p.Content)})
	finish := func() {
		c.mu.Lock()
		c.dealt[p.ID] = true
		c.mu.Unlock()
		if p.Confirm && !breaks("acknowledges-early") {
			c.acknowledge(p.ID)
		}
	}
	if !c.how.Hold {
		finish()
		return
	}
	go func() {
		select {
		case <-release:
			finish()
		case <-c.stop:
		}
	}()
}

func (c *client) acknowledge(id uuid.UUID) {
	if c.send(&protocol.Message{Type: protocol.TypePushAck, Body: id[:]}) != "" && !breaks("loses-acks") {
		c.mu.Lock()
		c.unsent = append(c.unsent, id)
		c.mu.Unlock()
	}
}

// close ends the client; run tells of it.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop == nil || c.stopped || c.over {
		return
	}
	c.stopped = true
	close(c.stop)
	if nc := c.nc; nc != nil {
		go c.leave(nc, &protocol.CloseError{Code: protocol.ClientClosed})
	} else if c.raw != nil {
		_ = c.raw.Close()
	}
}
