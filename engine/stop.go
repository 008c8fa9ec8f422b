package engine

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// StopReport says how connections ended: the connections that were open when an engine began to stop.
type StopReport struct {
	Connections  int           // the sum of the next four
	Told         int           // closed; their clients have received the notice
	ClosedByPeer int           // ended by their clients or by the network; some may not have seen a notice
	Forced       int           // closed before their clients had received everything
	Left         int           // not closed, because a handler blocks their event loop
	Sessions     int           // sessions that had not ended in time, and groups (see package bridge) that still had events to deliver
	Took         time.Duration // from the request to the end
}

// String returns the report in words, for a log.
func (r StopReport) String() string {
	return fmt.Sprintf("%d told, %d closed by their peers, %d by force, %d not closed, %d sessions given up on, in %v",
		r.Told, r.ClosedByPeer, r.Forced, r.Left, r.Sessions, r.Took.Round(time.Millisecond))
}

// stop ends everything, in order. When ctx ends it gives up on the rest.
func (e *Engine) stop(ctx context.Context, window time.Duration) (StopReport, error) {
	began, before := time.Now(), e.outcomes.all()
	e.closeListeners()
	e.handshakes.stop()
	// A stuck event loop may block an acceptor; a connection that the acceptor lets in after this is closed at once.
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	acceptorsStuck := !wait(soon, e.accepting.Wait)

	e.tellAll(ctx, window)
	// After this every first message has reached the admission, and every notice has reached the kernel, even when ctx
	// has ended.
	patience := time.Second
	if ctx.Err() != nil {
		patience = 250 * time.Millisecond
	}
	soon, cancel = context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	wait(soon, e.passLoops)
	sessions := 0
	if e.admission != nil {
		contain.Apart(func() { sessions = e.admission.Drain(ctx) }, func(v any) { e.panicked("Drain", v) })
	}
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for e.conns.open.Load() > 0 && ctx.Err() == nil {
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	connections := e.conns.open.Load()
	workersStuck := e.pool != nil && !e.pool.stop(ctx)
	apartStuck := !e.apart.wait(ctx)

	for _, c := range e.conns.all() {
		c.loop.post(c.endTail)
	}
	// gnet closes all remaining connections. It waits for its loops, one of which may be stuck in a handler.
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	loopsStuck := !wait(grace, func() {
		e.client.stop()
		for _, l := range e.loops {
			l.end()
		}
	})
	for _, l := range e.loops {
		_ = l.waker.Close()
	}
	e.eachUDP((*udpListener).end)
	for _, c := range e.conns.all() { // connections of a stuck loop
		if s, ok := c.sock().(*feedSocket); ok {
			s.release(true)
		}
	}
	r := e.reportSince(before)
	r.Sessions, r.Took = sessions, time.Since(began)
	if sessions == 0 && connections == 0 && !acceptorsStuck && !workersStuck && !apartStuck && !loopsStuck {
		return r, nil
	}
	return r, fmt.Errorf("%w: gave up after %v on %d sessions and %d connections%s%s%s%s", ErrStopTimeout,
		r.Took.Round(time.Millisecond), sessions, connections,
		when(workersStuck, ", a worker whose handler is stuck"), when(apartStuck, ", handlers that Async runs"), when(loopsStuck, ", an event loop that is stuck in a handler"),
		when(acceptorsStuck, ", connections that were being accepted"))
}

// tellAll closes every connection, evenly over the window. When ctx ends it closes the remaining ones at once.
func (e *Engine) tellAll(ctx context.Context, window time.Duration) {
	if deadline, ok := ctx.Deadline(); ok {
		window = min(window, time.Until(deadline)/2) // the connection that is told last needs time, too
	}
	began := time.Now()
	all := e.conns.all()
	for i, c := range all {
		share := float64(i) / float64(max(len(all)-1, 1))
		// A connection that is closing already takes no place in the window.
		if ahead := time.Duration(share*float64(window)) - time.Since(began); ahead > time.Millisecond && c.state.Load() < stateClosing {
			select {
			case <-time.After(ahead):
			case <-ctx.Done():
				window = 0
			}
		}
		c.Close(e.stopNotice(share))
	}
}

// stopNotice returns the notice for a connection when the engine stops. share, from 0 to 1, is its place among the
// others.
func (e *Engine) stopNotice(share float64) *protocol.CloseError {
	return e.spread(&protocol.CloseError{Code: protocol.ServerStopping, Text: "the server is stopping"}, share)
}

// spread returns why with the time to wait of a client whose place among the others is share, from 0 to 1.
func (e *Engine) spread(why *protocol.CloseError, share float64) *protocol.CloseError {
	ms := int64(share * float64(e.cfg.Timeouts.StopWindow.Milliseconds()))
	if ms <= 0 || why.Info != nil {
		return why
	}
	return &protocol.CloseError{Code: why.Code, Text: why.Text, Info: map[string]string{protocol.FieldRetryMS: strconv.FormatInt(ms, 10)}}
}

// reportSince counts the connections that have ended since before, and those that have not.
func (e *Engine) reportSince(before map[protocol.CloseOutcome]uint64) StopReport {
	now := e.outcomes.all()
	since := func(o protocol.CloseOutcome) int { return int(now[o] - before[o]) }
	r := StopReport{Told: since(protocol.OutcomeTold), ClosedByPeer: since(protocol.OutcomeClosedByPeer), Forced: since(protocol.OutcomeForced),
		Left: int(e.opened.Load() - now[protocol.OutcomeTold] - now[protocol.OutcomeClosedByPeer] - now[protocol.OutcomeForced])}
	r.Connections = r.Told + r.ClosedByPeer + r.Forced + r.Left
	return r
}

func (e *Engine) closeListeners() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ln := range e.listeners {
		_ = ln.Close()
	}
}

// passLoops waits until every event loop has finished its current work.
func (e *Engine) passLoops() {
	var passed sync.WaitGroup
	for _, l := range e.loops {
		passed.Add(1)
		l.post(passed.Done)
	}
	passed.Wait()
}

func when(b bool, text string) string {
	if b {
		return text
	}
	return ""
}

// wait runs f and reports whether it returned before ctx ended.
func wait(ctx context.Context, f func()) bool { return waitAtLeast(ctx, 0, f) }

// waitAtLeast is wait, but waits at least until least has passed, also when ctx ends before.
func waitAtLeast(ctx context.Context, least time.Duration, f func()) bool {
	began := time.Now()
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	case <-time.After(least - time.Since(began)):
		return false
	}
}
