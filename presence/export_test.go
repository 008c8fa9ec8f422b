package presence

import (
	"runtime"
	"time"
	"weak"

	"github.com/rollcall-go/rollcall/usermgr"
)

// Tick has the next tick come now, and waits until it has told what it has to tell.
func (s *Service) Tick() {
	told := make(chan struct{})
	var look func()
	look = func() {
		if s.ticks.open {
			s.inbox.put(look)
			return
		}
		close(told)
	}
	s.inbox.put(func() {
		s.tick()
		look()
	})
	<-told
}

// Quiet reports whether no call of the store is under way or due.
func (s *Service) Quiet() bool {
	quiet := make(chan bool)
	s.inbox.put(func() {
		s.table.mu.Lock()
		defer s.table.mu.Unlock()
		due := len(s.table.toLoad) + len(s.table.toSave) + s.calls.own.busy
		quiet <- due == 0
	})
	return <-quiet
}

// Comes reports whether the service knows a user as online.
func (s *Service) Comes(userID string) bool {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	u := s.table.users[userID]
	return u != nil && u.online
}

// Waiting returns how many watchers wait for a snapshot because a tick may tell no more.
func (s *Service) Waiting() int {
	n := make(chan int)
	s.inbox.put(func() { n <- len(s.ticks.snapshots) })
	return <-n
}

// Come has a user come without a session.
func (s *Service) Come(userID string) { s.table.online(usermgr.UserData{UserID: userID}) }

// Fill has as many requests wait as may, until end is called.
func (s *Service) Fill() (end func()) {
	s.waiting.Add(mostWaiting)
	return func() { s.waiting.Add(-mostWaiting) }
}

// Beats has beats come this often until the function that is returned is called.
func Beats(every time.Duration) (back func()) {
	before := beatEvery
	beatEvery = every
	return func() { beatEvery = before }
}

// Told returns the number of what the service has told other servers last.
func (s *Service) Told() uint64 {
	n := make(chan uint64)
	s.inbox.put(func() {
		s.elsewhere.spread()
		n <- s.elsewhere.number
	})
	return <-n
}

// Heard returns the number of what the service has heard last from each other server that it knows wholly; false if a user has left of whom it is not
// known yet whether the user is offline.
func (s *Service) Heard() (numbers map[uint32]uint64, settled bool) {
	done := make(chan struct{})
	s.inbox.put(func() {
		numbers, settled = make(map[uint32]uint64), true
		for id, o := range s.elsewhere.servers {
			if o.whole {
				numbers[id] = o.number
			}
		}
		s.table.mu.Lock()
		defer s.table.mu.Unlock()
		for u := range s.table.passing {
			settled = settled && u.abroad.leaving == 0
		}
		close(done)
	})
	<-done
	return numbers, settled
}

// Watcher returns a function that reports whether what is kept for a user who watches is free again.
func (s *Service) Watcher(userID string) (free func() bool) {
	found := make(chan weak.Pointer[watcher])
	s.inbox.put(func() { found <- weak.Make(s.watchers.of[userID]) })
	w := <-found
	return func() bool {
		runtime.GC()
		return w.Value() == nil
	}
}

// Known returns how many users watchers know as not Offline.
func (s *Service) Known() int {
	found := make(chan int)
	s.inbox.put(func() { found <- len(s.watchers.numbers.of) })
	return <-found
}

// Follow has users watch without a session. What such a user is told is in Knows, and nowhere else.
func (s *Service) Follow(userIDs []string) {
	done := make(chan struct{})
	s.inbox.put(func() {
		for _, id := range userIDs {
			s.watchers.begun++
			s.watchers.of[id] = &watcher{id: id, synced: true, knows: s.watchers.numbers.knownBy(0), own: s.table.wanted(id)}
		}
		close(done)
	})
	<-done
}

// Unfollow ends what Follow has begun.
func (s *Service) Unfollow(userIDs []string) {
	done := make(chan struct{})
	s.inbox.put(func() {
		for _, id := range userIDs {
			s.watchers.remove(s.watchers.of[id])
		}
		close(done)
	})
	<-done
}

// Knows calls f with what each watching user was told last about others, without those who were told as Offline. f must keep neither map nor IDs.
func (s *Service) Knows(f func(userID string, of map[string]State)) {
	done := make(chan struct{})
	s.inbox.put(func() {
		known := make(map[string]State)
		for id, w := range s.watchers.of {
			clear(known)
			for of := range w.knows.ids() {
				known[of] = w.knows.of(of)
			}
			f(id, known)
		}
		close(done)
	})
	<-done
}

// Go has a user go who has come without a session.
func (s *Service) Go(userID string) { s.table.offline(usermgr.UserData{UserID: userID}) }

// Spent returns how many pairs the last tick has told, and whether there is something for the next.
func (s *Service) Spent() (pairs int, left bool) {
	done := make(chan struct{})
	s.inbox.put(func() {
		pairs, left = s.ticks.spent, s.ticks.left() || s.table.hasNews()
		close(done)
	})
	<-done
	return pairs, left
}
