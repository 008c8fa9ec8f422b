package engine

import (
	"net"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// HeartbeatTeller is what an Admission may be besides, as the bridge's is: one that knows who watches for silent clients.
type HeartbeatTeller interface {
	// Heartbeat returns after how long a silence a client is ended, 0 when nothing watches for that, and how often clients
	// are told to send something, 0 when they are told nothing. It is called when Run begins.
	Heartbeat() (timeout, interval time.Duration)
}

// setHeartbeat learns what the admission tells clients, and what follows from that.
func (e *Engine) setHeartbeat() {
	var timeout, interval time.Duration
	if h, ok := e.admission.(HeartbeatTeller); ok {
		timeout, interval = h.Heartbeat()
	}
	if interval <= 0 {
		interval = untoldInterval
	}
	e.pulse = int64(max(interval/3/pulseParts, 1))
	e.keepAlive = e.cfg.Timeouts.KeepAlive
	if e.keepAlive == 0 && timeout <= 0 {
		e.keepAlive = defaultKeepAlive
	}
}

const (
	// pulseParts is in how many parts a third of what clients are told is measured.
	pulseParts = 4
	// untoldInterval is how often a client asks whether the server is there when it was told nothing: docs/protocol.md.
	untoldInterval = 10 * time.Second
	// defaultKeepAlive is how long a connection is quiet before the system asks whether the peer is there, where nothing else
	// watches for silence.
	defaultKeepAlive = 15 * time.Second
	// keepAliveTries is how often it asks in vain before the connection is at its end.
	keepAliveTries = 4
)

// keepAwake has the system find out whether the peer is there. It costs four system calls a connection.
func (e *Engine) keepAwake(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok && e.keepAlive > 0 {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: e.keepAlive, Interval: e.keepAlive, Count: keepAliveTries})
	}
}

// millis returns the loop's clock in milliseconds; it wraps around.
func (l *loop) millis() uint32 { return uint32(l.clock.Coarse() / int64(time.Millisecond)) }

// tick moves the loop's clock on, and with it parts, by which it is known when a connection was last sent something: a byte that
// wraps around. A connection that was quiet for long may be taken for one that was not, and gets its Heartbeat a little later.
func (l *loop) tick() {
	l.clock.Tick()
	if l.engine.pulse > 0 {
		l.parts = uint8(l.clock.Coarse() / l.engine.pulse)
	}
}

// showLife sends a Heartbeat to a client that is in the middle of a frame and has got nothing for a third of what it was told:
// its own question whether the server is there waits behind that frame. It runs on the loop.
func (c *Conn) showLife() {
	c.lastOut = c.loop.parts
	if c.codec == protocol.Line || c.queued.Load() {
		return // a person who types a long line need not read it; and what is queued says it, once the client takes it
	}
	_ = c.SendMessage(&protocol.Message{Type: protocol.TypeHeartbeat}, nil)
}
