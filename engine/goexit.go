package engine

import "github.com/rollcall-go/rollcall/internal/contain"

// exited is called by the last deferred function of OnTraffic, with its *Conn or *loop, when OnTraffic does not return. A
// panic that gets here is a mistake in this package, and ends the process as it would without exited. A Goexit comes from
// the application: processed has closed the connection, and another goroutine continues the loop.
func (ev *events) exited(of, panicked any) {
	if panicked != nil {
		panic(panicked)
	}
	var l *loop
	switch v := of.(type) {
	case *Conn:
		l = v.loop
	case *loop:
		l = v
		l.resume()
	}
	l.exiting, l.working, l.current = false, false, nil
	if err := l.runner.GoOn(l.gnetLoop, runGnetLoop); err != nil {
		ev.engine.log.Error("runtime.Goexit has ended an event loop, and with it all its connections", zapError(err))
		ev.engine.askToStop(errLoopEnded)
	}
}

// mustReturn is called after gnet's other callbacks. They run no code of the application on gnet's goroutine.
func (ev *events) mustReturn(panicked any, returned bool) {
	switch {
	case panicked != nil:
		panic(panicked)
	case !returned:
		ev.engine.askToStop(errLoopEnded)
	}
}

// resume has the loop continue later with the work that the Goexit interrupted.
func (l *loop) resume() {
	l.post(l.lookAfter) // lookAfter may have been interrupted; the post also makes run continue
}

// apart runs f on another goroutine and waits for it. It is used where f may deliver messages inside gnet's OnClose,
// because the loop's goroutine must return to OnClose even when a handler calls Goexit.
func (l *loop) apart(f func()) {
	contain.Apart(f, func(v any) {
		if !l.exiting {
			l.engine.panicked("a task", v)
		}
	})
	l.exiting = false
}

// guardOnLoop is guard for functions that run on the loop for this connection.
func (c *Conn) guardOnLoop(f func()) {
	contain.Call(f, func(v any) {
		if !c.loop.exiting { // otherwise process, inside f, has closed the connection
			c.handlerPanicked(v)
			c.loop.exiting = v == contain.Exited
		}
	})
}

// call calls a function of the application that is not in the message path, on any goroutine. A panic or a Goexit
// closes the connection, and the caller continues.
func (c *Conn) call(f func()) { contain.Apart(f, c.handlerPanicked) }

// callBinding calls a method of the binding without a result. Rollcall's own bindings cannot fail.
func (c *Conn) callBinding(b Binding, f func()) {
	if b == nil || contain.IsTrusted(b) {
		f()
		return
	}
	c.call(f)
}
