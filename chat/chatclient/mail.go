package chatclient

import "sync"

// mostWaiting is how many bytes of live messages may wait: for the program, or until what comes before them was read. Of further ones the numbers
// are kept, and History has the messages. Tests set it.
var mostWaiting = 4 << 20

const (
	// mostNotices is how many bytes of notices may wait for the program. Above it the client stops reading.
	mostNotices = 1 << 20
	// overhead is what a message or a notice takes besides its bytes.
	overhead = 256
)

// mail has what other goroutines want the worker to do. Its lock is held for nothing else.
type mail struct {
	awake       chan struct{} // holds a token when there may be something to take
	mostWaiting int           // bytes

	mu      sync.Mutex
	taken   sync.Cond // tasks were taken, or the worker is to end
	tasks   []func()
	notices int                   // bytes of the tasks that are notices
	waiting int                   // bytes of live messages, also of those that the worker has taken and not handed out
	missed  map[Conversation]span // numbers of messages of which only the numbers were kept
	calling bool                  // the worker is in a function of the program's
	over    bool                  // the worker is to end at once

	tickets  uint64                    // how many requests were begun that bring a number
	underWay map[Conversation][]uint64 // those of them that are not answered
}

// span are the lowest and the highest number of some messages.
type span struct{ first, last uint64 }

func (s span) with(seq uint64) span {
	if s.first == 0 || seq < s.first {
		s.first = seq
	}
	s.last = max(s.last, seq)
	return s
}

func (m *mail) init() {
	m.awake, m.mostWaiting = make(chan struct{}, 1), mostWaiting
	m.taken.L = &m.mu
	m.missed, m.underWay = make(map[Conversation]span), make(map[Conversation][]uint64)
}

func (m *mail) wake() {
	select {
	case m.awake <- struct{}{}:
	default:
	}
}

// put adds a task.
func (m *mail) put(do func()) { m.putNotice(0, do) }

// putNotice adds a task that is a notice of so many bytes. It waits while too many wait.
func (m *mail) putNotice(size int, do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for size > 0 && m.notices >= mostNotices && !m.over {
		m.taken.Wait()
	}
	if m.over {
		return
	}
	m.notices += size
	m.tasks = append(m.tasks, do)
	m.wake()
}

// putMessage adds a message, and the task that gets it. If too many bytes wait it keeps the number alone.
func (m *mail) putMessage(of Conversation, seq uint64, size int, do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.over:
		return
	case m.waiting+size > m.mostWaiting:
		m.missed[of] = m.missed[of].with(seq)
	default:
		m.waiting += size
		m.tasks = append(m.tasks, do)
	}
	m.wake()
}

// putNumber notes that a conversation has a message.
func (m *mail) putNumber(of Conversation, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missed[of] = m.missed[of].with(seq)
	m.wake()
}

// free is told that the worker has a live message no more.
func (m *mail) free(size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting -= size
}

// take waits for something to do. It returns false when the worker is to end.
func (m *mail) take() (tasks []func(), missed map[Conversation]span, more bool) {
	for {
		m.mu.Lock()
		if m.over {
			m.mu.Unlock()
			return nil, nil, false
		}
		if len(m.tasks) > 0 || len(m.missed) > 0 {
			tasks, missed = m.tasks, m.missed
			m.tasks, m.missed, m.notices = nil, make(map[Conversation]span), 0
			m.taken.Broadcast()
			m.mu.Unlock()
			return tasks, missed, true
		}
		m.mu.Unlock()
		<-m.awake
	}
}

// end has the worker end, without a further call of the program. It reports whether the worker is in such a call now.
func (m *mail) end() (calling bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	m.taken.Broadcast()
	m.wake()
	return m.calling
}

// setCalling notes that the worker begins a call of the program, or has ended one. It returns false if the call must not begin.
func (m *mail) setCalling(calling bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if calling && m.over {
		return false
	}
	m.calling = calling
	return true
}

// begin is called before a request whose answer has a number of a conversation. The answer and live messages reach the worker by different
// ways: a message that comes after the answer may be there first. With the request in underWay the worker waits for the answer, instead of reading
// History for the number that is missing.
func (m *mail) begin(of Conversation) (ticket uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tickets++
	m.underWay[of] = append(m.underWay[of], m.tickets)
	return m.tickets
}

// ended is called when the answer is in the mail, or there is none.
func (m *mail) ended(of Conversation, ticket uint64, look func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rest []uint64
	for _, t := range m.underWay[of] {
		if t != ticket {
			rest = append(rest, t)
		}
	}
	if m.underWay[of] = rest; len(rest) == 0 {
		delete(m.underWay, of)
	}
	m.tasks = append(m.tasks, look)
	m.wake()
}

// lastTicket returns the ticket that was given last.
func (m *mail) lastTicket() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tickets
}

// isUnderWay reports whether a request for a conversation with a ticket up to upTo is not answered.
func (m *mail) isUnderWay(of Conversation, upTo uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.underWay[of] {
		if t <= upTo {
			return true
		}
	}
	return false
}
