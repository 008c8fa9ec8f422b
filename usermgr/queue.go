package usermgr

// task is something that is to happen to a user, in turn. run does not block, but for event handlers; the task lasts until
// passOn is called, which may be later and on another goroutine.
type task struct {
	run  func(*user)
	next *task // in the queue
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

// queue holds the tasks that wait, in a ring: one word, nil for nearly every user, where a slice takes three.
type queue struct{ last *task }

func (q *queue) empty() bool { return q.last == nil }

// add puts t behind all others.
func (q *queue) add(t *task) {
	if q.last == nil {
		t.next = t
	} else {
		t.next, q.last.next = q.last.next, t
	}
	q.last = t
}

// take takes out the first task, nil when there is none.
func (q *queue) take() *task {
	before := q.last
	if before == nil {
		return nil
	}
	return q.takeAfter(before)
}

// remove takes out t, and reports whether it was there.
func (q *queue) remove(t *task) bool {
	before := q.last
	if before == nil {
		return false
	}
	for before.next != t {
		if before = before.next; before == q.last {
			return false
		}
	}
	q.takeAfter(before)
	return true
}

// takeAfter takes out the task that stands behind before, or, behind the last, the first.
func (q *queue) takeAfter(before *task) *task {
	t := before.next
	switch {
	case t == before:
		q.last = nil
	case t == q.last:
		q.last = before
	}
	before.next = t.next
	t.next = nil
	return t
}
