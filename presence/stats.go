package presence

import "sync/atomic"

// Stats are the counts of a service since it was made, and what there is now.
type Stats struct {
	Users    int    // users in memory: those who are online, or have a change that is not told or stored yet
	Watching int    // sessions that watch
	Waiting  int    // requests that were not answered yet
	Changes  uint64 // changes that ticks have found
	Told     uint64 // pairs of a change and a watcher that were told
	Frames   uint64 // notices, as messages to one session each
	Busy     uint64 // requests that were refused because too many waited
	Failures uint64 // calls of Store and Contacts that have failed, panicked or not returned in time
	Panics   uint64 // panics of Config.Changed
}

type counters struct {
	watching, waiting                              atomic.Int64
	found, told, frames, busy, failures, panicking atomic.Uint64
}

// Stats returns the counts. Any goroutine may call it.
func (s *Service) Stats() Stats {
	return Stats{Users: s.table.size(), Watching: int(s.watching.Load()), Waiting: int(s.waiting.Load()), Changes: s.found.Load(),
		Told: s.told.Load(), Frames: s.frames.Load(), Busy: s.busy.Load(), Failures: s.failures.Load(), Panics: s.panicking.Load()}
}
