package contract

import "slices"

// stretch is a part of the record, up to the next one, for which the right answers about a user are known.
type stretch struct {
	from  place
	where [][]uint64 // the answers that are right: one within an event, two between events that change the mapping
}

// lookups compares every answer about a user with the events: during an event only one answer is right (rules 6 and
// 7).
func (j *judge) lookups(h *history) {
	stretches := j.stretches(h)
	for _, k := range j.looks {
		if k.to == 0 || k.at == 0 && k.user != h.user {
			continue
		}
		if k.at != 0 {
			if c := j.byConn[k.at]; c == nil || c.user != h.user {
				continue
			}
		}
		if k.found && k.user != h.user {
			j.complain(9, h.user, "%v", k)
			continue
		}
		right := k.allowed(stretches)
		ok := slices.ContainsFunc(right, func(where []uint64) bool {
			if k.at != 0 {
				return slices.Contains(where, k.at) == k.found
			}
			return slices.Equal(where, k.conns)
		})
		if !ok {
			j.complain(6, h.user, "at %d-%d %v, which can have been %v", k.from, k.to, k, right)
		}
	}
}

// allowed returns the answers that are right at some time during k.
func (k *look) allowed(stretches []stretch) (right [][]uint64) {
	for i, s := range stretches {
		if s.from < k.to && (i+1 == len(stretches) || stretches[i+1].from > k.from) {
			right = append(right, s.where...)
		}
	}
	return right
}

// stretches returns the whole record in stretches: one during each event, and one between two events.
func (j *judge) stretches(h *history) []stretch {
	here := []uint64(nil) // the user's connections
	var all []stretch
	add := func(from place, where ...[]uint64) { all = append(all, stretch{from, where}) }
	var since place
	for i, e := range h.events {
		before := here
		switch e.kind {
		case connected, cameOnline, timedOut, expired, pushedOut:
			if !slices.Contains(here, e.conn) {
				here = append(slices.Clone(here), e.conn)
			}
		case disconnected:
			here = slices.DeleteFunc(slices.Clone(here), func(c uint64) bool { return c == e.conn })
			if j.succeeded(h, i) {
				here = append(here, h.events[i-1].by)
			}
		}
		add(since, before, here)
		add(e.from, here)
		since = e.to
		if e.to == 0 {
			return all
		}
	}
	add(since, here)
	return all
}
