package usermgr

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// Events are the functions that the manager calls for a subscriber. Each may be nil.
//
// Events of one user come one at a time, in the order in which they took effect, in the user's turn. A handler may block and may call
// any method of the manager; only its own user waits for it. A handler that waits for a change of its own user waits until the
// context ends. A panic is recovered, logged and counted, and so is runtime.Goexit, which t.FailNow calls.
type Events struct {
	// Online: a user's first session begins; its Connected follows. The user stays online until Offline. In a cluster it is the user's first
	// session on any node, and the event comes on its node alone.
	Online func(u UserData)
	// Offline: a user's last session has ended, and Config.OfflineGrace, where it is set, has passed. It comes after the
	// session's Disconnected. u has the counters of all sessions since Online, and no sessions.
	Offline func(u UserData)
	// Left: the user has left this manager, as Offline says it of one manager alone; Offline follows. In a cluster the user may still be
	// online on other nodes, and Offline comes on one node, when the user is online on none. u is as Offline has it without a cluster.
	Left func(u UserData)
	// Connected: a session has begun. Its handlers return before the session's first message is delivered.
	Connected func(s SessionInfo)
	// PushedOut: the user logged on again from another connection, and this session may not live beside the new one. The old
	// session's last message handler has returned. Its connection is still open and accepts messages, and lookups still return
	// it. Disconnected follows.
	PushedOut func(old SessionInfo, by Address)
	// Ignored: the user is online, and a second logon from another connection was refused (IgnoreNew).
	Ignored func(userID string, by Address)
	// TimedOut: nothing has come from the client for longer than the heartbeat timeout. Disconnected follows.
	TimedOut func(s SessionInfo)
	// Expired: nothing but heartbeats has come from the client for Config.IdleTimeout. Disconnected follows.
	Expired func(s SessionInfo)
	// Tagged: SetSessionTag has changed the session's tag; old is the tag before.
	Tagged func(s SessionInfo, old string)
	// UserTagged: SetTag has changed the user's tag; old is the tag before.
	UserTagged func(u UserData, old string)
	// Disconnected: the session has ended. s has its final counters, and no event of the session follows. Every Connected is
	// followed by exactly one Disconnected. It does not wait for the socket to close.
	Disconnected func(s SessionInfo, why protocol.CloseCode)
	// UserCountChanged: online is the number of users who are online now. It runs on one goroutine of its own. While a handler
	// runs, further changes are combined into the next call; the last call has the true number.
	UserCountChanged func(online int)
}

// subscriber is a set of handlers.
type subscriber struct {
	Events
	trusted bool // see seam.SubscribeTrusted
}

func init() {
	seam.SubscribeTrusted = func(users, events any) func() {
		if m, ok := users.(*Manager); ok {
			return m.subscribe(&subscriber{events.(Events), true})
		}
		return users.(interface {
			Subscribe(Events) (unsubscribe func())
		}).Subscribe(events.(Events))
	}
}

// Subscribe adds a set of handlers and returns the function that removes it again. Subscribers are called in the order in which they
// subscribed. An event that is being delivered may still reach a subscriber that was just removed.
func (m *Manager) Subscribe(h Events) (unsubscribe func()) {
	return m.subscribe(&subscriber{Events: h})
}

func (m *Manager) subscribe(added *subscriber) (unsubscribe func()) {
	m.updateSubscribers(func(all []*subscriber) []*subscriber { return append(all, added) })
	return func() {
		m.updateSubscribers(func(all []*subscriber) []*subscriber {
			return slices.DeleteFunc(all, func(o *subscriber) bool { return o == added })
		})
	}
}

func (m *Manager) updateSubscribers(update func([]*subscriber) []*subscriber) {
	m.subscribing.Lock()
	defer m.subscribing.Unlock()
	var all []*subscriber
	if p := m.subscribers.Load(); p != nil {
		all = slices.Clone(*p)
	}
	all = update(all)
	m.subscribers.Store(&all)
}

// tells reports whether a subscriber has a handler for the event. Ask it first, to save the allocations for each.
func (m *Manager) tells(event string) bool {
	if subscribers := m.subscribers.Load(); subscribers != nil {
		for _, h := range *subscribers {
			if h.has(event) {
				return true
			}
		}
	}
	return false
}

