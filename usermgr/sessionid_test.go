package usermgr

import (
	"testing"
	"time"
)

// SessionInfo.LogonTime comes from the session's ID.
func TestASessionsIDHasTheTimeOfItsLogon(t *testing.T) {
	var ids sessionIDs
	ids.init()
	for range 1000 {
		before := time.Now().UnixNano()
		id, err := ids.next()
		if err != nil {
			t.Fatal(err)
		}
		if got := timeOfID(id); got <= before-256 || got > time.Now().UnixNano()+int64(time.Millisecond) {
			t.Fatalf("%v after the ID was asked for", time.Duration(got-before))
		}
		if !isTimeOf(id, time.Now().UnixNano()) {
			t.Fatal("the time of an ID is not taken for the time at which it was made")
		}
	}
}

// Where the system's clock was set back, an ID goes on from the last one: LogonTime does not.
func TestTheTimeOfAnIDIsNotTakenWhereTheClockWasSet(t *testing.T) {
	var ids sessionIDs
	ids.init()
	id, err := ids.next()
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []time.Duration{-time.Hour, -2 * time.Millisecond, clockStep, time.Hour} {
		if isTimeOf(id, timeOfID(id)+int64(set)) {
			t.Errorf("taken, %v later", set)
		}
	}
}
