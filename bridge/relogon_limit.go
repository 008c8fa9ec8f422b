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
	// relogonCalm is the time without a relogon after which a user is forgotten.
	relogonCalm = 20 * time.Second
	// minRelogonWait and maxRelogonWait bound the time between two logons of a user who is slowed down. It doubles with
	// each relogon.
	minRelogonWait, maxRelogonWait = 100 * time.Millisecond, 5 * time.Second
	// maxRelogons limits the remembered users. Each takes some 200 bytes. Over the limit the user whose last relogon is
	// the oldest is forgotten.
	maxRelogons = 10_000
)

// relogons slows down users with too many relogons: logons that push another session out, or are refused because of
// one. Otherwise two clients that ignore their notices would go on for ever. Other users are not remembered. Time in
// which the process stood still counts, because it can only make a wait shorter. The lock is a leaf.
type relogons struct {
	cost     int64         // the part of relogonCalm that one relogon uses up; negative for no limit
	patience time.Duration // the longest wait of a logon
	limit    int           // of users
	now      func() int64  // see clock.Nanoseconds

	mu    sync.Mutex
	users map[string]*list.Element
	order list.List   // of *relogon, sorted by last
	timer *time.Timer // runs while any user is remembered
}

// relogon is the record of one user.
type relogon struct {
	userID string
	last   int64         // the time of the last relogon
	spent  int64         // the time at which the whole burst is available again
	wait   time.Duration // between two logons; 0 while the burst is not used up
	next   int64         // the time at which the next logon may go on
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

// happened notes a relogon of the user. It reports whether the user is slowed down from now on.
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

// of returns the user's record, makes one if there is none, and moves it to the end of order. r.mu is held on entry.
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

// next returns how long a logon of the user must wait before the next call. 0 means that it may go on.
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

// forget forgets users whose last relogon is relogonCalm ago. r.mu is held on entry.
func (r *relogons) forget(now int64) {
	for e := r.order.Front(); e != nil && now-e.Value.(*relogon).last >= int64(relogonCalm); e = r.order.Front() {
		r.remove(e)
	}
}

// remove forgets a user. r.mu is held on entry.
func (r *relogons) remove(e *list.Element) {
	delete(r.users, r.order.Remove(e).(*relogon).userID)
	if len(r.users) == 0 {
		r.users = nil // a map never shrinks
	}
}

// passed is called by the timer, until no user is remembered.
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

// gotInTheWay notes a relogon: a logon of the user has pushed another session out, or was refused because of one.
func (b *Bridge) gotInTheWay(userID string) {
	if b.relogons.happened(userID) {
		b.log.Warn("a user is slowed down whose logons push each other out", zap.String("user", userID))
	}
}

// slowDown makes the logon of a user with too many relogons wait. Meanwhile it has no place among the logons. A logon
// that waits too long is refused, and told when to come back. A client that ignores this is slowed down too, because
// its logon has waited.
func (p *logon) slowDown(userID string) error {
	b := p.bridge
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

// sleep waits for d. When ctx ends first it returns the cause.
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
