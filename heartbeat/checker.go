// Package heartbeat finds out who has been silent for too long. It is pure time: it knows no socket and no user.
//
// Whoever reads from a client calls [Watch.Beat] when bytes have come. The [Checker] calls back when none have come
// for longer than its timeout. [New] makes one for any number of clients, and a program may
// bring a Checker of its own.
package heartbeat

import "time"

// Checker finds out who has been silent for too long. Its methods may be called from any goroutine, also from inside
// silent, except for Close.
type Checker interface {
	// Watch watches one session from now on; the call counts as a beat.
	//
	// silent is called when nothing has been heard for longer than the timeout, on a goroutine of the checker. It must
	// not block, since everybody else's silence waits behind it; a panic in it ends the program, as on any goroutine.
	// It is called again, about once a timeout, for as long as the silence lasts and the watch is not stopped, so that
	// a report that was not acted upon is not the last one. Nothing orders its first call after the return of Watch: a
	// silent that uses the Watch, or what the Watch is kept in, needs a lock for that.
	Watch(silent func()) Watch

	// Timeout is how long a silence may last. 0 means that nobody is ever silent.
	Timeout() time.Duration

	// Close ends the checker and waits for its goroutine: when it has returned silent is not running, and is not called
	// again. A second Close only waits. It must not be called inside silent, where it would wait for itself.
	Close()
}

// Watch is one session as a [Checker] sees it. Its methods may be called from any goroutine, also inside silent, and
// none of them blocks.
type Watch interface {
	// Beat says that bytes have come. It is called for every read, so it must be cheap: no allocation, no lock. After
	// Stop it does nothing.
	Beat()

	// Silent tells whether nothing has been heard for longer than the timeout, as of now: whoever acts on a report
	// some time after it asks again. After Stop it is false.
	Silent() bool

	// Stop ends the watch. No call of silent begins afterwards; one that the checker had already begun may still be
	// running, or be about to, when Stop returns (waiting for it would lock up a Stop inside silent), and learns from
	// Silent, then false, that it comes too late. A second Stop does nothing.
	Stop()
}

// off is the Watch of a session that nobody watches.
type off struct{}

func (off) Beat()        {}
func (off) Silent() bool { return false }
func (off) Stop()        {}
