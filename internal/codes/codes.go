// Package codes counts events for each close code, and finds the close code in an error. The first 32 codes of each thousand are counted
// without a lock.
package codes

import (
	"sync"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/protocol"
)

// The first 32 codes of each thousand up to 5xxx have a counter of their own.
const thousands, each = 6, 32

// Counter counts by close code. The zero value has counted nothing. Any goroutine may use it.
type Counter struct {
	dense [thousands * each]atomic.Uint64
	mu    sync.Mutex // guards rest
	rest  map[protocol.CloseCode]uint64
}

// Add counts one more of a code.
func (c *Counter) Add(code protocol.CloseCode) {
	if thousand, n := code/1000, code%1000; thousand < thousands && n < each {
		c.dense[thousand*each+n].Add(1)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rest == nil {
		c.rest = make(map[protocol.CloseCode]uint64)
	}
	c.rest[code]++
}

// All returns the counts. A code that was not counted has no entry.
func (c *Counter) All() map[protocol.CloseCode]uint64 {
	all := make(map[protocol.CloseCode]uint64)
	for i := range c.dense {
		if n := c.dense[i].Load(); n > 0 {
			all[protocol.CloseCode(i/each*1000+i%each)] = n
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for code, n := range c.rest {
		all[code] = n
	}
	return all
}
