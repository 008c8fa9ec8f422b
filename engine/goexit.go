package engine

import (
	"github.com/panjf2000/gnet/v2"

	"github.com/rollcall-go/rollcall/internal/contain"
)

// exited is called by the last deferred function of OnTraffic where that has not returned. A panic that comes so far is
// a mistake in this package, and ends the process as it would have. A Goexit is the application's: the connection has been
// dealt with (processed), and another goroutine runs the loop on.
func (ev *events) exited(gc gnet.Conn, panicked any) {
	if panicked != nil {
		panic(panicked)
	}
	var l *loop
	switch v := gc.Context().(type) {
	case *Conn:
		l = v.loop
	case *loop:
		l = v
		l.resume()
	}
	l.exiting, l.working, l.current = false, false, nil
	if err := l.runner.GoOn(l.gnetLoop); err != nil {
		ev.engine.log.Error("runtime.Goexit has ended an event loop, and with it all its connections", zapError(err))
		ev.engine.fail(ErrLoopEnded)
	}
}

// mustReturn is for gnet's other callbacks, where no code of the application's runs on gnet's goroutine.
func (ev *events) mustReturn(panicked any, returned bool) {
	switch {
	case panicked != nil:
		panic(panicked)
	case !returned:
		ev.engine.fail(ErrLoopEnded)
	}
}

// resume has the loop do later what it could not do.
func (l *loop) resume() {
	l.post(l.lookAfter) // which may have been under way; and run goes on with what it has left
}

// apart is for what may deliver messages inside gnet's OnClose: the loop's goroutine must come back to it, so that another one
// does f meanwhile.
func (l *loop) apart(f func()) {
	contain.Apart(f, func(v any) {
		if !l.exiting {
			l.engine.panicked("a task", v)
		}
	})
	l.exiting = false
}

// guardOnLoop is guard for what runs on the loop, for this connection.
func (c *Conn) guardOnLoop(f func()) {
	contain.Call(f, func(v any) {
		if !c.loop.exiting { // otherwise process, inside f, has dealt with it
			c.handlerPanicked(v)
			c.loop.exiting = v == contain.Exited
		}
	})
}

// call calls a function of the application's that is neither a message handler nor on the way of messages, on any goroutine.
// A panic or a Goexit closes the connection, and the caller goes on.
func (c *Conn) call(f func()) { contain.Apart(f, c.handlerPanicked) }

// callBinding calls a method of the binding whose result is not waited for. Rollcall's own cannot fail.
func (c *Conn) callBinding(b Binding, f func()) {
	if b == nil || contain.IsTrusted(b) {
		f()
		return
	}
	c.call(f)
}
