package testkit

import "runtime"

// Heap returns the memory's statistics after two collections: HeapAlloc has the live bytes and HeapObjects the live objects. What a
// sync.Pool kept goes with the second one.
func Heap() (s runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s
}
