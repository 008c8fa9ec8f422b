// Package freemem lets the benchmark measure what a server really holds: at SIGUSR1 the process collects its garbage,
// gives the free pages back to the system, and says so. Importing it is enough.
//
// The benchmark also builds examples/echo with this file laid over it, so that the example needs no such thing of its own.
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
