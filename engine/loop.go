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
	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// A turn of a loop has three parts with a limit each: it runs tasks, writes to connections with output of their own,
// and writes to connections that a broadcast went to. Each part also ends when it has written turnMost bytes. A turn
// that took less than turnTime goes on writing until then, because each turn costs some system calls. The remaining
// work waits behind the input that has come meanwhile. So requests of clients are answered between two turns, however
// much work there is.
const (
	tasksATurn   = 32
	outputsATime = 32 // after them the loop checks whether the turn may go on
	turnTime     = 500 * time.Microsecond
	freesATurn   = 32 // connections over the memory budget that a turn frees too
	freesBetween = 1  // connections that are freed after each one that is written to, read or looked at: as many as that one can have added
	turnMost     = flushMost
)

// loop is one event loop: a goroutine of gnet, with the work that the engine has for it.
type loop struct {
	engine    *Engine
	gnetLoop  gnet.EventLoop
	waker     net.Conn           // a byte written here makes the loop run its tasks
	roster    roster             // its connections
	turn      time.Duration      // a turn that has taken less goes on writing
	short     atomic.Bool        // excess is not empty; changed under mu; away from fields that others write often, because it is read after each connection
	clock     clock.Clock        // counts the time in which the loop looked at its connections
	firsts    clock.Queue[*Conn] // connections whose first message has not come
	deadlines deadlines          // set by an admission
	feeds     atomic.Int32       // the number of its connections that are on a feedSocket

	// Only the loop uses these.
	messages  lentMessages   // the messages that are lent to handlers
	current   *Conn          // the connection whose messages are being delivered, or nil
	batch     outBuf         // replies to the messages of the current read
	room      int            // bytes that batch.b may hold before reply must be asked; 0 when protocol.Binary is not the codec
	maxBody   int            // up to this body a reply takes the short way
	wrote     int            // bytes written in all
	attention attention      // connections with a backlog
	working   bool           // process has begun and not ended
	exiting   bool           // a Goexit is running, and its connection was closed
	openBuf   []byte         // for decrypted bytes; nil while it is in use
	sealBuf   []byte         // for encrypted ones, likewise
	frameBuf  []byte         // for frames of WebSocket, likewise
	front     []byte         // the batch's memory, with room for such a frame's header before it; see makeFront
	found     *wsframe.Found // likewise
	lentBytes lentBytes      // of the connection whose bytes are being delivered, if it speaks WebSocket
	webs      webs           // connections that speak WebSocket
	udp       *udpLoop       // connections over UDP; nil without a listener for them
	in, out   protocol.Traffic
	parts     uint8 // see tick

	mu     sync.Mutex
	posted work
	excess []*Conn // connections that are over the memory budget, for free
	woken  bool
	ended  bool // posted functions run at once, on the caller's goroutine

	over atomic.Bool // the loop takes no more connections

	taken work // work that was posted before the turn; only the loop uses it

	runner gnetloop.Runner

	pinged, ponged atomic.Int64  // of the watchdog
	changes        atomic.Uint64 // connections that were let in, and that began to end
	published      published
}

// afterInput runs f on the loop after everything that has come on its connections by now was read. It takes three
// turns. The system may have reported the waker's socket, which starts the first turn, before a connection's bytes
// came. Then that socket is listed before the connection, so the second turn may come before these bytes too. For the
// third turn the socket is listed anew, behind them.
func (l *loop) afterInput(f func()) { l.post(func() { l.post(func() { l.post(f) }) }) }

// work is the work of a loop, in three lists, each in order.
type work struct {
	tasks  fifo[task]
	output fifo[*Conn] // connections with output
	bulk   fifo[*Conn] // connections with output from a broadcast: they are many, and wait behind the others
}

func (w *work) empty() bool { return w.tasks.empty() && w.output.empty() && w.bulk.empty() }

// task is a function, or a connection that is let in: there is one for each logon, and it takes no closure.
type task struct {
	f        func()
	conn     *Conn // of admitted, without f
	admitted *Admitted
}

func (t *task) run() {
	if t.f != nil {
		t.f()
		return
	}
	t.conn.guardOnLoop(func() { t.conn.admit(t.admitted) })
}

