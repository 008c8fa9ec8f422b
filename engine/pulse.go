package engine

import (
	"net"
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// setHeartbeat asks the admission for its heartbeat settings, and derives the engine's own from them.
func (e *Engine) setHeartbeat() {
	var timeout, interval time.Duration
	if h, ok := e.admission.(seam.HeartbeatTeller); ok {
		timeout, interval = h.Heartbeat()
	}
	if interval <= 0 {
		interval = untoldInterval
	}
	e.pulse = int64(max(interval/3/pulseParts, 1))
	e.setPings(timeout)
	e.keepAlive = e.cfg.Timeouts.KeepAlive
	if e.keepAlive == 0 && timeout <= 0 {
		e.keepAlive = defaultKeepAlive
	}
}

const (
	// pulseParts is the number of parts in which a third of the interval that clients are told is measured.
	pulseParts = 4
	// untoldInterval is the interval at which a client sends a heartbeat when the server has told it none:
	// docs/protocol.md.
	untoldInterval = 10 * time.Second
	// defaultKeepAlive is the default of Timeouts.KeepAlive where nothing else watches for silence.
	defaultKeepAlive = 15 * time.Second
	// keepAliveTries is the number of unanswered probes after which the connection ends.
	keepAliveTries = 4
)

// keepAwake turns TCP keep-alive on, so that the system finds peers that have gone. It costs four system calls for each
// connection.
func (e *Engine) keepAwake(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok && e.keepAlive > 0 {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: e.keepAlive, Interval: e.keepAlive, Count: keepAliveTries})
	}
}

// millis returns the loop's clock in milliseconds; it wraps around.
func (l *loop) millis() uint32 { return uint32(l.clock.Coarse() / int64(time.Millisecond)) }

// tick advances the loop's clock and with it parts, a byte that wraps around. Conn.lastOut has the parts at which
// something was last sent. Because parts wraps, a connection that was quiet for long may look as if it was not; then it
// gets its Heartbeat a little later.
func (l *loop) tick() {
	l.clock.Tick()
	if l.engine.pulse > 0 {
		l.parts = uint8(l.clock.Coarse() / l.engine.pulse)
	}
}

// showLife sends a Heartbeat to a client that is in the middle of a frame and was sent nothing for a third of its
// heartbeat interval. The client cannot ask whether the server is there until it has sent the whole frame. It runs on
// the loop.
func (c *Conn) showLife() {
	c.lastOut = c.loop.parts
	if c.codec == protocol.Line || c.queued.Load() {
		return // a person who types a long line need not see a Heartbeat; and queued messages show life when the client takes them
	}
	_ = c.SendMessage(&protocol.Message{Type: protocol.TypeHeartbeat}, nil)
}
