package engine

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// opened is called on the loop that has the connection's socket.
func (c *Conn) opened(l *loop) {
	e := c.engine
	c.loop = l
	e.opened.Add(1)
	e.states[stateAccepted].Add(1)
	e.transports.of(c).Add(1)
	c.mu.Lock()
	c.firstDue = l.firsts.Add(c)
	c.mu.Unlock()
	e.conns.add(c)
	if s := c.webSocket(); s != nil {
		l.webs.add(s)
	}
	if s := c.stream(); s != nil { // the handshake may have read the beginning of the messages too
		l.post(func() {
			c.guardOnLoop(func() {
				if s.arrived() {
					_ = c.sock().close(false)
				}
			})
		})
	}
	select {
	case <-e.stopping:
		c.Close(e.stopNotice(rand.Float64()))
	default:
	}
}

// close begins to close the connection, unless it has begun.
func (c *Conn) close(reply *protocol.Message, why *protocol.CloseError) {
	if why.Code == protocol.Unauthorized {
		c.countFailedLogon() // before the client knows, and may try again
	}
	c.mu.Lock()
	state := c.state.Load()
	if state >= stateClosing {
		c.mu.Unlock()
		if state == stateEnded && c.box != nil {
			c.box.dropBacklog(c)
		}
		return
	}
	if state == stateVerifying && !c.has(isLetIn) {
		c.dropQueue() // no message may come before the answer to a Logon, and now there will be no answer
	}
	c.dropEarly()
	c.setState(stateClosing)
	c.code = why.Code
	if reply != nil {
		c.putFirst(reply)
	}
	switch why.Code {
	case protocol.ClientClosed, protocol.NetworkError: // the peer knows
	default:
		if own := c.ownCodec(); own != nil && own.broken { // the peer could not read a notice
			break
		}
		err := c.enqueue(&protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, why)}, queueing{Policy: mustGo})
		if err != nil {
			c.engine.log.Error("a Close notice cannot be encoded", zapConn(c), zapError(err))
		}
		c.needLazy().noticed = err == nil
	}
	c.needLazy().why = why
	if x := c.needLazy(); x.closeBegan == 0 { // otherwise the peer has ended its side, and the timeout is running
		c.stopTimer()
		x.closeBegan = c.loop.clock.Now()
		x.timer = c.loop.clock.AfterFunc(c.engine.cfg.Timeouts.Close, func() { c.loop.post(c.closeNow) })
	}
	c.mu.Unlock()
	c.tellEnd()
	c.abandon()
	c.loop.post(func() { c.guardOnLoop(c.drain) })
}

// countFailedLogon counts the end of a connection that was not let in, also when the client has left before the notice.
func (c *Conn) countFailedLogon() {
	c.mu.Lock()
	state := c.state.Load()
	failed := !c.has(isLetIn) && (state < stateClosing || state == stateEnded)
	c.mu.Unlock()
	if failed {
		c.engine.gate.failedLogon(c.origin())
	}
}

// tellEnd tells the admission, once, that the connection has begun to close.
func (c *Conn) tellEnd() {
	c.countDrops()
	c.mu.Lock()
	if c.lazy != nil && c.lazy.drops != nil && c.lazy.drops.counting {
		c.lazy.drops.endWaits = true // countDrops calls tellEnd again when it has finished
		c.mu.Unlock()
		return
	}
	b, code := c.binding, c.code
	tell := b != nil && !c.has(isEndTold)
	if tell {
		c.phases |= isEndTold
	}
	c.mu.Unlock()
	if tell {
		c.callBinding(b, func() { b.End(code) })
	}
}

// abandon ends the connection's context and fails the requests that the client has not answered.
func (c *Conn) abandon() {
	c.mu.Lock()
	if x := c.lazy; x != nil && x.cancel != nil {
		x.cancel(&protocol.CloseError{Code: c.code})
	}
	c.mu.Unlock()
	c.failRequests()
}

// dropQueue throws away what is queued. c.mu is held on entry.
func (c *Conn) dropQueue() {
	c.dropEncoded()
	if c.out != nil {
		c.drop(c.out.tally)
		c.out.release()
		c.out = nil
	}
}

// drain sends the remaining output, and then waits for the peer's end. It runs on the loop.
func (c *Conn) drain() {
	if c.gone {
		return
	}
	if c.state.Load() == stateHalfClosed {
		c.finishHalfClosed()
		return
	}
	c.flush()
	if c.gone {
		return
	}
	if c.queued.Load() { // output calls drain again when the peer has taken all
		return
	}
	if s := c.stream(); s != nil {
		if s.finish(); c.unsent > 0 || c.gone {
			return
		}
	}
	c.shutWrite()
}

// shutWrite ends our side. The engine reads and discards what the peer still sends, until the peer ends its side too.
// Otherwise the notice could be lost: the system resets a socket that is closed with unread bytes.
func (c *Conn) shutWrite() {
	if c.is(isShut) || c.gone {
		return
	}
	c.flags |= isShut
	if err := c.sock().shutdown(); err != nil {
		c.setOutcome(protocol.OutcomeClosedByPeer)
		c.closeNow()
		return
	}
	if c.is(isPeerEnded) {
		c.lingered()
		return
	}
	c.linger()
}

