// Package gnetloop keeps an event loop of gnet running when its goroutine ends.
//
// A handler on an event loop runs on gnet's goroutine. If it calls runtime.Goexit (t.FailNow does) that goroutine ends,
// and with it the loop and all its connections. A Goexit cannot be stopped; but the deferred functions still run, and the
// loop's state is in memory. So the last deferred function starts another goroutine, which runs the same loop from its
// beginning, by gnet's own function. Without a Goexit that costs nothing.
//
// It depends on gnet v2.10.0:
//   - eventloop.run has no state but the list of events from the last epoll_wait. Those are level-triggered: an event that
//     was not handled is reported again.
//   - The eventfd for waiting tasks is edge-triggered, and its event may have been in that list. So it is written to once
//     more.
//   - gnet's own goroutine waits until the loop has ended, because gnet takes its end for the end of the loop.
//
// It does not import gnet, which the engine does: so all that knows gnet's types stands in three files of package engine.
//
// The caller must close the connection of the handler that ended. It must not call handlers in gnet's OnOpen and OnClose,
// because gnet's work after them would not be done.
package gnetloop