// each calls f for every subscriber that has a handler for the event. After a panic of one the others still run.
func (m *Manager) each(event string, f func(*Events)) {
	subscribers := m.subscribers.Load()
	if subscribers == nil {
		return
	}
	for _, h := range *subscribers {
		if h.has(event) {
			c := eventCalls.Get().(*eventCall)
			c.f = f
			m.protect(c, event, h)
		}
	}
}

// eachOf is each for an event of a session, which is described anew for each handler. That happens here: the stack of the goroutine on which
// a handler runs would have to grow for it.
func (m *Manager) eachOf(event string, s *session, f func(*Events, *SessionInfo)) {
	subscribers := m.subscribers.Load()
	if subscribers == nil {
		return
	}
	for _, h := range *subscribers {
		if h.has(event) {
			c := eventCalls.Get().(*eventCall)
			c.info, c.of = s.user.info(s), f
			m.protect(c, event, h)
		}
	}
}

// has reports whether there is a handler for the event.
func (h *Events) has(event string) bool {
	switch event {
	case "Online":
		return h.Online != nil
	case "Offline":
		return h.Offline != nil
	case "Left":
		return h.Left != nil
	case "Connected":
		return h.Connected != nil
	case "PushedOut":
		return h.PushedOut != nil
	case "Ignored":
		return h.Ignored != nil
	case "TimedOut":
		return h.TimedOut != nil
	case "Expired":
		return h.Expired != nil
	case "Tagged":
		return h.Tagged != nil
	case "UserTagged":
		return h.UserTagged != nil
	case "Disconnected":
		return h.Disconnected != nil
	case "UserCountChanged":
		return h.UserCountChanged != nil
	}
	return true
}

// protect calls a handler, on a goroutine of its own unless it is trusted.
func (m *Manager) protect(c *eventCall, event string, h *subscriber) {
	c.manager, c.event, c.handlers = m, event, &h.Events
	if h.trusted {
		contain.Call(c.run, c.failed)
	} else {
		contain.Apart(c.run, c.failed)
	}
	c.manager, c.handlers, c.f, c.of, c.info = nil, nil, nil, nil, SessionInfo{}
	eventCalls.Put(c)
}

// eventCall is a call of an event's handler. It is reused, so that a logon allocates no closures.
type eventCall struct {
	manager  *Manager
	event    string
	handlers *Events
	f        func(*Events)
	of       func(*Events, *SessionInfo) // in place of f, for an event of a session
	info     SessionInfo
	run      func()
	failed   func(v any)
}

var eventCalls = sync.Pool{New: func() any {
	c := new(eventCall)
	c.run = func() {
		if c.of != nil {
			c.of(c.handlers, &c.info)
			return
		}
		c.f(c.handlers)
	}
	c.failed = func(v any) {
		c.manager.handlerPanics.Add(1)
		c.manager.log.Error("an event handler panicked", zap.String("event", c.event), zap.Any("panic", v),
			zap.ByteString("stack", debug.Stack()))
	}
	return c
}}

func (m *Manager) countBy(n int64) {
	m.online.Add(n)
	m.count.changed()
}

// countNotifier runs UserCountChanged on its goroutine.
type countNotifier struct {
	dirty chan struct{} // holds one token while a change is to be told
	quit  chan struct{}
	once  sync.Once // closes quit
	ended chan struct{}
}

func (c *countNotifier) start(m *Manager) {
	c.dirty, c.quit, c.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(c.ended)
		told := 0
		tell := func() {
			if n := m.Count(); n != told {
				told = n
				m.each("UserCountChanged", func(h *Events) {
					h.UserCountChanged(n)
				})
			}
		}
		for {
			select {
			case <-c.dirty:
				tell()
			case <-c.quit:
				tell()
				return
			}
		}
	}()
}

func (c *countNotifier) changed() {
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

// stop waits until the last change was told.
func (c *countNotifier) stop(ctx context.Context) error {
	c.once.Do(func() { close(c.quit) })
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
