package usermgr

// lending says whether a turn is lent. While a logon waits for its claim it lends its turn to tasks that end sessions
// of the user. Otherwise two managers that replace each other's sessions of one user would wait for each other for
// ever.
type lending uint8

const (
	notLent   lending = iota
	lentIdle          // no task uses it
	lentInUse         // a task has it, on a runner
)

// lend lends the caller's turn until takeBack. Meanwhile the caller must not use fields that belong to the turn.
func (u *user) lend() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lent = lentIdle
	if u.waiting.firstEnd() != nil {
		u.lent = lentInUse
		u.manager.runners.add(step{user: u})
	}
}

// takeBack returns when the caller has its turn again: at once, or after the ends that are running.
func (u *user) takeBack() {
	u.mu.Lock()
	if u.lent == lentIdle {
		u.lent = notLent
		u.mu.Unlock()
		return
	}
	back := make(chan struct{})
	u.waiting.add(&task{ends: true, run: func(u *user) { // its turn begins when theirs are over
		u.mu.Lock()
		u.lent = notLent
		u.mu.Unlock()
		close(back)
	}})
	u.mu.Unlock()
	<-back
}
