package presence

import (
	"time"

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
