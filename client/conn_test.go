package client

import (
	"math"
	"testing"
)

// Numbers come round, past 0 and past those whose requests are open.
func TestRequestNumbersComeRound(t *testing.T) {
	cn := newConn(new(Client), nil)
	cn.lastID = math.MaxUint32 - 2
	cn.requests[math.MaxUint32] = request{}
	cn.requests[1] = request{}
	for _, want := range []uint32{math.MaxUint32 - 1, 2, 3} {
		if got := cn.nextID(); got != want {
			t.Errorf("the next number is %d, want %d", got, want)
		}
	}
}
