package chat

import (
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// lanes have the clients' requests that are not answered yet. A user's requests begin in their order, one when the one before has been answered
// or is with a writer, and those of several users run side by side.
type lanes struct {
	service *Service
	mu      sync.Mutex
	of      map[string]*lane
	waiting int // requests
	bytes   int // of their bodies
	closed  bool
	idle    chan struct{} // closed when closed is set and no request waits
}

// lane has a user's requests.
type lane struct {
	todo        []*request // that have not begun
	runs        bool       // a goroutine takes them
	outstanding int        // requests that are not answered
}

// errStopping is what the program is told. A code about connections cannot answer a client's request: a client is told errClosing, so that it
// sends the request again, to this server's successor.
var (
	errStopping = protocol.Errorf(protocol.ServerStopping, "chat is ending")
	errClosing  = error(&protocol.CloseError{Code: protocol.Busy, Text: "chat is ending", Info: map[string]string{protocol.FieldRetryMS: "1000"}})
)

func (l *lanes) init(s *Service) {
	l.service, l.of, l.idle = s, make(map[string]*lane), make(chan struct{})
}

// put has a request run after the user's others, or returns why it is refused.
func (l *lanes) put(r *request) error {
	limits := &l.service.cfg.Limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosing
	}
	of := l.of[r.user]
	if of == nil {
		of = &lane{}
	}
	if of.outstanding >= mostPerUser || l.waiting >= limits.Queue || l.bytes+len(r.body) > limits.QueueBytes {
		l.service.busy.Add(1)
		return l.service.errBusy(l.waiting)
	}
	l.of[r.user] = of
	of.outstanding++
	l.waiting++
	l.bytes += len(r.body)
	of.todo = append(of.todo, r)
	if !of.runs {
		of.runs = true
		go l.run(of, r.user)
	}
	return nil
}

// run is the goroutine of a lane. It ends when no request is left that has not begun.
func (l *lanes) run(of *lane, user string) {
	for {
		l.mu.Lock()
		if len(of.todo) == 0 {
			of.runs = false
			l.drop(of, user)
			l.mu.Unlock()
			return
		}
		r := of.todo[0]
		of.todo[0] = nil
		of.todo = of.todo[1:]
		l.mu.Unlock()
		r.perform()
	}
}

// answered notes that a request has been answered.
func (l *lanes) answered(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.of[r.user]
	of.outstanding--
	l.waiting--
	l.bytes -= len(r.body)
	l.drop(of, r.user)
	if l.closed && l.waiting == 0 {
		close(l.idle)
	}
}

// drop forgets a lane that has nothing to do.
func (l *lanes) drop(of *lane, user string) {
	if !of.runs && of.outstanding == 0 {
		delete(l.of, user)
	}
}

func (l *lanes) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// close has further requests refused, and waits until the others are answered.
func (l *lanes) close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		if l.waiting == 0 {
			close(l.idle)
		}
	}
	l.mu.Unlock()
	<-l.idle
}

// errBusy refuses a request because too many wait. It says to come back when those may have been served.
func (s *Service) errBusy(waiting int) error {
	pause := min(max(2*time.Duration(waiting)*time.Duration(s.perPost.Load()), 50*time.Millisecond), 5*time.Second) // one slow batch says little
	return &protocol.CloseError{Code: protocol.Busy, Text: "too many requests wait",
		Info: map[string]string{protocol.FieldRetryMS: strconv.FormatInt(pause.Milliseconds(), 10)}}
}
