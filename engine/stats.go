package engine

import (
	"sync/atomic"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/protocol"
)

// Stats is a snapshot of an engine. Counters count from New on. The fields are read one after another, so that they may differ by a
// moment.
type Stats struct {
	Conns    ConnStats // now
	Accepted uint64    // connections that came in
	Refused  Refusals  // connections that were not let in, by reason; connections that got a notice are in Closed too
	Bans     int       // bans in force; a ban that has ended may be counted for another 2 s
	// Transports counts the connections in the four states of Conns by Conn.Transport: "tcp", "tls", "ws", "wss", "unix", "udp" and
	// "other", which is every other name that ServeConn's connections have. It always has these seven.
	Transports map[string]int
	// Closed counts the connections that have ended, by the code that ended them.
	Closed map[protocol.CloseCode]uint64
	// Outcomes counts the same connections by how they ended, without refused connections. It has no OutcomePending.
	Outcomes map[protocol.CloseOutcome]uint64
	// Probes counts connections that their peers ended before sending a byte, as load balancers and port scanners do. They count
	// in Closed too; at a listener with TLS or ProxyProtocol they count in Refused.
	Probes uint64

	// In counts messages received, and Out messages handed to the network, without heartbeats and other upkeep, exact to a quarter
	// of a second. Dropped counts messages that were dropped because clients did not keep up.
	In, Out, Dropped protocol.Traffic
	// InboundQueue is the number of bytes of messages that wait for workers.
	InboundQueue int64
	// OutboundQueue is the number of bytes that wait for clients that do not keep up, exact to about a second, without the bytes
	// in the kernel's buffers.
	OutboundQueue int64

	// Lost counts datagrams of clients over UDP that have not come, by the gaps between their numbers. One that comes late stays
	// counted. What is lost before the first one that comes is not counted.
	Lost uint64

	HandlerPanics uint64 // panics, and calls of runtime.Goexit, in message handlers and the engine's other callbacks
	HandlerErrors uint64 // messages whose handlers returned an error
	Stalls        uint64 // times that an event loop was stuck for longer than Timeouts.Stall

	// Stop says how the connections ended when the engine stopped. It is zero before Run has returned.
	Stop StopReport
}

// ConnStats counts the present connections by state.
type ConnStats struct {
	// Handshaking counts connections in a handshake (the PROXY header, OnAccept, TLS), including up to 8 that only get the notice
	// of their refusal over TLS. HandshakesWaiting counts connections that wait for their turn.
	Handshaking, HandshakesWaiting int
	// Open is the number of connections in the four states below, plus connections that are being opened, handshakes included,
	// plus, with Workers, connections that have ended with messages to handle.
	Open      int
	Accepted  int // no first message yet
	Verifying int // the Admission decides on the first message
	Bound     int // let in
	Closing   int // being closed
}

// Stats returns a snapshot. It takes a few hundred loads, however many connections and bans there are. Any goroutine may call
// it.
func (e *Engine) Stats() Stats {
	handshaking, waiting := e.handshakes.counts()
	s := Stats{
		Conns: ConnStats{
			Handshaking: handshaking, HandshakesWaiting: waiting, Open: int(e.conns.open.Load()), Accepted: e.in(stateAccepted),
			Verifying: e.in(stateVerifying), Bound: e.in(stateBound) + e.in(stateHalfClosed), Closing: e.in(stateClosing)},
		Accepted: e.accepted.Load(), Refused: e.refusalsByReason(), Bans: int(e.gate.bannedNow.Load()),
		Transports: e.transports.all(), Closed: e.closed.All(), Outcomes: e.outcomes.all(), Probes: e.probes.Load(),
		Dropped:       protocol.Traffic{Messages: e.droppedMessages.Load(), Bytes: e.droppedBytes.Load()},
		InboundQueue:  e.inboundQueue.Load(),
		Lost:          e.udpLost.Load(),
		HandlerPanics: e.handlerPanics.Load(), HandlerErrors: e.handlerErrors.Load(), Stalls: e.stalls.Load(),
	}
	if r := e.report.Load(); r != nil {
		s.Stop = *r
	}
	if loops := e.started.Load(); loops != nil {
		for _, l := range *loops {
			p := &l.published
			s.In.Messages += p.inMessages.Load()
			s.In.Bytes += p.inBytes.Load()
			s.Out.Messages += p.outMessages.Load()
			s.Out.Bytes += p.outBytes.Load()
			s.OutboundQueue += p.outboundQueue.Load()
		}
	}
	return s
}

// counters are the engine's counters outside the message path. Each loop has counters of its own for the message path.
type counters struct {
	accepted, stalls             atomic.Uint64
	handlerPanics, handlerErrors atomic.Uint64
	probes                       atomic.Uint64 // connections that ended before a byte had come
	udpLost                      atomic.Uint64 // see Stats.Lost
	refused                      [refusals]atomic.Uint64

	opened                        atomic.Uint64 // connections that were given to an event loop
	states                        [stateClosing + 1]atomic.Int64
	transports                    transports // those in one of the states
	closed                        codes.Counter
	outcomes                      outcomes
	droppedMessages, droppedBytes atomic.Uint64
	inboundQueue                  atomic.Int64
	started                       atomic.Pointer[[]*loop] // the loops, once all of them run
}

// outcomes counts connections by how they ended.
type outcomes [protocol.OutcomeForced + 1]atomic.Uint64

// all returns the outcomes that have occurred.
func (o *outcomes) all() map[protocol.CloseOutcome]uint64 {
	all := make(map[protocol.CloseOutcome]uint64)
	for how := range o {
		if n := o[how].Load(); n > 0 {
			all[protocol.CloseOutcome(how)] = n
		}
	}
	return all
}

// in returns the number of connections in a state.
func (e *counters) in(state uint32) int { return int(e.states[state].Load()) }

// setState changes the connection's state. c.mu is held on entry.
func (c *Conn) setState(state uint32) {
	e := c.engine
	old := c.state.Swap(state)
	if old <= stateClosing {
		e.states[old].Add(-1)
	}
	if state <= stateClosing {
		e.states[state].Add(1)
	} else if old <= stateClosing {
		e.transports.of(c).Add(-1)
	}
	if old == stateBound || state == stateBound {
		c.loop.changes.Add(1) // after the change, so that a list that was made before it has another version
	}
}

// published holds a loop's counts for other goroutines to read. Only the loop writes it, a few times a second, because
// an atomic store takes as long as a third of a message.
type published struct {
	inMessages, inBytes, outMessages, outBytes atomic.Uint64
	outboundQueue                              atomic.Int64
}

// publish copies the loop's counts to published. It runs on the loop.
func (l *loop) publish() {
	p := &l.published
	p.inMessages.Store(l.in.Messages)
	p.inBytes.Store(l.in.Bytes)
	p.outMessages.Store(l.out.Messages)
	p.outBytes.Store(l.out.Bytes)
}

// addTo adds the counts of some messages.
func (of tally) addTo(t *protocol.Traffic) {
	t.Messages += uint64(of.messages)
	t.Bytes += uint64(of.bytes)
}
