package chat

import "sync/atomic"

// counters are what Stats counts.
type counters struct {
	stored, repeated, recalled, delivered, refusedPosts, batches atomic.Uint64
	busy, failures, panics                                       atomic.Uint64
	perPost                                                      atomic.Int64 // nanoseconds of the last batch, for each post
}

// Stats are counts since the service began, but for Waiting.
type Stats struct {
	Stored    uint64 // messages and recalls that were numbered
	Recalled  uint64 // recalls among them
	Repeated  uint64 // messages that were stored already
	Refused   uint64 // messages and recalls that were refused by a rule
	Delivered uint64 // frames to sessions
	Batches   uint64 // calls of Store.Append that have stored something
	Busy      uint64 // requests that were refused because too many waited
	Failures  uint64 // calls of the store that have failed
	Panics    uint64 // of handlers
	Waiting   int    // requests of clients that are not answered
}

// Stats returns counts.
func (s *Service) Stats() Stats {
	return Stats{
		Stored: s.stored.Load(), Recalled: s.recalled.Load(), Repeated: s.repeated.Load(), Refused: s.refusedPosts.Load(),
		Delivered: s.delivered.Load(), Batches: s.batches.Load(), Busy: s.busy.Load(), Failures: s.failures.Load(),
		Panics: s.panics.Load(), Waiting: s.lanes.count(),
	}
}
