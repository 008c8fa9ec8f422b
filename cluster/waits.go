package cluster

import "time"

// waits are the messages for which the node counts the nodes that have said that they did not deliver them: those that went to several
// nodes, and those whose senders want to know. They are forgotten after a time, because a node that has delivered a message says nothing.
// The node's lock protects them.
type waits struct {
	last  uint64        // ticket
	keep  time.Duration // for how long a message is kept in mind, if that is more than waitFor
	by    map[uint64]*waiting
	order []uint64 // the tickets, the oldest first
}

// waiting is one message.
type waiting struct {
	left        int         // nodes that have not said that they did not deliver it
	undelivered func(error) // nil for none
	since       time.Duration
}

const (
	// waitFor is how long a message is kept in mind at least.
	waitFor = 20 * time.Second
	// waitAfter is how much longer than a logon may take a message is kept in mind that waits for the logon: until then it has come back.
	waitAfter = 10 * time.Second
	// maxWaits limits the messages that are kept in mind.
	maxWaits = 100_000
)

// add returns the ticket of a message that goes to so many nodes.
func (w *waits) add(nodes int, undelivered func(error), now time.Duration) (ticket uint64) {
	w.expire(now)
	if w.by == nil {
		w.by = make(map[uint64]*waiting)
	}
	w.last++
	w.by[w.last] = &waiting{nodes, undelivered, now}
	w.order = append(w.order, w.last)
	return w.last
}

// expire forgets the messages that are too old or too many, and their numbers.
func (w *waits) expire(now time.Duration) {
	for len(w.order) > 0 {
		first, ok := w.by[w.order[0]]
		if ok && now-first.since < max(waitFor, w.keep) && len(w.order) < maxWaits {
			return
		}
		delete(w.by, w.order[0])
		w.order = w.order[1:]
	}
}

// answered notes that one node has not delivered the message. last reports whether it was the last one that might have.
func (w *waits) answered(ticket uint64) (undelivered func(error), last bool) {
	if ticket == 0 {
		return nil, true
	}
	m := w.by[ticket]
	if m == nil {
		return nil, false
	}
	if m.left--; m.left > 0 {
		return nil, false
	}
	delete(w.by, ticket)
	return m.undelivered, true
}
