package usermgr

// lending says whether a turn is lent. A logon lends its turn while it waits for its claim, to tasks that end sessions of the
// user's: managers that replace each other's sessions of one user would wait for each other otherwise, for ever.
type lending uint8

const (
	notLent   lending = iota
	lentIdle          // no task uses it
	lentInUse         // a task has it, on a runner
)

// lend lends the turn, which the caller has, until takeBack. Meanwhile the caller must not touch what belongs to the turn.
func (u *user) lend() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lent = lentIdle
	if u.waiting.firstEnd() != nil {
		u.lent = lentInUse
		u.manager.runners.add(step{user: u})
	}
}

// takeBack returns when the caller has the turn that it has lent: at once, or behind the ends that are under way.
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
