package codes

import (
	"maps"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

func TestEveryCodeIsCountedAsItself(t *testing.T) {
	var c Counter
	want := make(map[protocol.CloseCode]uint64)
	var wg sync.WaitGroup
	for i, code := range []protocol.CloseCode{0, 31, 32, 999, 1000, 1031, 1032, 2008, 3000, 4777, 5004, 5999, 6000, 65535} {
		want[code] = uint64(i + 1)
		for range i + 1 {
			wg.Go(func() { c.Add(code) })
		}
	}
	wg.Wait()
	if got := c.All(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
