package usermgr

// task is a change of a user, in turn. In run only event handlers may block. The task lasts until passOn is called,
// which may be later and on another goroutine.
type task struct {
	run func(*user)
	// ends says that the task only ends existing sessions. Such a task may run while the turn is lent, before others.
	ends bool
	// The neighbours in the queue; nil when the task is in none.
	next, prev *task
}

// soon returns a task that is over when f returns.
func soon(f func(*user)) *task {
	return &task{run: func(u *user) {
		f(u)
		u.passOn()
	}}
}

// handOver returns a task that gives the turn to a goroutine that waits for it.
func handOver() (t *task, turn <-chan struct{}) {
	c := make(chan struct{})
	return &task{run: func(*user) { close(c) }}, c
}

// finishing returns a task that finishes s after its cause was recorded.
func finishing(s *session) *task { return &task{ends: true, run: func(u *user) { u.finish(s, nil) }} }

// queue holds the waiting tasks in a ring. It takes one word, which is nil for nearly every user; a slice would take
// three.
type queue struct{ last *task }

func (q *queue) empty() bool { return q.last == nil }

// add puts t behind all others.
func (q *queue) add(t *task) {
	if q.last == nil {
		t.next, t.prev = t, t
	} else {
		t.next, t.prev = q.last.next, q.last
		t.prev.next, t.next.prev = t, t
	}
	q.last = t
}

// take removes and returns the first task; nil when there is none.
func (q *queue) take() *task {
	if q.last == nil {
		return nil
	}
	t := q.last.next
	q.remove(t)
	return t
}

// firstEnd returns the first task that only ends sessions; nil when there is none.
func (q *queue) firstEnd() *task {
	if q.last == nil {
		return nil
	}
	for t := q.last.next; ; t = t.next {
		if t.ends {
			return t
		}
		if t == q.last {
			return nil
		}
	}
}

// remove removes t, and reports whether t was in the queue. Its time does not depend on the length of the queue,
// because thousands of logons of one user may give up at once, one after another under one lock.
func (q *queue) remove(t *task) bool {
	if t.next == nil {
		return false
	}
	switch {
	case t.next == t:
		q.last = nil
	case t == q.last:
		q.last = t.prev
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
	return true
}
