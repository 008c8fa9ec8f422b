// Package gnetloop keeps an event loop of gnet running when its goroutine ends.
//
// A handler on an event loop runs on gnet's goroutine. If the handler calls runtime.Goexit (as t.FailNow does) that
// goroutine ends, and with it the loop and all its connections. A Goexit cannot be stopped; but the deferred functions
// still run, and the loop's state is in memory. So the last deferred function starts another goroutine, which calls gnet's
// own function to run the same loop from its beginning. Without a Goexit this costs nothing.
//
// It depends on gnet v2.10.0:
//   - eventloop.run has no state but the list of events from the last epoll_wait. These events are level-triggered: an
//     event that was not handled is reported again.
//   - The eventfd for waiting tasks is edge-triggered, and its event may have been in that list. So this package writes to
//     the eventfd once more.
//   - gnet stops the loop when the goroutine that gnet started returns: it therefore waits until the loop has ended.
//
// This package does not import gnet. Only the engine does: three files of package engine use gnet's types.
//
// The caller must close the connection of the handler that ended. It must not call handlers in gnet's OnOpen and OnClose:
// if a handler called Goexit there, the work that gnet does after OnOpen or OnClose would be lost.
package gnetloop