// fifo is a first-in, first-out list.
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

// refill exchanges an empty list with another list, which gets the memory of this one.
func (q *fifo[T]) refill(from *fifo[T]) {
	if !q.empty() {
		return
	}
	spare := q.items[:0]
	if cap(spare) > 4096 && cap(spare) > 8*len(q.items) { // the large memory was needed once, but not now
		spare = nil
	}
	*q, *from = *from, fifo[T]{items: spare}
}

// post runs f on the loop, soon. When the loop has ended it runs f itself, at once.
func (l *loop) post(f func()) { l.postTask(task{f: f}) }

// take has the loop take a connection in, by f, and waits until it has. The loop must not be the caller's.
func (l *loop) take(f func()) error {
	taken := make(chan bool, 1)
	l.post(func() {
		if l.over.Load() {
			taken <- false
			return
		}
		f()
		taken <- true
	})
	select {
	case ok := <-taken:
		if ok {
			return nil
		}
	case <-l.engine.ended: // the loop is stuck in a handler, and the stop has given up on it
	}
	return errNotRunning
}

func (l *loop) postTask(t task) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		t.run()
		return
	}
	l.posted.tasks.items = append(l.posted.tasks.items, t)
	wake := l.mustWake()
	l.mu.Unlock()
	if wake {
		l.wake()
	}
}

// markOutput has the loop write a connection's output.
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

// mustWake reports whether the loop must be woken for its work. l.mu is held on entry.
func (l *loop) mustWake() bool {
	wake := !l.woken && !l.ended
	l.woken = true
	return wake
}

var wakeByte = []byte{1}

// wake makes the loop run its tasks. It writes a byte to a socket pair and does not use a task of gnet: gnet runs its
// tasks until none is left, so goroutines that send without a pause would keep the loop from reading.
func (l *loop) wake() {
	_, _ = l.waker.Write(wakeByte) // at most one byte is in the socket, so the write cannot block; an ended loop needs no waking
}

// run is a turn: it runs posted tasks and writes queued output, within the limits of a turn. It runs on the loop.
func (l *loop) run() {
	t := &l.taken
	l.mu.Lock()
	t.tasks.refill(&l.posted.tasks)
	t.output.refill(&l.posted.output)
	t.bulk.refill(&l.posted.bulk)
	more := !l.posted.empty() // it waits behind the rest of an earlier turn
	l.woken = false
	l.mu.Unlock()
	if ping := l.pinged.Load(); ping != l.ponged.Load() {
		l.ponged.Store(ping)
		l.tick()
		l.publish()
		if len(l.webs.list) > 0 {
			l.lookAtWebs()
		}
	}
	until, most := clock.Nanoseconds()+int64(l.turn), l.wrote+turnMost
	for n := 0; n < tasksATurn && l.wrote < most && !t.tasks.empty(); n++ {
		task := t.tasks.take()
		l.protect(task.run)
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
	if l.udp != nil {
		l.udp.flush()
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

// writeSome writes to the first connections of a list.
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

// protect recovers a panic in a callback of the application, so that it does not end the process.
func (l *loop) protect(f func()) {
	contain.Call(f, func(v any) {
		if !l.exiting {
			l.engine.panicked("a task", v)
		}
	})
}

// end is called when the loop has ended. It runs the loop's remaining tasks itself, also those that are posted
// meanwhile, so that no other goroutine runs a task of the loop at the same time.
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
			task := l.taken.tasks.take()
			l.protect(task.run)
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
			ev.exited(gc.Context(), recover())
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
		ev.engine.askToStop(errLoopEnded)
	}
	returned = true
	return gnet.None
}

// gnetLogger writes gnet's log lines to the engine's logger. gnet's warnings are normal events for a server, for
// example an event for a connection that was closed meanwhile.
type gnetLogger struct{ *zap.SugaredLogger }

func (g gnetLogger) Warnf(format string, args ...any) { g.Debugf(format, args...) }

func (g gnetLogger) Fatalf(format string, args ...any) { g.Errorf(format, args...) }
