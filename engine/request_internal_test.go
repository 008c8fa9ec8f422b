package engine

import "testing"

// A request that is over does not take away the one that has its ID now.
func TestForgetLeavesTheRequestThatHasItsIDNow(t *testing.T) {
	c := new(Conn)
	over, open := &request{id: 7}, &request{id: 7}
	if c.forget(over) {
		t.Error("a connection that never had a request had one to forget")
	}
	c.needLazy().requests = map[uint32]*request{7: open}
	if c.forget(over) {
		t.Error("a request that is over was open")
	}
	if !c.forget(open) {
		t.Error("the open request is gone")
	}
	if c.forget(open) || c.take(7) != nil {
		t.Error("what was forgotten is open still")
	}
}
