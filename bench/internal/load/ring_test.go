//go:build linux

package load

import (
	"testing"
	"time"
)

func TestRingGivesBackInOrder(t *testing.T) {
	var r ring
	next, want := 0, 0
	for _, step := range []int{5, -3, 20, -1, 40, -61} { // grows while its content wraps around
		for ; step > 0; step-- {
			r.push(time.Duration(next))
			next++
		}
		for ; step < 0; step++ {
			if got := r.pop(); got != time.Duration(want) {
				t.Fatalf("popped %d, want %d", got, want)
			}
			want++
		}
	}
}
