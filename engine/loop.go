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

// attendInterval is how often a loop looks at connections whose peers do not keep up.
const attendInterval = 5 * time.Millisecond

// loop is one event loop: a goroutine of gnet's, with what we want done on it.
type loop struct {
	engine   *Engine
	gnetLoop gnet.EventLoop
	waker    net.Conn    // a byte written here makes the loop run its tasks
	short    atomic.Bool // there is excess; here, where nobody else writes often: it is looked at after each connection
	clock    clock.Clock // counts the time in which the loop looked at its connections

	// The loop's own.
	msg       protocol.Message // the message being delivered
	current   *Conn            // the connection whose messages are being delivered, or nil
	batch     outBuf           // replies to the messages of the read at hand
	room      int              // bytes that batch.b may hold before reply must be asked; 0 when protocol.Binary is not the codec
	maxBody   int              // of a reply that need not be asked for
	attention []*Conn          // connections to look at in a while
	working   bool             // process runs, and has not come to its end
	exiting   bool             // a Goexit is under way, and its connection was dealt with
	openBuf   []byte           // for decrypted bytes; nil while it is in use
	sealBuf   []byte           // for encrypted ones, likewise
	in, out   Traffic

	mu       sync.Mutex
	tasks    []func()
	output   []*Conn // connections with output
	excess   []*Conn // connections that are over the memory budget, for free
	woken    bool
	ended    bool
	attender *time.Timer

	spareTasks  []func()
	spareOutput []*Conn
	tasksLeft   []func() // of run
	outputLeft  []*Conn

	runner gnetloop.Runner

	pinged, ponged atomic.Int64 // of the watchdog
	published      published
}

// afterInput runs f on the loop, behind all that has come on its connections by now: what is known when f runs is what the
// clients have said, not what the loop has come to. It takes two turns: the task that is first may run in a turn that began
// before a connection's bytes came, and the second one cannot, since the system tells of sockets in the order in which
// they had something.
func (l *loop) afterInput(f func()) { l.post(func() { l.post(f) }) }

// post runs f on the loop, soon; at once, here, when the loop has ended.
func (l *loop) post(f func()) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		f()
		return
	}
	l.tasks = append(l.tasks, f)
	wake := l.mustWake()
	l.mu.Unlock()
	if wake {
		l.wake()
	}
}

// markOutput has the loop hand the connections' queues to gnet.
func (l *loop) markOutput(conns ...*Conn) {
	l.mu.Lock()
	l.output = append(l.output, conns...)
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

// run runs what was posted and writes what was queued. It runs on the loop.
func (l *loop) run() {
	l.mu.Lock()
	tasks, output := l.tasks, l.output
	l.tasks, l.output = l.spareTasks[:0], l.spareOutput[:0]
	l.woken = false
	l.mu.Unlock()
	if ping := l.pinged.Load(); ping != l.ponged.Load() {
		l.ponged.Store(ping)
		l.clock.Tick()
		l.publish()
	}
	l.tasksLeft, l.outputLeft = tasks, output // which a task that ends the goroutine leaves
	for i, f := range tasks {
		tasks[i], l.tasksLeft = nil, tasks[i+1:]
		l.protect(f)
	}
	for i, c := range output {
		output[i], l.outputLeft = nil, output[i+1:]
		c.guardOnLoop(c.flush)
		if l.short.Load() {
			l.relieve()
		}
	}
	l.spareTasks, l.spareOutput = tasks, output
	if cap(tasks) > 4096 {
		l.spareTasks = nil
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

// attend puts a connection on the list of those to look at in a while. It runs on the loop.
func (l *loop) attend(c *Conn) {
	if c.is(isAttended) || c.gone {
		return
	}
	c.flags |= isAttended
	l.attention = append(l.attention, c)
	if len(l.attention) == 1 {
		l.attendLater()
	}
}

func (l *loop) attendLater() {
	if l.attender == nil {
		l.attender = time.AfterFunc(attendInterval, func() { l.post(l.lookAfter) })
		return
	}
	l.attender.Reset(attendInterval)
}

// lookAfter looks at the connections whose peers did not keep up.
func (l *loop) lookAfter() {
	looking := l.attention
	l.attention = nil
	queued := 0
	for _, c := range looking {
		c.flags &^= isAttended
		c.flushBound() // does nothing but look while gnet holds bytes
		if !c.is(isAttended) && c.state.Load() == stateClosing {
			c.guardOnLoop(c.drain) // not shutWrite: the notice may have been queued since
		}
		if c.is(isAttended) {
			queued += c.waiting()
		}
		if l.short.Load() {
			l.relieve()
		}
	}
	l.published.outboundQueue.Store(int64(queued))
}

// waiting returns how many bytes wait to be sent, as the loop last saw it.
func (c *Conn) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int(c.unsent)
	if c.out != nil {
		n += c.out.waits()
	}
	return n
}

// end says that the loop runs nothing any more, and runs here what it has left undone.
func (l *loop) end() {
	l.mu.Lock()
	l.ended = true
	tasks := l.tasks
	l.tasks, l.output = nil, nil
	l.mu.Unlock()
	l.publish()
	l.published.outboundQueue.Store(0)
	for _, f := range tasks {
		l.protect(f)
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
		v.run()
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
