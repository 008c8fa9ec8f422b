package usermgr

import (
	"reflect"
	"sync"

	"github.com/rollcall-go/rollcall/heartbeat"
)

// checkers are those that managers own: the first manager that closes a checker would leave another's users unwatched. Its
// lock is a leaf.
var checkers struct {
	sync.Mutex
	owned map[heartbeat.Checker]struct{}
}

// ownChecker notes a manager's checker, and panics for one that is another's.
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

// disownChecker is for a manager that has closed its checker.
func disownChecker(c heartbeat.Checker) {
	if !reflect.TypeOf(c).Comparable() {
		return
	}
	checkers.Lock()
	defer checkers.Unlock()
	delete(checkers.owned, c)
}
