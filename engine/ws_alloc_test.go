//go:build !race

package engine

import (
	"slices"
	"testing"
)

// The message path allocates nothing over WebSocket either, once the loop's memory has grown, and copies no replies behind their header.
func TestTheWebSocketPathAllocatesNothing(t *testing.T) {
	for _, sizes := range [][]int{slices.Repeat([]int{64}, 32), slices.Repeat([]int{4096}, 8), {64}} {
		p := newWebPath(newEchoLoop(), sizes...)
		p.read()
		p.loop.frameBuf = nil
		if n := testing.AllocsPerRun(200, p.read); n > 0 {
			t.Errorf("%d messages of %d bytes: %.1f allocations a read", len(sizes), sizes[0], n)
		}
		if p.loop.frameBuf != nil {
			t.Errorf("%d messages of %d bytes: the replies were copied", len(sizes), sizes[0])
		}
	}
}
