package bridge

import (
	"container/list"
	"context"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/protocol"
)

const (
	defaultRelogonBurst = 20
	// relogonCalm is how long a user's logons must leave each other alone for everything to be forgotten.
	relogonCalm = 20 * time.Second
	// minRelogonWait and maxRelogonWait bound the time between two logons of a user who is slowed down. It doubles with each
	// that gets in another's way.
	minRelogonWait, maxRelogonWait = 100 * time.Millisecond, 5 * time.Second
	// maxRelogons is how many users are remembered at most. Each takes some 200 bytes. When there are more, the one whose
	// logons have left each other alone for the longest time goes early.
	maxRelogons = 10_000
)

// relogons slow down users whose logons push each other out, or are refused since another session is there: two clients that
// do not heed it would go on for ever. Nothing is known of other users. Time in which the process stood still counts: it can
// only make a wait shorter. The lock is a leaf.
type relogons struct {
	cost     int64         // what a relogon takes of the calm that is free; negative for no limit
	patience time.Duration // how long a logon waits at most
	limit    int           // of users
	now      func() int64  // see clock.Nanoseconds

	mu    sync.Mutex
	users map[string]*list.Element
	order list.List   // of *relogon; the one whose last was longest ago stands first
	timer *time.Timer // runs while any user is remembered
}

// relogon is what is remembered of a user.
type relogon struct {
	userID string
	last   int64         // when a logon got in another's way for the last time
	spent  int64         // until when the burst is not whole again
	wait   time.Duration // between two logons; 0 for none: the burst is not used up
	next   int64         // when the next logon may go on
}

func (r *relogons) init(cfg *Config) {
	r.now, r.limit = clock.Nanoseconds, maxRelogons
	r.patience = min(cfg.LogonDeadline/2, 2*maxRelogonWait)
	switch burst := cfg.RelogonBurst; {
	case burst < 0:
		r.cost = -1
	case burst == 0:
		r.cost = int64(relogonCalm / defaultRelogonBurst)
	default:
		r.cost = int64(relogonCalm) / int64(burst)
	}
}

// happened notes that a logon of the user has got in another's way. It reports whether the user is slowed down from now on.
func (r *relogons) happened(userID string) (begins bool) {
	if r.cost < 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.forget(now)
	x := r.of(userID)
	x.last = now
	x.spent = max(x.spent, now) + r.cost
	if x.wait == 0 && x.spent-now <= int64(relogonCalm) {
		return false
	}
	begins = x.wait == 0
	x.wait = min(max(2*x.wait, minRelogonWait), maxRelogonWait)
	x.next = now + int64(x.wait)
	return begins
}

// of returns what is remembered of a user, as the latest. r.mu is held on entry.
func (r *relogons) of(userID string) *relogon {
	if e := r.users[userID]; e != nil {
		r.order.MoveToBack(e)
		return e.Value.(*relogon)
	}
	if r.users == nil {
		r.users = make(map[string]*list.Element)
	}
	if len(r.users) >= r.limit {
		r.remove(r.order.Front())
	}
	x := &relogon{userID: userID}
	r.users[userID] = r.order.PushBack(x)
	if r.timer == nil {
		r.timer = time.AfterFunc(relogonCalm, r.passed)
	}
	return x
}

// next returns how long a logon of the user has to wait before it asks again. 0 means that it may go on.
func (r *relogons) next(userID string) time.Duration {
	if r.cost < 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.users[userID]
	if e == nil {
		return 0
	}
	now := r.now()
	switch x := e.Value.(*relogon); {
	case x.wait == 0 || now-x.last >= int64(relogonCalm):
		return 0
	case now < x.next:
		return time.Duration(x.next - now)
	default:
		x.next = now + int64(x.wait)
		return 0
	}
}

// forget forgets the users who are calm again. r.mu is held on entry.
func (r *relogons) forget(now int64) {
	for e := r.order.Front(); e != nil && now-e.Value.(*relogon).last >= int64(relogonCalm); e = r.order.Front() {
		r.remove(e)
	}
}

// remove forgets a user. r.mu is held on entry.
func (r *relogons) remove(e *list.Element) {
	delete(r.users, r.order.Remove(e).(*relogon).userID)
	if len(r.users) == 0 {
		r.users = nil // a map does not give back its memory
	}
}

// passed is the timer's. It runs until no user is remembered.
func (r *relogons) passed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(r.now())
	if len(r.users) == 0 {
		r.timer = nil
		return
	}
	r.timer.Reset(relogonCalm)
}

// gotInTheWay notes that a logon of the user has pushed another out, or was refused since another is there.
func (b *Bridge) gotInTheWay(userID string) {
	if b.relogons.happened(userID) {
		b.log.Warn("a user is slowed down whose logons push each other out", zap.String("user", userID))
	}
}

// slowDown has a logon wait whose user's logons get in each other's way. Meanwhile it has no place among the logons. One that
// waits for too long is refused, and told when to come back: it has waited all the same, so that a client that does not heed
// that is slowed down too.
func (l *link) slowDown(p *logon, userID string) error {
	b := l.bridge
	wait := b.relogons.next(userID)
	if wait == 0 {
		return nil
	}
	b.loggingOn.leave(p.turn)
	for left := b.relogons.patience; wait > 0; wait = b.relogons.next(userID) {
		if left <= 0 {
			return &protocol.CloseError{Code: protocol.RateLimited, Text: "this user logs on too often",
				Info: map[string]string{protocol.FieldRetryMS: strconv.FormatInt(max(wait.Milliseconds(), 1), 10)}}
		}
		wait = min(wait, left)
		if err := sleep(p, wait); err != nil {
			return err
		}
		left -= wait
	}
	p.turn = b.loggingOn.join()
	return p.turn.wait(p)
}

// sleep returns when d has passed, or with the cause of ctx's end.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
