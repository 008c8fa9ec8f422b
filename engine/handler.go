package engine

import (
	"encoding/json"
	"fmt"

	"github.com/rollcall-go/rollcall/protocol"
)

// Handler is told of a message. It runs on the connection's event loop, and must not block; or, with Config.Workers, on
// a worker, where it may. Messages of one connection come one at a time, in order.
//
// On an event loop m and m.Body are lent until the handler returns: then their memory takes another message. What is to be kept,
// or answered later or on another goroutine, is a copy: m.Clone(), or string(m.Body). Strings, such as m.UserID, may be kept. With
// Workers m is the handler's to keep, but for that of HandleSystem.
//
// An error answers the message, as Conn.ReplyError does: a code from 3000 on in it, with its text, is what the sender gets, and
// HandlerFailed without a text for any other. A handler that has answered returns nil, or what Reply returned, which is no
// second answer. Where the sender expects no answer, the error is counted (Stats.HandlerErrors) and logged at level info.
//
// A panic closes the connection with InternalError, and nothing else; so does runtime.Goexit, which t.FailNow calls, but that on an
// event loop it ends the engine with ErrLoopEnded where the system is not Linux.
type Handler func(c *Conn, m *protocol.Message) error

// Middleware wraps a handler in another.
type Middleware func(next Handler) Handler

// handlerTable finds a handler by message type without hashing: 256 pages of 256.
type handlerTable struct {
	pages      [256]*[256]Handler
	byDefault  Handler
	addressed  Handler            // of messages for another user; nil: as any other
	system     map[uint16]Handler // of system types above Close
	middleware []Middleware
}

func (t *handlerTable) lookup(typ uint16) Handler {
	if page := t.pages[typ>>8]; page != nil {
		if h := page[typ&0xff]; h != nil {
			return h
		}
	}
	return t.byDefault
}

// Handle sets the handler of a message type. Call it before Run. It panics for a type that is not the application's, for
// a nil handler, and for a second handler of one type.
func (e *Engine) Handle(typ uint16, h Handler) {
	e.mustNotRun("Handle")
	if typ == 0 || typ >= protocol.FirstSystemType {
		panic(fmt.Sprintf("rollcall: no handler can be set for message type 0x%04x: the application's are 0x0001 to 0xFEFF", typ))
	}
	mustHandle(typ, h)
	t := &e.handlers
	if t.pages[typ>>8] == nil {
		t.pages[typ>>8] = new([256]Handler)
	}
	if t.pages[typ>>8][typ&0xff] != nil {
		panic(fmt.Sprintf("rollcall: two handlers for message type 0x%04x", typ))
	}
	t.pages[typ>>8][typ&0xff] = h
}

// mustHandle panics for a nil handler, which would be found out when the first message comes.
func mustHandle(typ uint16, h Handler) {
	if h == nil {
		panic(fmt.Sprintf("rollcall: a nil handler for message type 0x%04x", typ))
	}
}

// HandleDefault sets the handler of the messages that have none of their own. Without it a client that asked, with a
// message ID, is answered NoHandler. Call it before Run, or it panics; the last call counts, and nil takes the handler away.
func (e *Engine) HandleDefault(h Handler) {
	e.mustNotRun("HandleDefault")
	e.handlers.byDefault = h
}

// Use wraps every handler, the first middleware given outermost. Call it before Run, or it panics.
func (e *Engine) Use(mw ...Middleware) {
	e.mustNotRun("Use")
	e.handlers.middleware = append(e.handlers.middleware, mw...)
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

// Format turns values into message bodies and back. Both functions are called from several goroutines at a time, and neither
// is nil.
type Format struct {
	// Marshal returns the body for a value. The body is copied.
	Marshal func(v any) ([]byte, error)
	// Unmarshal reads data, a part of the read buffer, into v, a pointer. What v keeps of data is valid until the message's
	// handler returns: a format that does not copy, as encoding/json does, leaves that to the handler.
	Unmarshal func(data []byte, v any) error
}

// JSON is the Format of encoding/json.
var JSON = Format{Marshal: json.Marshal, Unmarshal: json.Unmarshal}

// Typed makes a handler of a function from a request to a response; m says who asks, and its body is req. An empty body is a
// zero Req, and f does not see it. A body that is no Req is answered HandlerFailed, with the reason. An error is answered as
// by Conn.ReplyError.
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
		return c.Reply(m, body) // where it cannot be sent the client has been told
	}
}
