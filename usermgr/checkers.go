package usermgr

import (
	"reflect"
	"sync"

	"github.com/rollcall-go/rollcall/heartbeat"
)

// checkers has every checker that a manager owns, so that no two managers share one: the first to close it would leave
// the other's users unwatched. Its lock is a leaf.
var checkers struct {
	sync.Mutex
	owned map[heartbeat.Checker]struct{}
}

// ownChecker notes that a manager owns c. It panics when another manager owns c.
func ownChecker(c heartbeat.Checker) {
	if !reflect.TypeOf(c).Comparable() {
		return
	}
	checkers.Lock()
	defer checkers.Unlock()
	if _, taken := checkers.owned[c]; taken {
		panic("rollcall: two managers have one heartbeat.Checker: each needs one of its own, which it closes")
	}
	if checkers.owned == nil {
		checkers.owned = make(map[heartbeat.Checker]struct{})
	}
	checkers.owned[c] = struct{}{}
}

// disownChecker is called when a manager has closed its checker.
func disownChecker(c heartbeat.Checker) {
	if !reflect.TypeOf(c).Comparable() {
		return
	}
	checkers.Lock()
	defer checkers.Unlock()
	delete(checkers.owned, c)
}
