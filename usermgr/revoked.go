package usermgr

import (
	"sync"
	"time"
)

// revokedTokens are the tokens of sessions that were kicked, for as long as they are refused.
type revokedTokens struct {
	mu    sync.Mutex
	until map[revokedToken]time.Time
	sweep int // sweep when there are so many
}

type revokedToken struct{ userID, token string }

const leastSweep = 64

// add refuses a session's token, and its ID, from now on.
func (r *revokedTokens) add(userID string, until time.Time, tokens ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until, r.sweep = make(map[revokedToken]time.Time), leastSweep
	}
	if len(r.until) >= r.sweep { // each is looked at about once before it goes
		now := time.Now()
		for t, end := range r.until {
			if !now.Before(end) {
				delete(r.until, t)
			}
		}
		r.sweep = max(2*len(r.until), leastSweep)
	}
	for _, token := range tokens {
		if t := (revokedToken{userID, token}); r.until[t].Before(until) {
			r.until[t] = until
		}
	}
}

// refuses reports whether the logon shows a token, or a session ID, that is revoked.
func (r *revokedTokens) refuses(userID string, l *Logon) bool {
	if l.Token == "" && l.Session == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, token := range []string{l.Token, l.Session} {
		if token != "" && now.Before(r.until[revokedToken{userID, token}]) {
			return true
		}
	}
	return false
}
