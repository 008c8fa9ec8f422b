package usermgr

// change is something that is to happen to a user.
type change struct {
	run  func(*user)
	next *change // in the queue
}

// queue holds the changes that wait, in a ring: one word, nil for nearly every user, where a slice takes three.
type queue struct{ last *change }

func (q *queue) empty() bool { return q.last == nil }

// add puts c behind all others.
func (q *queue) add(c *change) {
	if q.last == nil {
		c.next = c
	} else {
		c.next, q.last.next = q.last.next, c
	}
	q.last = c
}

// take takes out the first change, nil when there is none.
func (q *queue) take() *change {
	before := q.last
	if before == nil {
		return nil
	}
	return q.takeAfter(before)
}

// remove takes out c, and reports whether it was there.
func (q *queue) remove(c *change) bool {
	before := q.last
	if before == nil {
		return false
	}
	for before.next != c {
		if before = before.next; before == q.last {
			return false
		}
	}
	q.takeAfter(before)
	return true
}

// takeAfter takes out the change that stands behind before, or, behind the last, the first.
func (q *queue) takeAfter(before *change) *change {
	c := before.next
	switch {
	case c == before:
		q.last = nil
	case c == q.last:
		q.last = before
	}
	before.next = c.next
	c.next = nil
	return c
}
