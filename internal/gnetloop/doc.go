// Package gnetloop lets an event loop of gnet's outlive the goroutine that runs it.
//
// A handler on an event loop runs on gnet's goroutine. When it calls runtime.Goexit (t.FailNow does) that goroutine ends,
// and with it the loop and all its connections. Nothing can stop a Goexit; but the deferred functions still run, and the
// loop's state is in memory. So the last deferred function starts another goroutine that runs the same loop from its
// beginning, by gnet's own function. That costs nothing as long as no handler does it.
//
// It rests on gnet v2.10.0:
//   - eventloop.run keeps nothing of its own but the list of the events that the last epoll_wait has returned. Those are
//     level-triggered: what has not been dealt with is reported again.
//   - But the eventfd that says that tasks wait is edge-triggered, and its event may have been in that list. So one more is
//     written to it.
//   - A goroutine of gnet's own must not end before the loop does: gnet would take the loop for ended. It waits.
//
// The caller sees to the connection that the handler was called for, and must not call handlers in gnet's OnOpen and OnClose,
// of which a part would be left undone.
package gnetloop
