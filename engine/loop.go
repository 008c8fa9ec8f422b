package engine

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/gnetloop"
	"github.com/rollcall-go/rollcall/protocol"
)

// A turn of a loop runs so many tasks at most, writes to so many connections that were sent something by themselves, and to as
// many that a broadcast went to; each of the three ends when it has written turnMost bytes. Where all that took less than turnTime it
// goes on writing until then: each turn costs some system calls. What is left waits behind the input that has come meanwhile: a
// client that asks something is answered between two turns, however much there is to do.
const (
	tasksATurn   = 32
	outputsATime = 32 // then the loop looks whether the turn may go on
	turnTime     = 500 * time.Microsecond
	freesATurn   = 32 // connections over the memory budget that are freed, besides those
	freesBetween = 1  // after each connection that is written to, read or looked at: as many as that can have added
	turnMost     = flushMost
)

// loop is one event loop: a goroutine of gnet's, with what we want done on it.
type loop struct {
	engine    *Engine
	gnetLoop  gnet.EventLoop
	waker     net.Conn           // a byte written here makes the loop run its tasks
	roster    roster             // its connections
	turn      time.Duration      // how long a turn may take and still go on writing
	short     atomic.Bool        // there is excess; changed under mu; apart from what others write often: it is looked at after each connection
	clock     clock.Clock        // counts the time in which the loop looked at its connections
	firsts    clock.Queue[*Conn] // connections whose first message has not come
	deadlines deadlines          // of an admission
	feeds     atomic.Int32       // how many of its connections are on a feedSocket

	// The loop's own.
	messages  lentMessages // what handlers are lent
	current   *Conn        // the connection whose messages are being delivered, or nil
	batch     outBuf       // replies to the messages of the current read
	room      int          // bytes that batch.b may hold before reply must be asked; 0 when protocol.Binary is not the codec
	maxBody   int          // of a reply that need not be asked for
	wrote     int          // bytes written in all
	attention attention    // connections with a backlog
	working   bool         // process runs, and has not come to its end
	exiting   bool         // a Goexit is under way, and its connection was dealt with
	openBuf   []byte       // for decrypted bytes; nil while it is in use
	sealBuf   []byte       // for encrypted ones, likewise
	in, out   protocol.Traffic
	parts     uint8 // see tick

	mu     sync.Mutex
	posted work
	excess []*Conn // connections that are over the memory budget, for free
	woken  bool
	ended  bool // what is posted runs at once

	over atomic.Bool // the loop takes no connections any more

	taken work // what was posted before the turn; the loop's own

	runner gnetloop.Runner

	pinged, ponged atomic.Int64  // of the watchdog
	changes        atomic.Uint64 // connections that were let in, and that began to end
	published      published
}

// afterInput runs f on the loop, behind all that has come on its connections by now: what is known when f runs is what the
// clients have said, not what the loop has come to. It takes three turns: the system may have reported the socket that brings on the
// first before a connection's bytes came; it lists that socket from then on, before the connection, so that the second turn may
// come before these bytes too; for the third the socket is listed anew, behind them.
func (l *loop) afterInput(f func()) { l.post(func() { l.post(func() { l.post(f) }) }) }

// work is what a loop is to do: each list in its order.
type work struct {
	tasks  fifo[func()]
	output fifo[*Conn] // connections with output
	bulk   fifo[*Conn] // those that have it from a broadcast: they are many, and wait behind the others
}

func (w *work) empty() bool { return w.tasks.empty() && w.output.empty() && w.bulk.empty() }

// fifo is a list that is taken from at its head.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) empty() bool { return q.head == len(q.items) }

// take returns the first item. The list is not empty.
func (q *fifo[T]) take() T {
	var none T
	v := q.items[q.head]
	q.items[q.head] = none
	q.head++
	return v
}

// refill exchanges an empty list for another, whose memory it gets in return.
func (q *fifo[T]) refill(from *fifo[T]) {
	if !q.empty() {
		return
	}
	spare := q.items[:0]
	if cap(spare) > 4096 && cap(spare) > 8*len(q.items) { // it was needed once, and is not any more
		spare = nil
	}
	*q, *from = *from, fifo[T]{items: spare}
}

// post runs f on the loop, soon; at once, here, when the loop has ended.
func (l *loop) post(f func()) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		f()
		return
	}
	l.posted.tasks.items = append(l.posted.tasks.items, f)
	wake := l.mustWake()
	l.mu.Unlock()
	if wake {
		l.wake()
	}
}

// markOutput has the loop write what waits for a connection.
func (l *loop) markOutput(c *Conn) {
	l.mu.Lock()
	l.posted.output.items = append(l.posted.output.items, c)
	wake := l.mustWake()
	l.mu.Unlock()
	if wake {
		l.wake()
	}
}

// markBroadcast is markOutput for many connections at once.
func (l *loop) markBroadcast(conns []*Conn) {
	l.mu.Lock()
	l.posted.bulk.items = append(l.posted.bulk.items, conns...)
	wake := l.mustWake()
	l.mu.Unlock()
	if wake {
		l.wake()
	}
}

