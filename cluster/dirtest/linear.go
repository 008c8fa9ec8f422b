package dirtest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/cluster"
)

// call is a call for a user's record, and what it was answered.
type call struct {
	began, ended int64 // by a counter that all calls share
	looks        bool
	removes      bool
	prev         cluster.Version // of a write
	wrote        bool            // the write was done
	version      cluster.Version // that was written, or is there
	body         string
}

// linear has many write, remove and look at random, and holds what they were answered against one order of all calls: the record of a user is
// one register, in whatever way calls overlap.
func (s *suite) linear() {
	const writers, each, users = 8, 100, 2
	var clock atomic.Int64
	var mu sync.Mutex
	all := make(map[string][]call)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 3))
			known := make(map[string]cluster.Version) // what the writer has seen last
			for i := range each {
				user := fmt.Sprint("user", r.IntN(users))
				c, err := s.call(r, &clock, user, known[user], fmt.Sprint(w, " ", i))
				if err != nil {
					s.t.Error(err)
					return
				}
				known[user] = c.version
				mu.Lock()
				all[user] = append(all[user], c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for user, calls := range all {
		if err := inOneOrder(calls); err != nil {
			s.t.Errorf("%s: %v", user, err)
		}
	}
}

// call makes a call that is drawn.
func (s *suite) call(r *rand.Rand, clock *atomic.Int64, user string, prev cluster.Version, body string) (c call, err error) {
	c = call{prev: prev, body: body}
	what := r.IntN(4)
	c.began = clock.Add(1)
	switch {
	case what == 0:
		c.looks = true
		var records []cluster.Record
		records, err = s.store.Look(s.ctx, user)
		if err == nil {
			c.version, c.body = records[0].Version, string(records[0].Body)
		}
	case what == 1 && prev != 0:
		c.removes = true
		err = s.store.Remove(s.ctx, user, prev, s.options())
		c.wrote, c.body = err == nil, ""
	default:
		c.version, err = s.store.Swap(s.ctx, user, prev, []byte(body), s.options())
		c.wrote = err == nil
	}
	c.ended = clock.Add(1)
	var conflict *cluster.Conflict
	if errors.As(err, &conflict) {
		c.version, c.body, err = conflict.Version, string(conflict.Body), nil
	}
	return c, err
}

// inOneOrder returns an error where the calls cannot have taken place one after the other, each between its beginning and its end. The versions, which
// grow, say in which order the writes were done; a removal follows the write of its prev.
func inOneOrder(calls []call) error {
	type state struct {
		call
		from, to int64 // when it may have begun, and must have ended
	}
	var states []state
	for _, c := range calls {
		if c.wrote {
			states = append(states, state{call: c})
		}
	}
	order := func(c *call) (cluster.Version, bool) {
		if c.removes {
			return c.prev, true
		}
		return c.version, false
	}
	slices.SortFunc(states, func(a, b state) int {
		x, removesX := order(&a.call)
		y, removesY := order(&b.call)
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(strconv.FormatBool(removesX), strconv.FormatBool(removesY)))
	})
	states = slices.Insert(states, 0, state{}) // there is nothing at first
	for i := 1; i < len(states); i++ {
		x, before := &states[i], &states[i-1]
		if x.prev != before.version {
			return fmt.Errorf("version %d was written, or removed (%v), over %d; before it was %d", x.version, x.removes, x.prev, before.version)
		}
		if x.from = max(x.began, before.from); x.from > x.ended {
			return fmt.Errorf("version %d was written after its call had ended", x.version)
		}
	}
	last := int64(math.MaxInt64)
	for i := len(states) - 1; i >= 0; i-- {
		states[i].to = last
		last = min(last, states[i].ended)
	}
	for _, c := range calls {
		if c.wrote {
			continue
		}
		if !c.looks && c.version == c.prev {
			return fmt.Errorf("a write over version %d, which is there, was refused", c.prev)
		}
		seen := func(x state) bool {
			return x.version == c.version && (x.version == 0 || x.body == c.body) && x.from <= c.ended && c.began <= x.to
		}
		if !slices.ContainsFunc(states, seen) {
			return fmt.Errorf("a call from %d to %d was answered version %d, %q, which was not there then", c.began, c.ended, c.version, c.body)
		}
	}
	return nil
}