// lingerTime is how long a peer that has taken everything may take to end its side.
const lingerTime = time.Second

// linger waits for the peer's end: for lingerTime, or longer while the kernel still has bytes that the peer has not
// taken, and never past Timeouts.Close.
func (c *Conn) linger() {
	if c.gone {
		return
	}
	c.mu.Lock()
	left := c.engine.cfg.Timeouts.Close - time.Duration(c.loop.clock.Now()-c.needLazy().closeBegan)
	c.mu.Unlock()
	if left <= 0 {
		c.closeNow()
		return
	}
	c.mu.Lock()
	c.stopTimer()
	wait := lingerTime
	if c.is(isPeerEnded) { // it only has to take the remaining bytes
		wait = min(max((c.engine.cfg.Timeouts.Close-left)/4, 5*time.Millisecond), lingerTime)
	}
	c.needLazy().timer = c.loop.clock.AfterFunc(min(left, wait), func() { c.loop.post(c.lingered) })
	c.mu.Unlock()
}

func (c *Conn) lingered() {
	switch s, tail := c.sock().(*tailSocket); {
	case c.gone:
	case c.sock().unacknowledged() == 0:
		c.closeNow()
	case tail && wasReset(s.fd): // gnet, which would notice the reset, has forgotten the connection
		_ = s.end(net.ErrClosed)
	default:
		c.linger()
	}
}

// closeNow closes the socket, even when bytes are left. It runs on the loop.
func (c *Conn) closeNow() {
	if c.gone {
		return
	}
	unsent := c.unsent > 0 || !c.is(isShut)
	if unsent || c.sock().unacknowledged() > 0 {
		c.flags |= isForced
	}
	if err := c.sock().close(unsent); err != nil { // the kernel need not keep bytes that the peer did not take in time
		c.engine.log.Debug("closing a connection", zapConn(c), zapError(err))
	}
}

// onClose is called on the loop when the socket has ended, perhaps in the middle of a write. The descriptor is closed
// when onClose returns.
func (c *Conn) onClose(err error) {
	if c.gone {
		return
	}
	first, closed := false, stateClosed
	c.mu.Lock()
	if c.state.Load() < stateClosing {
		first, closed = true, stateEnded
		c.code = c.endCode(err)
		if err != nil && c.state.Load() == stateAccepted && c.buffered() == 0 {
			c.engine.probes.Add(1)
		}
	}
	if c.state.Load() == stateVerifying && !c.has(isLetIn) {
		c.dropQueue()
	}
	c.dropEarly()
	outcome := c.outcomeOf(err)
	o := c.out
	var lost tally
	if o != nil {
		lost = o.tally
	}
	c.out = nil
	c.setState(closed)
	c.engine.closed.Add(c.code)
	c.stopTimer()
	c.mu.Unlock()
	if first && c.loop.current != c && !c.is(isPeerEnded) { // a peer that ended its side may still read
		if c.code == protocol.ClientClosed {
			lost = c.lastWords(o)
			if s := c.stream(); s != nil {
				s.finish()
			}
		} else if s := c.webSocket(); s != nil && s.closed && errors.Is(err, io.EOF) { // a Close is answered, even one within a frame
			s.finish()
		}
	}
	if o != nil {
		o.release()
	}
	if c.hasBacklog() {
		c.caughtUp() // otherwise the loop would look at the backlog again, and count it
	}
	c.mu.Lock()
	c.drop(lost) // before the binding is told of the end
	c.mu.Unlock()
	c.gone = true
	c.leavePath()
	if s := c.webSocket(); s != nil {
		c.loop.webs.remove(s)
		c.forgetRequest()
	}
	c.setOutcome(outcome)
	if c.box == nil {
		c.engine.conns.remove(c)
	}
	c.abandon()
	if c.loop.current == c { // inside a handler's write: endDelivered continues when the handlers have returned
		c.flags |= isEndPending
		return
	}
	c.over()
}

// endDelivered continues an onClose that had to wait for the end of the current dispatch.
func (c *Conn) endDelivered() {
	c.flags &^= isEndPending
	c.over()
}

// over is the end of a connection whose socket is closed. With Workers, messages that the client sent before it ended its
// side are still handled first.
func (c *Conn) over() {
	first := c.state.Load() == stateEnded // the peer ended it, not we
	if c.box != nil {
		c.box.end(c, first)
		return
	}
	if first {
		c.tellEnd()
	}
	c.settle()
}

// endCode says why the peer ended the connection.
func (c *Conn) endCode(err error) protocol.CloseCode {
	switch {
	case err == nil: // gnet closed it itself: its engine stops
		return protocol.ServerStopping
	case !errors.Is(err, io.EOF):
		return protocol.NetworkError
	case c.state.Load() != stateVerifying && c.loop.current != c && c.buffered() > 0:
		return protocol.NetworkError // within a frame
	}
	return protocol.ClientClosed
}

func zapError(err error) zap.Field { return zap.Error(err) }
