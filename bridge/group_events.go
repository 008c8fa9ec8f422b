package bridge

import (
	"slices"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
)

// GroupEvents are the functions that a subscriber of a group provides. Either may be nil. Events of one group come one at a time, in
// the order in which they took effect, on a goroutine of the group, which lives while there are events to deliver. A handler may
// call any method of the group. It may block; then only the events of its group wait. A panic is recovered and logged, and so is
// runtime.Goexit.
type GroupEvents struct {
	// Joined: a user or a session has become a member.
	Joined func(m Member)
	// Left: a member has left. offline is true when its session ended or its user went offline, and false after Leave.
	Left func(m Member, offline bool)
}

// event is a member that has joined or left, for the subscribers of that moment.
type event struct {
	member          Member
	joined, offline bool
	to              []*GroupEvents
}

// news has a group's subscribers and the events to tell them. The group's lock protects it.
type news struct {
	subscribers []*GroupEvents // never changed once stored
	waiting     []event
	telling     bool // tellAll runs
}

// Subscribe adds a set of handlers and returns the function that removes it again. A group with a subscriber is kept, also without
// members. Subscribers are called in the order in which they subscribed. An event that happened before the removal may still
// reach a removed subscriber.
func (g *Group) Subscribe(e GroupEvents) (unsubscribe func()) {
	s := g.bridge.groups.Load()
	for {
		if listed := s.takeGroup(g); listed.subscribe(&e) {
			return func() { listed.unsubscribe(&e) }
		}
	}
}

// subscribe adds a subscriber. It reports false when the group is no longer the listed one.
func (g *Group) subscribe(e *GroupEvents) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.listed.Load() {
		return false
	}
	if g.news == nil {
		g.news = &news{}
	}
	g.news.subscribers = append(slices.Clip(g.news.subscribers), e)
	return true
}

func (g *Group) unsubscribe(e *GroupEvents) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.news == nil {
		return
	}
	g.news.subscribers = slices.DeleteFunc(slices.Clone(g.news.subscribers), func(o *GroupEvents) bool { return o == e })
	g.forgetNews()
}

// forgetNews sets g.news to nil when there are no subscribers and all events have been told. g.mu is held on entry.
func (g *Group) forgetNews() {
	if len(g.news.subscribers) == 0 && !g.news.telling {
		g.news = nil
		g.forgetIfUnused()
	}
}

// tell queues an event for the subscribers. g.mu is held on entry.
func (g *Group) tell(e event) {
	if g.news == nil || len(g.news.subscribers) == 0 {
		return
	}
	e.to = g.news.subscribers
	g.news.waiting = append(g.news.waiting, e)
	if !g.news.telling {
		g.news.telling = true
		g.bridge.telling.Add(1)
		go g.tellAll()
	}
}

// tellAll is the goroutine that calls the subscribers.
func (g *Group) tellAll() {
	defer g.bridge.told()
	for {
		g.mu.Lock()
		events := g.news.waiting
		g.news.waiting = nil
		if len(events) == 0 {
			g.news.telling = false
			g.forgetNews()
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		for _, e := range events {
			for _, h := range e.to {
				g.call(h, e)
			}
		}
	}
}

func (g *Group) call(h *GroupEvents, e event) {
	failed := func(v any) {
		g.bridge.log.Error("an event handler of a group panicked", zap.String("group", g.name), zap.Any("panic", v), zap.Stack("stack"))
	}
	switch {
	case e.joined && h.Joined != nil:
		contain.Apart(func() { h.Joined(e.member) }, failed)
	case !e.joined && h.Left != nil:
		contain.Apart(func() { h.Left(e.member, e.offline) }, failed)
	}
}
