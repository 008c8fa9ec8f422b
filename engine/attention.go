package engine

import (
	"time"
)

// The loop looks at a connection with a backlog when its socket can be written to (the system tells on Linux:
// writable_linux.go), and also after a wait, to see whether the peer takes anything and to count. The wait doubles
// while nothing moves, so that many clients that take nothing cost little.

const (
	// attendInterval is the shortest wait until the next look, and the interval between looks at the connections that
	// are due.
	attendInterval = 5 * time.Millisecond
	// waits is the number of different waits: 5 ms, 10 ms and so on, up to 1.28 s.
	waits    = 9
	lastWait = waits - 1
	// untoldWait is the longest wait where the system does not tell when a socket can be written to: 80 ms.
	untoldWait = 4
	// looksATurn is how many connections a loop looks at before it reads again.
	looksATurn = 64
)

// attention holds the connections that a loop is to look at, in one list for each wait. All connections of a list wait
// equally long, so the first one is due first.
type attention struct {
	lists [waits]dueList
	first int8 // the shortest wait
	last  int8 // the longest
	bytes int  // bytes that wait for all of them, as last seen
	timer *time.Timer
	armed time.Time // when the timer fires; zero when it does not
}

type dueList struct {
	conns []dueConn
	head  int // the items before it were looked at
}

type dueConn struct {
	conn *Conn
	at   time.Time
}

func (d *dueList) push(c dueConn) {
	if d.head > 0 && d.head == len(d.conns) {
		d.conns, d.head = d.conns[:0], 0
		if cap(d.conns) > 4096 {
			d.conns = nil
		}
	} else if d.head > 1024 && d.head > len(d.conns)/2 {
		n := copy(d.conns, d.conns[d.head:])
		clear(d.conns[n:])
		d.conns, d.head = d.conns[:n], 0
	}
	d.conns = append(d.conns, c)
}

// due takes the first connection whose time has come.
func (d *dueList) due(now time.Time) *Conn {
	if d.head == len(d.conns) || d.conns[d.head].at.After(now) {
		return nil
	}
	c := d.conns[d.head].conn
	d.conns[d.head] = dueConn{}
	d.head++
	return c
}

// setWaits sets the shortest and the longest wait between two looks at a connection. Timeouts.Write needs several looks
// within it; a system that does not tell when a socket can be written to needs more.
func (a *attention) setWaits(writeTimeout time.Duration, told bool) {
	a.last = lastWait
	for a.last > 0 && attendInterval<<a.last > writeTimeout/(stallLooks*3/4) {
		a.last--
	}
	a.first = a.last
	if !told {
		a.first, a.last = 0, min(a.last, untoldWait)
	}
}

// attend has the loop look at a connection with a backlog: as soon as its socket can be written to, and after its wait. It runs
// on the loop.
func (l *loop) attend(c *Conn) {
	if c.gone {
		return
	}
	b := c.behind()
	l.show(b, c.waiting())
	if b.told = c.sock().awaitRoom(c); !b.told {
		b.wait = min(b.wait, untoldWait)
	}
	if !c.is(isAttended) {
		l.lookLater(c, b)
	}
}

// lookLater has the loop look at a connection with a backlog after its wait.
func (l *loop) lookLater(c *Conn, b *backlog) {
	c.flags |= isAttended
	a := &l.attention
	b.wait = min(b.wait, a.last)
	at := time.Now().Add(attendInterval << b.wait)
	a.lists[b.wait].push(dueConn{c, at})
	l.attendAt(at)
}

func (l *loop) firstWait() int8 { return l.attention.first }

// show counts what waits for a connection with a backlog.
func (l *loop) show(b *backlog, n int) {
	l.attention.bytes += n - b.shown
	b.shown = n
	l.published.outboundQueue.Store(int64(l.attention.bytes))
}

// attendAt has the loop look at the connections that are due then, or before.
func (l *loop) attendAt(at time.Time) {
	a := &l.attention
	if !a.armed.IsZero() && !at.Before(a.armed) {
		return
	}
	a.armed = at
	wait := max(time.Until(at), attendInterval)
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, func() { l.post(l.lookAfter) })
		return
	}
	a.timer.Reset(wait)
}

// lookAfter looks at the connections that are due, at most looksATurn of them; then the loop reads again.
func (l *loop) lookAfter() {
	a := &l.attention
	a.armed = time.Time{}
	now, most := time.Now(), l.wrote+turnMost
	looks := 0
	for i := range a.lists {
		for {
			c := a.lists[i].due(now)
			if c == nil {
				break
			}
			c.flags &^= isAttended
			c.guardOnLoop(c.look)
			if l.short.Load() {
				l.freeOverBudget(freesBetween)
			}
			if looks++; looks == looksATurn || l.wrote >= most {
				l.post(l.lookAfter)
				return
			}
		}
	}
	for i := range a.lists {
		if d := &a.lists[i]; d.head < len(d.conns) {
			l.attendAt(d.conns[d.head].at)
		}
	}
}

// waiting returns how many bytes wait to be sent.
func (c *Conn) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waitsToBeSent()
}

// waitsToBeSent is waiting with c.mu held on entry.
func (c *Conn) waitsToBeSent() int {
	n := int(c.unsent)
	if c.out != nil {
		n += c.out.waits()
	}
	return n
}
