package engine

import (
	"fmt"

	"github.com/rollcall-go/rollcall/protocol"
)

// HandleAddressed sets the handler of the application's messages, replies too, whose destination (DestUserID) is a user. Without it
// they go to the handlers of their type. A bridge that relays calls it. Call it before Run; it panics afterwards, and for a second
// handler.
func (e *Engine) HandleAddressed(h Handler) {
	e.mustNotRun("HandleAddressed")
	if e.handlers.addressed != nil {
		panic("rollcall: addressed messages have a handler already")
	}
	e.handlers.addressed = h
}

// HandleSystem sets the handler of a system message type above Close, for packages that extend the protocol. The handler always runs
// on the connection's event loop, also with Config.Workers, before messages that wait for a worker; so its message is valid only
// until it returns: see Handler. Middleware is not applied. Call it before Run. It panics afterwards, for other types, for a nil
// handler, and for a second handler of one type.
func (e *Engine) HandleSystem(typ uint16, h Handler) {
	e.mustNotRun("HandleSystem")
	if typ <= protocol.TypeClose {
		panic("rollcall: Heartbeat, Logon and Close are the engine's, and types up to 0xFEFF the application's")
	}
	mustHandle(typ, h)
	if e.handlers.system == nil {
		e.handlers.system = make(map[uint16]Handler)
	}
	if e.handlers.system[typ] != nil {
		panic(fmt.Sprintf("rollcall: two handlers for message type 0x%04x", typ))
	}
	e.handlers.system[typ] = h
}

// relays reports whether the message is for another user, and there is a handler that passes it on.
func (t *handlerTable) relays(m *protocol.Message) bool {
	return m.DestUserID != "" && t.addressed != nil && m.DestUserID != protocol.ServerID
}
