package presence

import "github.com/rollcall-go/rollcall/usermgr"

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
