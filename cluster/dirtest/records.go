package dirtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"

	"github.com/rollcall-go/rollcall/cluster"
)

func (s *suite) records() {
	const odd = "ann\x00\r\n\xff"
	first := s.swap(odd, 0, "\x00\x01\xff")
	_, err := s.store.Swap(s.ctx, odd, 0, []byte("2"), s.options())
	s.conflict(err, first, "\x00\x01\xff")
	second := s.swap(odd, first, "2")
	if second <= first {
		s.t.Errorf("version %d after %d", second, first)
	}
	s.conflict(s.store.Remove(s.ctx, odd, first, s.options()), second, "2")
	_, err = s.store.Swap(s.ctx, "bob", 7, []byte("b"), s.options())
	s.conflict(err, 0, "")

	records, err := s.store.Look(s.ctx, "bob", odd)
	s.noError(err)
	if len(records) != 2 || records[0].Version != 0 || len(records[0].Body) != 0 || records[0].User != "bob" ||
		records[1].Version != second || string(records[1].Body) != "2" || records[1].User != odd {
		s.t.Errorf("Look returned %+v", records)
	}
	s.noError(s.store.Remove(s.ctx, odd, second, s.options()))
	s.conflict(s.store.Remove(s.ctx, odd, second, s.options()), 0, "")

	_, err = s.store.Swap(s.ctx, odd, 0, []byte("3"), cluster.SwapOptions{Epoch: "another"})
	s.is(err, cluster.ErrRecovering)
	s.is(s.store.Remove(s.ctx, odd, 0, cluster.SwapOptions{Epoch: "another"}), cluster.ErrRecovering)
}

func (s *suite) versions() {
	last := cluster.Version(0)
	for i := range 50 {
		v := s.swap("ann", 0, strconv.Itoa(i))
		if v <= last {
			s.t.Fatalf("version %d after %d", v, last)
		}
		last = v
		s.noError(s.store.Remove(s.ctx, "ann", v, s.options()))
	}
}

// contention has many add to numbers, each over the version that it has read: no addition is lost.
func (s *suite) contention() {
	const writers, each, users = 8, 50, 3
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := range each {
				if err := s.add(fmt.Sprint("user", i%users)); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for i := range users {
		records, err := s.store.Look(s.ctx, fmt.Sprint("user", i))
		s.noError(err)
		n, err := strconv.Atoi(string(records[0].Body))
		s.noError(err)
		total += n
	}
	if total != writers*each {
		s.t.Errorf("%d additions, and the sum is %d", writers*each, total)
	}
}

func (s *suite) add(user string) error {
	prev, n := cluster.Version(0), 0
	for {
		_, err := s.store.Swap(s.ctx, user, prev, []byte(strconv.Itoa(n+1)), s.options())
		var c *cluster.Conflict
		if !errors.As(err, &c) {
			return err
		}
		if c.Version <= prev {
			return fmt.Errorf("version %d after %d", c.Version, prev)
		}
		prev = c.Version
		if n, err = strconv.Atoi(string(c.Body)); err != nil {
			return err
		}
	}
}

func (s *suite) walk() {
	const users = 500
	for i := range users {
		s.swap(fmt.Sprint("user", i), 0, strconv.Itoa(i))
	}
	s.counts(users)
	for _, limit := range []int{1, 100, 10 * users} {
		seen := make(map[string]string)
		for from := ""; ; {
			l, err := s.store.Walk(s.ctx, from, limit)
			s.noError(err)
			for _, r := range l.Records {
				if _, twice := seen[r.User]; twice || r.Version == 0 {
					s.t.Fatalf("%s is listed twice, or without a version", r.User)
				}
				seen[r.User] = string(r.Body)
			}
			if from = l.Next; from == "" {
				break
			}
		}
		for i := range users {
			if user := fmt.Sprint("user", i); seen[user] != strconv.Itoa(i) {
				s.t.Fatalf("%s is listed as %q", user, seen[user])
			}
		}
	}
}

func (s *suite) counts(want int) {
	s.t.Helper()
	if n, err := s.store.Count(s.ctx); n != want || err != nil {
		s.t.Errorf("Count returned %d, %v; want %d", n, err, want)
	}
}

// uncounted has records change between counted and not, in all ways.
func (s *suite) uncounted() {
	const not = "\xffa mark"
	ann := s.swap("ann", 0, not)
	bob := s.swap("bob", 0, "\x01\xff")
	s.counts(1)
	ann = s.swap("ann", ann, not+not)
	s.counts(1)
	ann = s.swap("ann", ann, "\x01"+not)
	s.counts(2)
	bob = s.swap("bob", bob, not)
	s.counts(1)
	_, err := s.store.Swap(s.ctx, "bob", 1, []byte("\x01"), s.options())
	s.conflict(err, bob, not)
	s.counts(1)
	s.noError(s.store.Remove(s.ctx, "bob", bob, s.options()))
	s.counts(1)
	s.noError(s.store.Remove(s.ctx, "ann", ann, s.options()))
	s.counts(0)
}

// counter writes and removes records at random, over right versions and wrong ones, and holds Count and Walk against what it has written.
func (s *suite) counter() {
	const users, writes = 50, 5000
	r := rand.New(rand.NewPCG(1, 2))
	bodies := []string{"\xffa mark", "\x01\xff", "\x01", "\xff"}
	have := make(map[string]cluster.Record)
	for i := range writes {
		user, body := fmt.Sprint("user", r.IntN(users)), bodies[r.IntN(len(bodies))]
		was := have[user]
		switch r.IntN(4) {
		case 0:
			_, err := s.store.Swap(s.ctx, user, was.Version+1, []byte(body), s.options())
			s.conflict(err, was.Version, string(was.Body))
		case 1:
			s.noError(s.store.Remove(s.ctx, user, was.Version, s.options()))
			delete(have, user)
		default:
			have[user] = cluster.Record{User: user, Version: s.swap(user, was.Version, body), Body: []byte(body)}
		}
		if i%500 == 0 {
			s.counts(counted(have))
		}
	}
	s.counts(counted(have))
	for from, first := "", true; first || from != ""; first = false {
		l, err := s.store.Walk(s.ctx, from, users)
		s.noError(err)
		for _, got := range l.Records {
			if want := have[got.User]; got.Version != want.Version || string(got.Body) != string(want.Body) {
				s.t.Errorf("%+v is listed, want %+v", got, want)
			}
			delete(have, got.User)
		}
		from = l.Next
	}
	if len(have) > 0 {
		s.t.Errorf("%d records are not listed", len(have))
	}
}

func counted(records map[string]cluster.Record) (n int) {
	for _, r := range records {
		if r.Body[0] != cluster.Uncounted {
			n++
		}
	}
	return n
}
