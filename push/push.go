package push

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Service sends messages to the sessions of a bridge, and to pushers. All methods may be called from any goroutine.
type Service struct {
	bridge    *bridge.Bridge
	devices   deviceFinder // nil where the user manager cannot tell
	keeps     bool         // the user manager tells when a session begins
	cfg       Config
	log       *zap.Logger
	outboxes  outboxes
	kept      bound
	deadlines deadlines
	audiences audiences
	news      news
	crew      crew
	closed    atomic.Bool
	leave     func() // ends the subscription
	counters

	mu      sync.Mutex
	pushers []*registered // never changed once stored: Push goes through it without the lock
}

// What a user manager may have besides, see usermgr.UserManager.
type (
	deviceFinder interface {
		DeviceAt(conn uint64) (device uint16, ok bool)
	}
	subscriber interface {
		Subscribe(usermgr.Events) (unsubscribe func())
	}
)

// New returns a service that delivers to b's sessions, and from now on takes their clients' acknowledgements. Call it before
// the engine runs, once for a bridge, or it panics; it also panics for a nil bridge, which would deliver nothing. At most
// one Config may be given. Call Close when done with the service.
func New(b *bridge.Bridge, cfg ...Config) *Service {
	switch {
	case b == nil:
		panic("rollcall: push.New needs a bridge: without one nothing would be delivered")
	case len(cfg) > 1:
		panic("rollcall: push.New takes one Config")
	}
	s := &Service{bridge: b}
	if len(cfg) == 1 {
		s.cfg = cfg[0]
	}
	s.cfg.setDefaults()
	s.log = logging.OrDefault(s.cfg.Logger)
	s.kept.limit = s.cfg.MaxTotalBytes
	s.outboxes.service = s
	s.deadlines.expire = s.expire
	s.news.service = s
	s.leave = func() {}
	b.Engine().HandleSystem(protocol.TypePushAck, s.acknowledged)
	s.devices, _ = b.Users().(deviceFinder)
	if m, ok := b.Users().(subscriber); ok {
		s.keeps = true
		s.leave = m.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) { s.arrived(i.UserID) }})
	}
	return s
}

// Push sends m to the target's sessions, then asks every pusher in turn, and returns what became of each delivery. It waits
// for acknowledgements with Options.Confirm alone: until every session that got m has acknowledged it or has ended for good,
// or until Options.Timeout or ctx ends. A session that was lost is waited for: its client may acknowledge on its next
// connection. Without Confirm it does not block, unless a pusher does, and may be called on an event loop.
//
// Messages to one user leave in the order of the calls of Push and Go. m gets an ID and a time where it has none, and must not
// be changed until Push returns. A message that is pushed again with its ID is dealt with once by a client that has
// acknowledged it.
//
// The error joins those of the pushers; or else nothing was sent, since the message or the target is not valid, ctx had
// ended, the service is closed (ErrClosed), or the user manager cannot do what is asked (errors.ErrUnsupported: a target by
// filter needs its method Matching, and Keep its method Subscribe).
func (s *Service) Push(ctx context.Context, to Target, m *Message, o *Options) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	c, err := s.newCall(&to, m, o)
	if err != nil {
		return Result{ID: m.ID}, err
	}
	waited := make(chan struct{})
	c.waited = waited
	defer c.abandon()
	s.send(c, to)
	if pushers := s.all(); len(pushers) > 0 {
		own := c.message
		for _, p := range pushers {
			c.add(p.push(ctx, s, to, &own))
		}
	}
	c.sent()
	if c.confirm {
		c.wait(waited, ctx)
	}
	return c.result()
}

// Go is Push that never waits. It calls done, unless that is nil, with each delivery as it becomes known: a
// Result has those deliveries that were not told before, each is told exactly once, and the last call has Pending 0. The
// error is that of pushers, or why nothing was sent. Without Options.Confirm and Keep all is known at once; otherwise when
// the session has acknowledged, or has ended for good, or the time is over.
//
// done runs on the service's own goroutine, one call at a time for all messages: one that blocks holds up what others are to
// be told, and nothing else. It may call any method but Close. A panic is recovered, logged and counted. m may be changed when
// Go returns.
func (s *Service) Go(to Target, m *Message, o *Options, done func(Result, error)) {
	c, err := s.newCall(&to, m, o)
	if err != nil {
		c = &call{service: s, message: Message{ID: m.ID}, async: true, done: done, open: 1, sending: true, failed: err}
		c.sent()
		return
	}
	c.async, c.done = true, done
	defer c.sent()
	s.send(c, to)
	if pushers := s.all(); len(pushers) > 0 {
		own, to := clone(&c.message), to.clone()
		for _, p := range pushers {
			p.later(c, to, own)
		}
	}
}

// newCall checks what is to be pushed, completes it, and encodes it.
func (s *Service) newCall(to *Target, m *Message, o *Options) (*call, error) {
	if o == nil {
		o = &Options{}
	}
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if err := complete(m); err != nil {
		return nil, err
	}
	if err := to.check(); err != nil {
		return nil, err
	}
	if o.Keep > 0 && !s.keeps {
		return nil, fmt.Errorf("rollcall: the user manager has no Subscribe, which Keep needs: %w", errors.ErrUnsupported)
	}
	if to.Sessions != nil {
		if _, ok := s.bridge.Users().(matcher); !ok {
			return nil, fmt.Errorf("rollcall: the user manager has no Matching, which a filter needs: %w", errors.ErrUnsupported)
		}
	}
	c := &call{service: s, message: *m, confirm: o.Confirm, first: o.First || !o.Confirm, timeout: o.Timeout, keep: max(o.Keep, 0),
		sameDevice: to.Sessions != nil, open: 1, sending: true}
	c.message.Confirm = m.Confirm || c.tracked()
	body, err := protocol.AppendPush(nil, &c.message)
	if err != nil {
		return nil, err
	}
	c.frame = protocol.Message{Type: protocol.TypePush, Body: body}
	return c, nil
}

// Close ends the service: what waits is told ErrClosed, Push and Go return it from now on, and Close waits until the last done
// has returned, and the last pusher of Go's messages, or until ctx ends. Call it when the engine's Run has returned; a
// service that is not closed gives up on what waits when its time is over.
func (s *Service) Close(ctx context.Context) error {
	s.closed.Store(true)
	s.leave()
	for _, b := range s.outboxes.all() {
		b.giveUp()
	}
	s.deadlines.stop()
	s.audiences.stop()
	defer logging.End(s.log)
	return s.crew.wait(ctx)
}
