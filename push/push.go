package push

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Service sends messages to the sessions of a bridge, and to pushers. All methods may be called from any goroutine.
type Service struct {
	bridge    *bridge.Bridge
	engine    seam.Engine[*engine.Conn, *engine.SendOptions] // the bridge's
	deviceAt  func(conn uint64) (device uint16, ok bool)     // nil where the user manager cannot tell
	keeps     bool                                           // the user manager tells when a session begins
	cfg       Config
	log       *zap.Logger
	outboxes  outboxes
	kept      bound
	deadlines deadlines
	audiences audiences
	news      news
	crew      crew
	closed    atomic.Bool
	leave     func()                      // ends the subscription
	keeper    atomic.Pointer[seam.Keeper] // nil for none
	counters

	mu      sync.Mutex
	pushers []*registered // never changed once stored: Push goes through it without the lock
}

// Optional methods of a user manager: see usermgr.UserManager.
type (
	subscriber interface {
		Subscribe(usermgr.Events) (unsubscribe func())
	}
)

// New returns a service that delivers to b's sessions and receives their clients' acknowledgements. Call it before the engine runs,
// once for a bridge. It panics for a second call, after Run, for a nil bridge, and for more than one Config. Call Close when the
// service is no longer needed.
func New(b *bridge.Bridge, cfg ...Config) *Service {
	switch {
	case b == nil:
		panic("rollcall: push.New needs a bridge: without one nothing would be delivered")
	case len(cfg) > 1:
		panic("rollcall: push.New takes one Config")
	}
	s := &Service{bridge: b, engine: seam.EngineOf(b.Engine()).(seam.Engine[*engine.Conn, *engine.SendOptions])}
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
	b.Engine().Handle(protocol.TypePushAck, s.acknowledged)
	s.deviceAt = seam.DeviceAtOf(b.Users())
	if m, ok := b.Users().(finder); ok && s.deviceAt == nil {
		s.deviceAt = func(conn uint64) (uint16, bool) {
			i, ok := m.SessionAt(conn)
			return i.Device, ok
		}
	}
	if m, ok := b.Users().(subscriber); ok {
		s.keeps = true
		s.leave = m.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) { s.arrived(&i) }})
	}
	return s
}

// Push sends m to the target's sessions, then calls every pusher in turn, and returns the outcome of each delivery.
//
// It waits for acknowledgements only with Options.Confirm: until every session that got m has acknowledged it or has ended for good,
// or until Options.Timeout or ctx ends. It also waits for sessions whose connections were lost, because their clients may acknowledge
// on the next connection. Without Confirm it blocks only while a pusher blocks, and may be called on an event loop.
//
// Messages to one user leave in the order of the calls of Push and Go. Push gives m an ID and a time where it has none; m must not
// be changed until Push returns. A client that has acknowledged a message does not handle it again when it is pushed again under
// the same ID.
//
// The error joins the pushers' errors. Otherwise it says that nothing was sent: the message or the target is not valid, ctx had
// ended, the service is closed (protocol.ServerStopping), or the user manager lacks a method (errors.ErrUnsupported): Sessions for a target by
// filter, Subscribe for Keep.
func (s *Service) Push(ctx context.Context, to Target, m *Message, o *Options) (Result, error) {
	return s.push(ctx, to, m, o, nil, s.all())
}

// push is Push, to some of a user's sessions, nil for all that the target means, and by these pushers.
func (s *Service) push(ctx context.Context, to Target, m *Message, o *Options, only []*engine.Conn, pushers []*registered) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	c, err := s.newCall(&to, m, o)
	if err != nil {
		return Result{ID: m.ID}, err
	}
	c.only = only
	return s.run(ctx, c, to, pushers)
}

// run is the rest of Push.
func (s *Service) run(ctx context.Context, c *call, to Target, pushers []*registered) (Result, error) {
	waited := make(chan struct{})
	c.waited, c.pushing = waited, len(pushers)
	defer c.abandon()
	s.send(c, to)
	if len(pushers) > 0 {
		own := c.message
		for _, p := range pushers {
			c.add(p.push(ctx, c, to, &own))
			c.pushed()
		}
	}
	c.sent()
	if c.confirm {
		c.wait(waited, ctx)
	}
	return c.result()
}

// Go is Push without waiting. It calls done, unless that is nil, as outcomes become known. Each Result has the deliveries that no
// earlier Result had, so each delivery is reported exactly once; the last Result has Pending 0. The error is the pushers', or the
// reason why nothing was sent. Without Options.Confirm and Keep every outcome is known at once. With them a delivery's outcome is
// known when the session has acknowledged, or has ended for good, or the time is over.
//
// done runs on a goroutine of the service, one call at a time for all messages: while it blocks, other calls of done wait, and
// nothing else. It may call any method but Close. A panic is recovered, logged and counted. m may be changed when Go has returned.
func (s *Service) Go(to Target, m *Message, o *Options, done func(Result, error)) {
	c, err := s.newCall(&to, m, o)
	if err != nil {
		c = &call{service: s, message: Message{ID: m.ID}, async: true, done: done, open: 1, sending: true, failed: err}
		c.sent()
		return
	}
	c.async, c.done = true, done
	defer c.sent()
	pushers := s.all()
	c.pushing = len(pushers)
	s.send(c, to)
	if len(pushers) > 0 {
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
		return nil, errClosed
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
		if _, ok := s.bridge.Users().(usermgr.SessionLister); !ok {
			return nil, fmt.Errorf("rollcall: the user manager has no Sessions, which a filter needs: %w", errors.ErrUnsupported)
		}
	}
	c := &call{service: s, message: *m, confirm: o.Confirm, first: o.First || !o.Confirm, timeout: o.Timeout, keep: max(o.Keep, 0),
		sameDevice: to.Sessions != nil, open: 1, sending: true}
	c.message.Confirm = m.Confirm || c.tracked()
	body, err := system.AppendPush(nil, &c.message)
	if err != nil {
		return nil, err
	}
	c.frame = protocol.Message{Type: protocol.TypePush, Body: body}
	return c, nil
}

// Close ends the service. Deliveries that wait end with protocol.ServerStopping, and Push and Go fail with it from now on. Close waits until the
// last done, and the last pusher of Go's messages, has returned, or until ctx ends. Call it after the engine's Run has returned. In a
// service that is not closed, deliveries wait until their own time is over.
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
