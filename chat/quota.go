package chat

import (
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rollcall-go/rollcall/protocol"
)

// quotas are how often a user may do what others have to bear.
type quotas struct{ groups, requests quota }

// quota allows a user so many in an hour. Its lock is held for nothing else.
type quota struct {
	perHour int // negative: any number
	what    string
	mu      sync.Mutex
	of      map[string]*rate.Limiter
	swept   time.Time
}

func (q *quotas) init(l Limits) {
	q.groups = quota{perHour: l.NewGroups, what: "groups"}
	q.requests = quota{perHour: l.NewRequests, what: "requests to be friends"}
}

// take counts one, or returns why it is one too many.
func (q *quota) take(userID string) error {
	if q.perHour < 0 || userID == Server {
		return nil
	}
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.swept) > time.Hour { // who has the whole quota need not be remembered
		for id, l := range q.of {
			if l.TokensAt(now) >= float64(q.perHour) {
				delete(q.of, id)
			}
		}
		q.swept = now
	}
	l := q.of[userID]
	if l == nil {
		if q.of == nil {
			q.of = make(map[string]*rate.Limiter)
		}
		l = rate.NewLimiter(rate.Every(time.Hour/time.Duration(q.perHour)), q.perHour)
		q.of[userID] = l
	}
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return &protocol.CloseError{Code: protocol.Refused, Text: "too many " + q.what + " within an hour",
		Info: map[string]string{protocol.FieldRetryMS: strconv.FormatInt(wait.Milliseconds()+1, 10)}}
}
