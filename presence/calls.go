package presence

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
)

// calls are the calls of methods of Store and Contacts. The presence goroutine starts them, and gets their outcomes.
type calls struct {
	service *Service
	stuck   int  // calls that were given up and have not returned
	own     pool // the store's records of users who have come or changed
	tell    pool // Watchers, and Watched after a change
	ask     pool // what clients wait for
}

// pool bounds how many calls of a kind run at a time.
type pool struct {
	most, busy int
	waiting    []func()
}

const (
	mostOwn  = 4
	mostTell = 16
	mostAsk  = 16
	// mostStuck is how many calls that were given up may still run: a method that never returns costs a bounded number of goroutines.
	mostStuck = 256
)

var (
	errStuck     = errors.New("too many calls before have not returned")
	errNoOutcome = errors.New("the call has not returned in time")
)

func (c *calls) init(s *Service) {
	c.service = s
	c.own.most, c.tell.most, c.ask.most = mostOwn, mostTell, mostAsk
}

// start runs begin when fewer than most calls run.
func (p *pool) start(begin func()) {
	if p.busy == p.most {
		p.waiting = append(p.waiting, begin)
		return
	}
	p.busy++
	begin()
}

// free is called when a call is over or was given up.
func (p *pool) free() {
	if len(p.waiting) == 0 {
		p.busy--
		return
	}
	next := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	next()
}

// call calls f, which is code of the application, on a goroutine of its own, and then over on the presence goroutine: with what f has
// returned, or with an error when f has panicked or has not returned in time. The error is logged and counted.
func call[T any](s *Service, p *pool, what string, f func(ctx context.Context) (T, error), over func(T, error)) {
	p.start(func() {
		ctx, cancel := s.callContext()
		c := &oneCall[T]{service: s, pool: p, what: what, over: over}
		if s.calls.stuck >= mostStuck {
			cancel()
			s.inbox.put(func() { c.end(c.value, errStuck) })
			return
		}
		stop := context.AfterFunc(ctx, func() { s.inbox.put(c.giveUp) })
		s.crew.Go(func() {
			var v T
			err := errNoOutcome
			defer func() { // also when f has called runtime.Goexit
				stop()
				cancel()
				s.inbox.put(func() { c.returned(v, err) })
			}()
			contain.Call(func() { v, err = f(ctx) }, func(why any) { err = contain.Error(what, why) })
		})
	})
}

// callContext returns the context of a call.
func (s *Service) callContext() (context.Context, context.CancelFunc) {
	if s.cfg.StoreTimeout < 0 {
		return context.WithCancel(s.ctx)
	}
	return context.WithTimeout(s.ctx, s.cfg.StoreTimeout)
}

// oneCall is a call that was started.
type oneCall[T any] struct {
	service *Service
	pool    *pool
	what    string
	over    func(T, error)
	value   T // zero
	state   callState
}

type callState uint8

const (
	callRuns callState = iota
	callOver
	callStuck // given up, and has not returned
)

func (c *oneCall[T]) returned(v T, err error) {
	if c.state == callStuck {
		c.service.calls.stuck--
		return
	}
	c.end(v, err)
}

func (c *oneCall[T]) giveUp() {
	if c.state == callRuns {
		c.end(c.value, errNoOutcome)
		c.state = callStuck
		c.service.calls.stuck++
	}
}

func (c *oneCall[T]) end(v T, err error) {
	c.state = callOver
	if err != nil {
		c.service.failures.Add(1)
		c.service.log.Warn("presence: a call has failed", zap.String("call", c.what), zap.Error(err))
	}
	c.pool.free()
	c.over(v, err)
}

// retry calls f on the presence goroutine after a pause that grows with the failures in a row.
func (s *Service) retry(failures *uint8, f func()) {
	s.after(min(100*time.Millisecond<<*failures, 30*time.Second), f)
	*failures = min(*failures+1, 10)
}