// mustWake reports whether the loop sleeps on what there is to do. l.mu is held on entry.
func (l *loop) mustWake() bool {
	wake := !l.woken && !l.ended
	l.woken = true
	return wake
}

var wakeByte = []byte{1}

// wake makes the loop run its tasks. A byte on a socket pair, not a task of gnet's: gnet runs its tasks until there are
// none, so that goroutines that send without a pause would keep the loop from reading.
func (l *loop) wake() {
	_, _ = l.waker.Write(wakeByte) // one byte at most is under way, so it cannot block; an ended loop needs no waking
}

// run is a turn: it runs what was posted and writes what was queued, up to what a turn may take. It runs on the loop.
func (l *loop) run() {
	t := &l.taken
	l.mu.Lock()
	t.tasks.refill(&l.posted.tasks)
	t.output.refill(&l.posted.output)
	t.bulk.refill(&l.posted.bulk)
	more := !l.posted.empty() // it stands behind what an earlier turn has left
	l.woken = false
	l.mu.Unlock()
	if ping := l.pinged.Load(); ping != l.ponged.Load() {
		l.ponged.Store(ping)
		l.tick()
		l.publish()
	}
	until, most := clock.Nanoseconds()+int64(l.turn), l.wrote+turnMost
	for n := 0; n < tasksATurn && l.wrote < most && !t.tasks.empty(); n++ {
		l.protect(t.tasks.take())
	}
	if l.short.Load() {
		l.freeOverBudget(freesATurn)
	}
	l.writeSome(&t.output)
	l.writeSome(&t.bulk)
	for !(t.output.empty() && t.bulk.empty()) && l.wrote < most && clock.Nanoseconds() < until {
		l.writeSome(&t.output)
		l.writeSome(&t.bulk)
	}
	if !more && t.empty() && !l.short.Load() {
		return
	}
	l.mu.Lock()
	wake := l.mustWake()
	l.mu.Unlock()
	if wake {
		l.wake()
	}
}

// writeSome writes to the first of a list's connections.
func (l *loop) writeSome(list *fifo[*Conn]) {
	most := l.wrote + turnMost
	for n := 0; n < outputsATime && l.wrote < most && !list.empty(); n++ {
		c := list.take()
		c.guardOnLoop(c.output)
		if l.short.Load() {
			l.freeOverBudget(freesBetween)
		}
	}
}

// protect keeps a panic in a callback that was given to us from ending the process.
func (l *loop) protect(f func()) {
	contain.Call(f, func(v any) {
		if !l.exiting {
			l.engine.panicked("a task", v)
		}
	})
}

// end says that the loop runs nothing any more, and runs here what it has left undone: also what is posted meanwhile, so that no
// other goroutine runs something of the loop's beside it.
func (l *loop) end() {
	l.over.Store(true)
	l.publish()
	l.published.outboundQueue.Store(0)
	for {
		l.mu.Lock()
		if l.taken.tasks.refill(&l.posted.tasks); l.taken.tasks.empty() {
			l.ended = true
			l.taken, l.posted = work{}, work{}
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		for !l.taken.tasks.empty() {
			l.protect(l.taken.tasks.take())
		}
	}
}

// events receives gnet's callbacks, each on the loop of its connection. A connection's context is its *Conn; that of a loop's
// waker is the *loop.
type events struct {
	gnet.BuiltinEventEngine
	engine *Engine
}

func (ev *events) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	returned := false
	defer func() { ev.mustReturn(recover(), returned) }()
	if c, ok := gc.Context().(*Conn); ok {
		c.tcp.gc = gc
		c.opened(ev.engine.loopOf(gc))
	}
	returned = true
	return nil, gnet.None
}

func (ev *events) OnTraffic(gc gnet.Conn) (action gnet.Action) {
	returned := false
	defer func() {
		if !returned {
			ev.exited(gc, recover())
		}
	}()
	switch v := gc.Context().(type) {
	case *Conn:
		if v.arrived() {
			action = gnet.Close
		}
	case *loop:
		_, _ = gc.Discard(-1)
		if w := ev.engine.observe; w != nil {
			w(v)
		} else {
			v.run()
		}
	}
	returned = true
	return action
}

func (ev *events) OnClose(gc gnet.Conn, err error) gnet.Action {
	returned := false
	defer func() { ev.mustReturn(recover(), returned) }()
	switch v := gc.Context().(type) {
	case *Conn:
		v.ended(err)
	case *loop:
		ev.engine.fail(ErrLoopEnded)
	}
	returned = true
	return gnet.None
}

// gnetLogger routes gnet's words into ours. What gnet warns of is everyday life for a server: that a connection which was
// closed while an event for it was under way had an event, for one.
type gnetLogger struct{ *zap.SugaredLogger }

func (g gnetLogger) Warnf(format string, args ...any) { g.Debugf(format, args...) }

func (g gnetLogger) Fatalf(format string, args ...any) { g.Errorf(format, args...) }
