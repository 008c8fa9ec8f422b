package usermgr

import (
	"container/heap"
	"sync"
	"time"
)

// revokedTokens are the tokens of sessions that were kicked, for as long as they are refused.
type revokedTokens struct {
	mu    sync.RWMutex
	until map[revokedToken]time.Time
	ends  revocations
}

type revokedToken struct{ userID, token string }

// revocation is a token and a time at which it was to be refused no more: until may have a later one by now.
type revocation struct {
	revokedToken
	until time.Time
}

// revocations is a heap of what container/heap takes. The one that is over first stands first.
type revocations []revocation

func (r revocations) Len() int           { return len(r) }
func (r revocations) Less(i, j int) bool { return r[i].until.Before(r[j].until) }
func (r revocations) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *revocations) Push(x any)        { *r = append(*r, x.(revocation)) }
func (r *revocations) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	(*r)[last] = revocation{}
	*r = (*r)[:last]
	return x
}

// forgotten is how many tokens that are refused no more are forgotten for each that comes: as long as there are any, they
// get fewer, and nobody waits for many.
const forgotten = 2

// add refuses a session's token, and its ID, from now on.
func (r *revokedTokens) add(userID string, until time.Time, tokens ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = make(map[revokedToken]time.Time)
	}
	now := time.Now()
	for _, token := range tokens {
		for range forgotten {
			if len(r.ends) == 0 || now.Before(r.ends[0].until) {
				break
			}
			if over := heap.Pop(&r.ends).(revocation); !now.Before(r.until[over.revokedToken]) {
				delete(r.until, over.revokedToken)
			}
		}
		if t := (revokedToken{userID, token}); r.until[t].Before(until) {
			r.until[t] = until
			heap.Push(&r.ends, revocation{t, until})
		}
	}
}

// refuses reports whether the logon shows a token, or a session ID, that is revoked.
func (r *revokedTokens) refuses(userID string, l *Logon) bool {
	if l.Token == "" && l.Session == "" {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := time.Now()
	for _, token := range []string{l.Token, l.Session} {
		if token != "" && now.Before(r.until[revokedToken{userID, token}]) {
			return true
		}
	}
	return false
}
