// Package freemem lets the benchmark measure the memory that a server really needs: at SIGUSR1 the process collects its
// garbage, returns the free pages to the system, and says so; at SIGUSR2 it says how many objects it has allocated so far, and
// how many bytes its heap and its stacks have. Importing the package is enough.
//
// The benchmark also builds examples/echo with this file added, so the example itself need not import it.
package freemem

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

func init() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range asked {
			if s == syscall.SIGUSR2 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				fmt.Fprintln(os.Stderr, "memory is", m.Mallocs, m.HeapAlloc, m.StackInuse)
				continue
			}
			debug.FreeOSMemory()
			debug.FreeOSMemory() // what a sync.Pool keeps survives one collection
			fmt.Fprintln(os.Stderr, "memory freed")
		}
	}()
}
