// Package freemem lets the benchmark measure the memory that a server really needs: at SIGUSR1 the process collects its
// garbage, returns the free pages to the system, and says so. Importing the package is enough.
//
// The benchmark also builds examples/echo with this file added, so the example itself need not import it.
package freemem

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func init() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for range asked {
			debug.FreeOSMemory()
			debug.FreeOSMemory() // what a sync.Pool keeps survives one collection
			fmt.Fprintln(os.Stderr, "memory freed")
		}
	}()
}
