package seam

import (
	"iter"
	"sync"

	"github.com/rollcall-go/rollcall/protocol"
)

// Engine is what a bridge and a push service ask of an engine besides its methods. C is *engine.Conn and O is *engine.SendOptions. Any
// goroutine may call the methods.
type Engine[C, O any] interface {
	Lessee
	Spreader
	// MaxBody returns the largest body of a message, both ways, in bytes: engine.Limits.MaxBody, or its default.
	MaxBody() int
	// Bound returns the number of connections that have been let in.
	Bound() int
	// ConnsVersion returns a number that changes when Engine.Conns would yield other connections, because one has come or gone. A
	// caller that keeps the connections of Conns, to send to all again, calls ConnsVersion before Conns.
	ConnsVersion() uint64
	// BroadcastInOrder is Engine.Broadcast for messages that must reach all connections in one order. It holds the lock order from
	// before to begins until the message is queued for the last connection, so that messages with the same lock do not overtake
	// each other. It also reaches connections that are being admitted: they get the message if and when they are let in. to must
	// not block and must not send. While the lock is held no code of the application runs except to and codecs; Report is called,
	// and connections that do not keep up are closed, after it was released.
	BroadcastInOrder(order sync.Locker, to iter.Seq[C], m *protocol.Message, o O) (n int, err error)
}

// EngineOf returns what e, an *engine.Engine, provides besides its methods: an Engine[*engine.Conn, *engine.SendOptions]. Package engine
// sets it.
var EngineOf func(e any) any
