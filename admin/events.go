package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	writeWait      = 10 * time.Second // for each write to a stream
	quietFor       = 15 * time.Second // then the number of the last event is sent, so that a watcher who has gone is found
	authorizeAgain = 30 * time.Second
	// batch is the most events of one write.
	batch = 64
)

// stream is one watcher's connection.
type stream struct {
	*call
	hub     *hub
	watcher *watcher
	control *http.ResponseController
	text    []byte
}

// events answers with events as they come, as a stream of server-sent events. A stream whose client does not keep up leaves events out, and
// says how many.
func (a *Admin) events(c *call) {
	w := &watcher{user: c.param("user"), queue: make(chan event, watcherQueue)}
	if text := c.param("kind"); text != "" {
		w.kinds = make(map[string]bool)
		for kind := range strings.SplitSeq(text, ",") {
			if !slices.Contains(kinds, kind) {
				c.fail(http.StatusBadRequest, "kind must be some of "+strings.Join(kinds, ","))
				return
			}
			w.kinds[kind] = true
		}
	}
	after, unknown := a.hub.number(c.Request.Header.Get("Last-Event-ID"))
	before, last, missed, ok := a.hub.join(w, after)
	if !ok {
		c.ResponseWriter.Header().Set("Retry-After", "10")
		c.fail(http.StatusServiceUnavailable, "too many pages watch the events")
		return
	}
	defer a.hub.leave(w)
	h := c.ResponseWriter.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // for nginx
	s := &stream{call: c, hub: &a.hub, watcher: w, control: http.NewResponseController(c.ResponseWriter)}
	s.text = append(s.text, "retry: 2000\n\n"...)
	if missed || unknown {
		s.text = append(s.text, "event: missed\ndata: {\"leftOut\":0}\n\n"...)
	}
	for i := range before {
		s.append(&before[i])
	}
	s.appendNumber(last)
	if s.flush() == nil {
		s.run(a)
	}
}

// run sends events until the client has gone or may not watch any more.
func (s *stream) run(a *Admin) {
	quiet, again := time.NewTicker(quietFor), time.NewTicker(authorizeAgain)
	defer quiet.Stop()
	defer again.Stop()
	for {
		select {
		case <-s.Context().Done():
			return
		case <-a.ended:
			return
		case <-again.C:
			if _, may := a.cfg.Authorize(s.Request); may < View {
				return
			}
		case <-quiet.C:
			if n, ok := s.hub.lastFor(s.watcher); ok {
				s.appendNumber(n)
			}
		case e := <-s.watcher.queue:
			s.append(&e)
			s.drain()
			quiet.Reset(quietFor)
		}
		if len(s.text) > 0 && s.flush() != nil {
			return
		}
	}
}

// drain takes what waits, up to a batch, and says what did not fit.
func (s *stream) drain() {
	for range batch - 1 {
		select {
		case e := <-s.watcher.queue:
			s.append(&e)
			continue
		default:
		}
		break
	}
	if n := s.hub.tookLeftOut(s.watcher); n > 0 {
		s.text = fmt.Appendf(s.text, "event: missed\ndata: {\"leftOut\":%d}\n\n", n)
	}
}

func (s *stream) append(e *event) {
	s.text = fmt.Appendf(s.text, "id: %s-%d\ndata: %s\n\n", s.hub.epoch, e.n, e.text)
}

// appendNumber tells the client to go on after n, without an event: nothing that it wants has come since the last one.
func (s *stream) appendNumber(n uint64) {
	s.text = fmt.Appendf(s.text, "id: %s-%d\n\n", s.hub.epoch, n)
}

func (s *stream) flush() error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeWait)) // a writer without deadlines is a test's
	_, err := s.ResponseWriter.Write(s.text)
	s.text = s.text[:0]
	if err == nil {
		err = s.control.Flush()
	}
	return err
}

// number returns the number in a Last-Event-ID, or nil; unknown says that the ID is none of this Admin's.
func (h *hub) number(id string) (n *uint64, unknown bool) {
	if id == "" {
		return nil, false
	}
	text, ok := strings.CutPrefix(id, h.epoch+"-")
	v, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil {
		return nil, true
	}
	return &v, false
}
