package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/logging"
)

// Run serves until ctx ends, and then stops. The listeners close. Every connection is told ServerStopping, over Timeouts.StopWindow,
// and closed gracefully: replies of handlers go out before the notice. Every session ends. After Timeouts.Stop the remaining connections
// are closed by force. Stats.Stop has the numbers.
//
// Run returns nil after a stop that was asked for and complete. The error wraps ErrStopTimeout, with the numbers, when not everything
// ended in time. When Run cannot listen it returns an error at once. When ctx has ended before the call, Run stops at once, and closes
// the listeners that Listen has opened. An engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	if ctx == nil {
		panic("rollcall: Run needs a context: context.Background() for one that does not end")
	}
	e.mu.Lock()
	if e.running {
		e.mu.Unlock()
		return errRunning
	}
	if e.admission == nil && e.hasUDP() { // nothing would find the end of a session whose client says nothing more
		e.mu.Unlock()
		return errors.New("rollcall: a listener for datagrams needs a bridge: see package bridge")
	}
	if err := e.listen(); err != nil {
		e.mu.Unlock()
		return err
	}
	e.running = true
	e.mu.Unlock()
	if ctx.Err() != nil { // nothing may come in
		e.askToStop(nil)
	}

	e.log.Info("listening", zap.Stringers("addresses", e.Addrs()))
	report, err := e.serve(ctx)
	e.report.Store(&report)
	logging.End(e.log)
	close(e.ended)
	return err
}

// askToStop begins the stop, unless it has begun. failure is why the engine stops without being asked.
func (e *Engine) askToStop(failure error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.stopping:
	default:
		e.failure = failure
		close(e.stopping)
		e.endUntil()
	}
}

func (e *Engine) serve(ctx context.Context) (StopReport, error) {
	e.handlers.relayBy(e.admission)
	e.handlers.wrap()
	e.setHeartbeat()
	if err := e.startLoops(); err != nil {
		for _, l := range e.loops {
			_ = l.waker.Close()
		}
		if e.writable != nil {
			e.writable.close()
		}
		e.closeListeners()
		return StopReport{}, err
	}
	if e.cfg.Workers > 0 {
		e.pool = newWorkerPool(e.cfg.Workers)
	}
	e.clock.Start()
	watchdog := make(chan struct{})
	watchdogEnded := make(chan struct{})
	go func() {
		defer close(watchdogEnded)
		e.watch(watchdog)
	}()
	endLimits := e.startLimits()
	e.startAccepting()

	select {
	case <-ctx.Done():
		e.askToStop(nil)
	case <-e.stopping:
	}
	e.mu.Lock()
	failure := e.failure
	e.mu.Unlock()
	window := e.cfg.Timeouts.StopWindow
	if failure != nil {
		window = 0
	}
	within, cancel := context.WithTimeout(context.Background(), e.cfg.Timeouts.Stop)
	defer cancel()
	report, err := e.stop(within, window)
	close(watchdog)
	<-watchdogEnded
	return report, errors.Join(failure, err, endLimits(within))
}

// startLoops starts gnet's event loops. It finds them by opening a connection of its own to each.
func (e *Engine) startLoops() error {
	client, err := gnet.NewClient(&events{engine: e},
		gnet.WithNumEventLoop(e.cfg.Loops),
		gnet.WithTCPNoDelay(gnet.TCPDelay), // package net has set TCP_NODELAY: gnet need not set it again
		gnet.WithLogger(gnetLogger{e.log.Named("gnet").WithOptions(zap.AddCallerSkip(1)).Sugar()}))
	if err != nil {
		return err
	}
	if err := client.Start(); err != nil {
		return err
	}
	e.client = gnetClient{client}
	e.writable = newWritability()
	for range e.cfg.Loops {
		ours, theirs, err := socketPair()
		if err != nil {
			_ = client.Stop()
			return fmt.Errorf("rollcall: no socket pair to wake an event loop with: %w", err)
		}
		l := &loop{engine: e, waker: ours, turn: turnTime}
		l.clock.Init(watchInterval)
		l.firsts.Init(&l.clock, e.cfg.Timeouts.FirstMessage, (*Conn).noFirstMessage)
		l.attention.setWaits(e.cfg.Timeouts.Write, e.writable != nil)
		l.udp = e.newUDPLoop(l, len(e.loops))
		e.loops = append(e.loops, l)
		// gnet chooses the loop with the fewest connections, so each loop gets one.
		gc, err := client.EnrollContext(theirs, l)
		if err != nil {
			_ = client.Stop()
			return fmt.Errorf("rollcall: an event loop cannot be woken: %w", err)
		}
		for _, other := range e.loops[:len(e.loops)-1] {
			if other.gnetLoop == gc.EventLoop() { // this loop would have two wakers, and another loop none
				_ = client.Stop()
				return fmt.Errorf("rollcall: gnet has started fewer than the %d event loops that Config.Loops asks for", e.cfg.Loops)
			}
		}
		l.gnetLoop = gc.EventLoop()
	}
	e.started.Store(&e.loops)
	return nil
}

// runGnetLoop is gnet's (*eventloop).run, which its client starts for each loop; see package gnetloop. It has no body here, which the
// file empty.s permits.
//
//go:linkname runGnetLoop github.com/panjf2000/gnet/v2.(*eventloop).run
func runGnetLoop(loop unsafe.Pointer) error

// loopOf returns our side of the event loop that a connection is on.
func (e *Engine) loopOf(gc gnet.Conn) *loop {
	el := gc.EventLoop()
	for _, l := range e.loops {
		if l.gnetLoop == el {
			return l
		}
	}
	panic("rollcall: a connection on an event loop that does not exist")
}

// watchInterval is the interval at which the watchdog looks at the loops, and the precision of the engine's clocks in
// the message path. A delay of more than two intervals is a gap: see package clock.
const watchInterval = 250 * time.Millisecond

// watch advances the engine's clock, has the loops advance theirs, and logs a loop that is stuck.
func (e *Engine) watch(quit <-chan struct{}) {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	since := make([]time.Time, len(e.loops)) // when the current ping was sent
	told := make([]bool, len(e.loops))
	for {
		select {
		case <-quit:
			return
		case now := <-t.C:
			e.clock.Tick()
			e.gate.sweep()
			e.eachUDP(func(u *udpListener) { u.sweep(now) })
			for i, l := range e.loops {
				if l.ponged.Load() == l.pinged.Load() {
					if told[i] {
						e.log.Warn("an event loop goes on", zap.Int("loop", i), zap.Duration("stuck", now.Sub(since[i])))
					}
					since[i], told[i] = now, false
					l.pinged.Add(1)
					l.post(func() {})
				} else if !told[i] && now.Sub(since[i]) >= e.cfg.Timeouts.Stall {
					told[i] = true
					e.log.Error("an event loop is stuck: a message handler blocks it; handlers that may block need Workers",
						zap.Int("loop", i), zap.Duration("stuck", now.Sub(since[i])))
					e.stalls.Add(1)
				}
			}
		}
	}
}
