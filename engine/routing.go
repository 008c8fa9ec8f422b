package engine

import (
	"fmt"

	"github.com/rollcall-go/rollcall/protocol"
)

// HandleAddressed sets the handler of the application's messages, replies too, that name a user as their destination
// (DestUserID, other than the server's own). Without it they go to the handlers of their type like any other. Call it
// before Run, or it panics; it also panics for a second one: a bridge that relays sets it.
func (e *Engine) HandleAddressed(h Handler) {
	e.mustNotRun("HandleAddressed")
	if e.handlers.addressed != nil {
		panic("rollcall: addressed messages have a handler already")
	}
	e.handlers.addressed = h
}

// HandleSystem sets the handler of a system message type above Close, for packages that carry the protocol further. It
// runs on the connection's event loop, also with Config.Workers, ahead of messages that wait for a worker; so its message is
// lent in any case, see Handler. Middleware does not see it. Call it before Run. It panics for other types, for a nil handler,
// and for a second handler of one type.
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

// relays reports whether the message is for another user, and there is somebody to pass it on.
func (t *handlerTable) relays(m *protocol.Message) bool {
	return m.DestUserID != "" && t.addressed != nil && m.DestUserID != protocol.ServerID
}
