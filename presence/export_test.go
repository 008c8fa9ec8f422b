package presence

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
