package engine

import (
	"encoding/json"
	"fmt"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// Handler is called for a message. It runs on the connection's event loop and must not block. With Config.Workers it runs on a worker
// and may block. Messages of one connection come one at a time, in order.
//
// On an event loop m and m.Body are valid until the handler returns: then their memory is used for another message. To keep the
// message, or to answer it later or on another goroutine, take a copy: m.Clone(), or string(m.Body). Strings, such as m.UserID, may
// be kept. With Workers the handler may keep m (except a handler of a system type).
//
// An error answers the message, as Conn.ReplyError does: a code from 3000 on reaches the sender with its text; any other error becomes
// HandlerFailed without a text. A handler that has answered returns nil or the result of Reply, which causes no second answer. If the
// sender expects no answer, the error is counted (Stats.HandlerErrors) and logged at level info.
//
// A panic closes the connection with InternalError and has no other effect. runtime.Goexit, which t.FailNow calls, does the same, except
// on an event loop of a system other than Linux, where it ends the engine: Run returns an error that says so.
type Handler func(c *Conn, m *protocol.Message) error

// handlerTable finds a handler by message type without hashing: 256 pages of 256.
type handlerTable struct {
	pages      [256]*[256]Handler
	byDefault  Handler
	addressed  Handler            // for messages to another user: see relayBy; nil: the handler of the message's type
	system     map[uint16]Handler // of system types above Close
	middleware []func(Handler) Handler
}

func (t *handlerTable) lookup(typ uint16) Handler {
	if page := t.pages[typ>>8]; page != nil {
		if h := page[typ&0xff]; h != nil {
			return h
		}
	}
	return t.byDefault
}

// Handle sets the handler of a message type, 0x0001 to 0xFEFF. Call it before Run. It panics after Run, for Heartbeat, Logon, Close and 0,
// for a nil handler, and for a second handler of one type.
//
// Types above Close are for packages that extend the protocol; 0xFF06 to 0xFF09 are those of presence, contacts, groups and chat, which a
// Go client's program may use too (client.Config.Handle). Their handlers always run on the connection's event loop, also with
// Config.Workers, before messages that wait for a worker; so the message is valid only until the handler returns: see Handler. Middleware
// is not applied to these handlers.
func (e *Engine) Handle(typ uint16, h Handler) {
	e.mustNotRun("Handle")
	if typ == 0 || typ >= protocol.FirstSystemType && typ <= protocol.TypeClose {
		panic(fmt.Sprintf("rollcall: no handler can be set for message type 0x%04x: the application's are 0x0001 to 0xFEFF", typ))
	}
	mustHandle(typ, h)
	t := &e.handlers
	if typ > protocol.TypeClose {
		t.handleSystem(typ, h)
		return
	}
	if t.pages[typ>>8] == nil {
		t.pages[typ>>8] = new([256]Handler)
	}
	if t.pages[typ>>8][typ&0xff] != nil {
		panic(fmt.Sprintf("rollcall: two handlers for message type 0x%04x", typ))
	}
	t.pages[typ>>8][typ&0xff] = h
}

func (t *handlerTable) handleSystem(typ uint16, h Handler) {
	if t.system == nil {
		t.system = make(map[uint16]Handler)
	}
	if t.system[typ] != nil {
		panic(fmt.Sprintf("rollcall: two handlers for message type 0x%04x", typ))
	}
	t.system[typ] = h
}

// mustHandle panics for a nil handler. Otherwise the mistake would show only when the first message comes.
func mustHandle(typ uint16, h Handler) {
	if h == nil {
		panic(fmt.Sprintf("rollcall: a nil handler for message type 0x%04x", typ))
	}
}

// HandleDefault sets the handler of messages whose type has no handler. Without it requests (messages with an ID) are answered
// NoHandler. Call it before Run; it panics afterwards. The last call counts; nil removes the handler.
func (e *Engine) HandleDefault(h Handler) {
	e.mustNotRun("HandleDefault")
	e.handlers.byDefault = h
}

// Use wraps every handler in middleware: each function gets the next handler and returns a handler that calls it. The first function is
// outermost. Call it before Run; it panics afterwards.
func (e *Engine) Use(mw ...func(next Handler) Handler) {
	e.mustNotRun("Use")
	e.handlers.middleware = append(e.handlers.middleware, mw...)
}

// relays reports whether the message is for another user, and the Admission is to see it.
func (t *handlerTable) relays(m *protocol.Message) bool {
	return m.DestUserID != "" && t.addressed != nil && m.DestUserID != protocol.ServerID
}

// relayBy has the Admission see messages for other users. It is called before wrap: a message that the Admission has not handled goes to
// a handler without middleware, because the middleware is around the Admission already.
func (t *handlerTable) relayBy(a Admission) {
	if r, ok := a.(seam.Relayer); a == nil || ok && !r.Relays() {
		return
	}
	bare := &handlerTable{byDefault: t.byDefault}
	for i, page := range t.pages {
		if page != nil {
			own := *page
			bare.pages[i] = &own
		}
	}
	t.addressed = func(c *Conn, m *protocol.Message) error {
		handled, err := a.Addressed(c, m)
		if handled {
			return err
		}
		if h := bare.lookup(m.Type); h != nil {
			return h(c, m)
		}
		c.noHandler(m)
		return nil
	}
}

// wrap puts the middleware around the handlers, once.
func (t *handlerTable) wrap() {
	around := func(h Handler) Handler {
		for i := len(t.middleware) - 1; i >= 0; i-- {
			h = t.middleware[i](h)
		}
		return h
	}
	for _, page := range t.pages {
		if page == nil {
			continue
		}
		for i, h := range page {
			if h != nil {
				page[i] = around(h)
			}
		}
	}
	if t.byDefault != nil {
		t.byDefault = around(t.byDefault)
	}
	if t.addressed != nil {
		t.addressed = around(t.addressed)
	}
}

// Format turns values into message bodies and back. Both functions must be set, and are called from several goroutines at a time.
type Format struct {
	// Marshal returns the body for a value. The body is copied.
	Marshal func(v any) ([]byte, error)
	// Unmarshal decodes data into v, a pointer. data is a part of the read buffer and is valid until the message's handler returns.
	// encoding/json copies the data that v keeps. With a format that does not copy, the handler must copy the parts of v that it keeps.
	Unmarshal func(data []byte, v any) error
}

// JSON is the Format of encoding/json.
var JSON = Format{Marshal: json.Marshal, Unmarshal: json.Unmarshal}

// Typed makes a handler from a function that takes a request and returns a response. req is the decoded body of m. An empty body gives
// a zero Req without a call of f. A body that f cannot decode is answered HandlerFailed, with the reason. An error of h is answered
// as by Conn.ReplyError.
func Typed[Req, Resp any](f Format, h func(c *Conn, m *protocol.Message, req Req) (Resp, error)) Handler {
	return func(c *Conn, m *protocol.Message) error {
		var req Req
		if len(m.Body) > 0 {
			if err := f.Unmarshal(m.Body, &req); err != nil {
				return protocol.Errorf(protocol.HandlerFailed, "the body is not what this message type needs: %v", err)
			}
		}
		resp, err := h(c, m, req)
		if err != nil {
			return err
		}
		body, err := f.Marshal(resp)
		if err != nil {
			return err
		}
		return c.Reply(m, body) // where the reply cannot be sent, Reply has told the client
	}
}
