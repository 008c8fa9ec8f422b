// Package push sends messages to users, wherever they are: to one, to many, to everyone, or to the sessions that a filter
// finds. A [Service] hands each message to every [Pusher] that is registered. The engine's ([NewEngine]) delivers to the
// sessions on this process's engine; [Memory] keeps messages, for tests and development; a program may bring its own, such
// as one that writes to a mobile system's push service.
//
//	service := push.New()
//	service.Register("engine", push.NewEngine(b)) // b is the bridge; before the engine runs
//	result := service.Push(ctx, push.ToUsers("alice", "bob"), push.Text("lunch is ready"))
package push

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Message is what is pushed. Its wire form is the body of a system message, see docs/protocol.md, Pushes.
type Message = protocol.PushMessage

// Text returns a message of text, which must be valid UTF-8, with an ID and the time of now.
func Text(s string) *Message { return newMessage(protocol.PushText, []byte(s)) }

// Binary returns a message of bytes, which it does not copy.
func Binary(content []byte) *Message { return newMessage(protocol.PushBinary, content) }

// Notification returns a message to be shown to a person.
func Notification(s string) *Message { return newMessage(protocol.PushNotification, []byte(s)) }

// Custom returns a message of a kind of the application's, whose name has 1 to 255 bytes. It does not copy content.
func Custom(name string, content []byte) *Message {
	m := newMessage(protocol.PushCustom, content)
	m.Name = name
	return m
}

// newMessage leaves the ID out where the system has no randomness; Push then says so.
func newMessage(kind protocol.PushKind, content []byte) *Message {
	m := &Message{Kind: kind, Content: content}
	_ = complete(m)
	return m
}

// complete gives m an ID and a time where it has none.
func complete(m *Message) error {
	if m.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("rollcall: no push ID: %w", err)
		}
		m.ID = id
	}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	return nil
}

// Target says for whom a message is. Exactly one of its fields is set; make one with ToUsers, ToEveryone or ToSessions.
type Target struct {
	Users    []string        // these users, online or not
	Everyone bool            // whoever is online
	Sessions *usermgr.Filter // the sessions that it finds
}

// ToUsers is for these users, online or not. A user who is named twice gets the message once.
func ToUsers(userIDs ...string) Target { return Target{Users: userIDs} }

// ToEveryone is for whoever is online.
func ToEveryone() Target { return Target{Everyone: true} }

// ToSessions is for the sessions that the filter finds.
func ToSessions(f usermgr.Filter) Target { return Target{Sessions: &f} }

// Delivery is what one pusher did for one user.
type Delivery struct {
	UserID    string
	Sessions  int   // sessions that the message was handed to
	Confirmed int   // of those, how many's client has acknowledged it, there or on its next connection; needs Message.Confirm
	Err       error // why it went to none of the user's sessions, or not to all; nil when it did
}

// Pusher delivers messages in some way. Its methods may be called from any goroutine, several at a time.
type Pusher interface {
	// Push delivers m, which it must not change, to the target, and tells what it did for each user: for all that the
	// target names, online or not, and for those it found otherwise. An error is one of the whole, such as a target that it
	// cannot reach; there may be deliveries all the same. Where m asks for confirmation it waits for that, until ctx ends.
	Push(ctx context.Context, to Target, m *Message) ([]Delivery, error)
}

// Kicker is what a Pusher may be besides: one whose users can be thrown out.
type Kicker interface {
	// Kick throws the user out, and tells what became of each session. See usermgr.Manager.KickUser.
	Kick(ctx context.Context, userID string, o usermgr.KickOptions) ([]usermgr.Kicked, error)
}

// ErrNoTarget is returned for a Target that says nothing, or more than one thing.
var ErrNoTarget = errors.New("rollcall: a push needs a target: ToUsers, ToEveryone or ToSessions")

// Outcome is what one pusher did with a message.
type Outcome struct {
	Pusher     string // the name that it was registered under
	Deliveries []Delivery
	Err        error // of the whole; a *PanicError when the pusher panicked
}

// Result is what happened to a message.
type Result struct {
	ID       uuid.UUID        // the message's
	Outcomes []Outcome        // one for each pusher, in the order in which they were registered
	Err      error            // why no pusher was asked: the message or the target is not valid
	Kicked   []usermgr.Kicked // what became of the sessions, by all that are Kickers; only with Kick
}

// Sessions returns to how many sessions the message was handed, by all pushers.
func (r Result) Sessions() int { return r.count(func(d Delivery) int { return d.Sessions }) }

// Confirmed returns how many sessions have acknowledged the message.
func (r Result) Confirmed() int { return r.count(func(d Delivery) int { return d.Confirmed }) }

