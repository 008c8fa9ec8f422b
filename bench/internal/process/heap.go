//go:build linux

package process

import "runtime"

// Heap returns how many bytes the heap of this process holds, garbage not counted.
func Heap() float64 {
	runtime.GC()
	runtime.GC() // what a sync.Pool keeps survives one collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
