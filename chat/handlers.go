package chat

import (
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// Handlers are what a program wants to be told; any may be nil. A handler that blocks holds up what comes after it, such as the delivery of
// the same conversation's later messages. A panic is recovered, logged and counted. In a cluster they are called on the node that has stored the
// message, or has made the change.
type Handlers struct {
	// UserCreated: a user was made. It comes before SetUp is called.
	UserCreated func(userID string)
	// Stored: a message was stored; it is delivered next. Calls come in the order of a conversation's numbers. m, whose From is the sender
	// also where Anonymous is set, is valid until the handler returns.
	Stored func(m *Message)
	// Offline: these members of the group, or this user, have no session: for a mobile push service. In a cluster they have none on any node, as
	// far as this one knows. It comes after the delivery, and
	// not for recalls. m is as Stored has it.
	Offline func(m *Message, userIDs []string)
	// Recalled: a recall was stored. m is as Stored has it, and Recalls is the number of the message that has lost its content.
	Recalled func(m *Message)
	// Group: a group has changed.
	Group func(e GroupEvent)
	// Contact: two users have changed what is between them.
	Contact func(e ContactEvent)
	// Refused: a client's request was refused.
	Refused func(r Refusal)
}

// GroupEvent says what has happened in a group.
type GroupEvent struct {
	// Event is created, joined, left, removed, muted, banned, role, changed or dissolved, as notices of the wire name it.
	Event  string
	Group  GroupID
	UserID string // who it happened to; empty for the group
	By     string // who has done it; Server for the program
}

// ContactEvent says what has happened between two users.
type ContactEvent struct {
	// Event is asked, friends, removed, declined, blocked or unblocked.
	Event    string
	By, With string // who has done it, and the other
}

// Refusal is a request that was refused.
type Refusal struct {
	UserID string
	Type   uint16
	Op     uint8
	Code   protocol.CloseCode
}

// handlers are all that have subscribed.
type handlers struct {
	service *Service
	mu      sync.Mutex // of changes
	all     atomic.Pointer[[]*Handlers]
}

func (h *handlers) add(one Handlers) (remove func()) {
	h.update(func(all []*Handlers) []*Handlers { return append(all, &one) })
	return func() {
		h.update(func(all []*Handlers) []*Handlers {
			return slices.DeleteFunc(all, func(o *Handlers) bool { return o == &one })
		})
	}
}

func (h *handlers) update(update func([]*Handlers) []*Handlers) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := update(slices.Clone(h.list()))
	h.all.Store(&all)
}

func (h *handlers) list() []*Handlers {
	if all := h.all.Load(); all != nil {
		return *all
	}
	return nil
}

// each calls call for each set of handlers, so that a panic in it ends that call alone.
func (h *handlers) each(call func(*Handlers)) {
	for _, one := range h.list() {
		contain.Apart(func() { call(one) }, func(why any) {
			h.service.panics.Add(1)
			h.service.log.Error("chat: a handler", zap.Error(contain.Error("a handler", why)))
		})
	}
}

func (h *handlers) created(userID string) {
	h.each(func(o *Handlers) {
		if o.UserCreated != nil {
			o.UserCreated(userID)
		}
	})
}

func (h *handlers) stored(m *Message) {
	h.each(func(o *Handlers) {
		switch {
		case m.Recalls != 0 && o.Recalled != nil:
			o.Recalled(m)
		case m.Recalls == 0 && o.Stored != nil:
			o.Stored(m)
		}
	})
}

// wantOffline reports whether to look for those who are offline.
func (h *handlers) wantOffline() bool {
	return slices.ContainsFunc(h.list(), func(o *Handlers) bool { return o.Offline != nil })
}

func (h *handlers) offline(m *Message, userIDs []string) {
	h.each(func(o *Handlers) {
		if o.Offline != nil {
			o.Offline(m, userIDs)
		}
	})
}

func (h *handlers) group(e GroupEvent) {
	h.each(func(o *Handlers) {
		if o.Group != nil {
			o.Group(e)
		}
	})
}

func (h *handlers) contact(e ContactEvent) {
	h.each(func(o *Handlers) {
		if o.Contact != nil {
			o.Contact(e)
		}
	})
}

func (h *handlers) refused(r Refusal) {
	h.each(func(o *Handlers) {
		if o.Refused != nil {
			o.Refused(r)
		}
	})
}