func (r Result) count(of func(Delivery) int) (n int) {
	for _, o := range r.Outcomes {
		for _, d := range o.Deliveries {
			n += of(d)
		}
	}
	return n
}

// PanicError says that a pusher panicked.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // as debug.Stack gives it
}

// Error returns the panic's value.
func (e *PanicError) Error() string { return fmt.Sprintf("rollcall: a pusher panicked: %v", e.Value) }

// Service hands messages to the pushers that are registered. All methods may be called from any goroutine.
type Service struct {
	mu      sync.Mutex
	pushers []*registered // never changed once stored: Push goes through it without the lock
}

type registered struct {
	name   string
	pusher Pusher
}

// New returns a service without pushers: what is pushed goes nowhere.
func New() *Service { return new(Service) }

// Register adds a pusher under a name, which results carry, and returns the function that takes it away again.
func (s *Service) Register(name string, p Pusher) (unregister func()) {
	added := &registered{name, p}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushers = append(slices.Clone(s.pushers), added)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pushers = slices.DeleteFunc(slices.Clone(s.pushers), func(r *registered) bool { return r == added })
	}
}

func (s *Service) all() []*registered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushers
}

// Push hands m to every pusher, one after the other in the order in which they were registered, online users or not, and
// tells what each did. One that fails, or panics, stops neither the others nor the rest of the users. m gets an ID and a
// time where it has none, and must not be changed until Push returns.
//
// It does not block, and may be called on an event loop, unless m asks for confirmation or a pusher blocks by its nature. A
// pusher that waits for confirmations holds up those behind it, and may use up ctx: register the engine's last.
func (s *Service) Push(ctx context.Context, to Target, m *Message) Result {
	if err := complete(m); err != nil {
		return Result{Err: err}
	}
	r := Result{ID: m.ID}
	if err := protocol.CheckPush(m); err != nil { // each pusher encodes it, or does not
		r.Err = err
		return r
	}
	if err := to.check(); err != nil {
		r.Err = err
		return r
	}
	for _, p := range s.all() {
		r.Outcomes = append(r.Outcomes, p.push(ctx, to, m))
	}
	return r
}

func (t *Target) check() error {
	set := 0
	for _, is := range []bool{t.Users != nil, t.Everyone, t.Sessions != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return ErrNoTarget
	}
	if slices.Contains(t.Users, "") {
		return usermgr.ErrBlankID
	}
	if len(t.Users) > 1 {
		t.Users = unique(t.Users)
	}
	return nil
}

// unique returns the IDs in their order, each once.
func unique(ids []string) []string {
	seen := make(map[string]struct{}, len(ids))
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, again := seen[id]; !again {
			seen[id] = struct{}{}
			out = append(out, id)
		}
	}
	return out
}

func (r *registered) push(ctx context.Context, to Target, m *Message) (o Outcome) {
	o.Pusher = r.name
	defer func() {
		if v := recover(); v != nil {
			o.Err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	o.Deliveries, o.Err = r.pusher.Push(ctx, to, m)
	return o
}

// Kick throws a user out with notice: a KickOut message with the reason, o.Text, goes to every pusher; then each that is a
// Kicker throws the user out, whether or not a pusher failed. Result.Kicked tells what became of the sessions. The error
// is usermgr.ErrBlankID; usermgr.ErrUnknownID where no Kicker knows the user as online; or else it joins those of all that
// failed. Kick waits until the sessions have ended, or ctx does; do not call it on an event loop, in the user's own event
// handler, or in a message handler of a user whom others may kick: two who kick each other would wait for each other's
// handlers.
func (s *Service) Kick(ctx context.Context, userID string, o usermgr.KickOptions) (Result, error) {
	if userID == "" {
		return Result{}, usermgr.ErrBlankID
	}
	r := s.Push(ctx, ToUsers(userID), newMessage(protocol.PushKickOut, []byte(o.Text)))
	err := r.Err
	var unknown error
	known := false
	for _, p := range s.all() {
		k, ok := p.pusher.(Kicker)
		if !ok {
			continue
		}
		kicked, kickErr := kick(ctx, k, userID, o)
		r.Kicked = append(r.Kicked, kicked...)
		if errors.Is(kickErr, usermgr.ErrUnknownID) {
			unknown = kickErr
			continue
		}
		known = true
		err = errors.Join(err, kickErr)
	}
	if !known && err == nil {
		err = unknown
	}
	return r, err
}

func kick(ctx context.Context, k Kicker, userID string, o usermgr.KickOptions) (kicked []usermgr.Kicked, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return k.Kick(ctx, userID, o)
}
