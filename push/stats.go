package push

import "sync/atomic"

// Stats are the counts of a service since it was made, and the number of messages that wait now. A message to several users counts
// once for each user.
type Stats struct {
	Waiting     int    // messages that wait for an acknowledgement, kept or not
	Kept        int    // waiting messages that are kept
	KeptBytes   int64  // bytes of the kept messages, as Config.MaxBytes counts them
	Confirmed   uint64 // sessions that have acknowledged a message
	Unconfirmed uint64 // sessions that did not acknowledge in time, or have ended before
	Expired     uint64 // kept messages that were not acknowledged within Options.Keep
	Refused     uint64 // messages that were not kept, or not sent, because of a limit of Config
	Again       uint64 // times that a kept message went to another session than the first
	Panics      uint64 // panics in pushers and in the functions given to Go
}

type counters struct {
	waiting                                                  atomic.Int64
	confirmed, unconfirmed, expiries, refused, again, panics atomic.Uint64
}

// Stats returns the counts. Any goroutine may call it.
func (s *Service) Stats() Stats {
	return Stats{Waiting: int(s.waiting.Load()), Kept: int(s.kept.messages.Load()), KeptBytes: s.kept.bytes.Load(),
		Confirmed: s.confirmed.Load(), Unconfirmed: s.unconfirmed.Load(), Expired: s.expiries.Load(), Refused: s.refused.Load(),
		Again: s.again.Load(), Panics: s.panics.Load()}
}
