// Package heartbeat finds clients that have been silent for too long. It measures time only; it knows no socket and no user.
//
// The code that reads from a client calls [Watch.Beat] when bytes have come. The [Checker] calls back when none have come for
// longer than its timeout. [New] makes a Checker for any number of clients. A program may provide its own Checker.
package heartbeat

import (
	"time"

	"github.com/rollcall-go/rollcall/internal/wheel"
)

// Checker finds sessions that have been silent for too long. Its methods may be called from any goroutine. All but Close may be
// called inside silent too.
type Checker interface {
	// Watch watches one session from now on; the call counts as a beat.
	//
	// silent is called when nothing has been heard for longer than the timeout, on a goroutine of the checker. It must not block,
	// because the reports for all other sessions wait behind it. A panic in it ends the program, as on any goroutine. While the
	// silence lasts and the watch is not stopped, silent is called again about once per timeout, so that a report that had no effect
	// is repeated. The first call may come before Watch has returned: a silent that uses the Watch, or the thing that the Watch is
	// stored in, needs a lock for that.
	Watch(silent func()) Watch

	// Timeout returns how long a silence may last. 0 means that no silence is ever reported.
	Timeout() time.Duration

	// Close ends the checker and waits for its goroutine: when Close has returned, silent is not running and is not called
	// again. A second Close only waits. Close must not be called inside silent, where it would wait for itself.
	Close()
}

// Watch is one session as a [Checker] sees it. Its methods may be called from any goroutine, also inside silent, and
// none of them blocks.
type Watch interface {
	// Beat reports that bytes have come. It is called for every read, so it must be cheap: no allocation, no lock. After
	// Stop it does nothing.
	Beat()

	// Silent reports whether nothing has been heard for longer than the timeout, as of now. Code that acts on a report some
	// time after it should ask again. After Stop it is false.
	Silent() bool

	// Stop ends the watch. The checker begins no call of silent afterwards. A call that it had already begun may still be
	// running when Stop returns, because a Stop inside silent cannot wait for it; such a call sees that Silent is false. A
	// second Stop does nothing.
	Stop()
}

// New returns a running Checker for any number of sessions: a timing wheel with one goroutine. Watch allocates one object, and a beat
// writes to its own watch alone. The Checker reports a silence when it has lasted for longer than timeout, at most interval later, and
// never before timeout has passed since the last beat.
//
// An interval of 0 or less means 1 s. The least interval is 5 ms, or a hundred-millionth of the timeout if that is more; a shorter
// interval means the least interval. A timeout of 0 means 30 s. A negative timeout means that no silence is reported: Timeout is 0,
// and the Checker has no goroutine.
//
// Only time in which the process runs counts as silence. The checker's goroutine may come late by more than a sixth of the interval:
// the process was stopped, the machine slept or was overloaded, or silent blocked. Such a gap is not counted for any session, so
// that bytes that wait in the sockets can be read first. A silence that lasts across the gap is reported later by the length of
// the gap. When the goroutine comes late again and again, a third of an interval is counted each time.
func New(interval, timeout time.Duration) Checker { return checker{wheel.New(interval, timeout)} }

// checker is what New returns. Package usermgr finds its wheel by wheel.Of.
type checker struct{ wheel *wheel.Wheel }

func (c checker) Wheel() *wheel.Wheel       { return c.wheel }
func (c checker) Watch(silent func()) Watch { return c.wheel.Watch(silent) }
func (c checker) Timeout() time.Duration    { return c.wheel.Timeout() }
func (c checker) Close()                    { c.wheel.Close() }
