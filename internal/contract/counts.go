package contract

import (
	"slices"

	"github.com/rollcall-go/rollcall/usermgr"
)

// counters: a session's final counters are what was counted until it was quiet, and until its last handler before
// Disconnected had returned (rules 3 and 12).
func (j *judge) counters(c *connection, b *befallen) {
	sure := b.disconnected.from // what was counted before this place is in
	switch {
	case b.pushedOut != nil:
		sure = b.pushedOut.to
	case b.timedOut != nil:
		sure = b.timedOut.to
	case len(c.quiet) > 0 && c.quiet[0] < sure:
		sure = c.quiet[0]
	case len(c.quiesces) > 0:
		sure = c.quiesces[0].from
	}
	final := b.disconnected.info
	for w, got := range map[way]usermgr.Traffic{in: final.In, out: final.Out, dropped: final.Dropped} {
		var least, most usermgr.Traffic
		types := []uint16{0}
		for _, t := range c.tallies {
			if t.way != w || t.from > b.disconnected.from {
				continue
			}
			most.Messages += t.messages
			most.Bytes += t.bytes
			types = append(types, t.typ)
			if t.before(sure) {
				least.Messages += t.messages
				least.Bytes += t.bytes
			}
		}
		if got.Messages < least.Messages || got.Messages > most.Messages || got.Bytes < least.Bytes || got.Bytes > most.Bytes {
			j.complain(12, c.user, "%v told %+v; counted were %+v to %+v", b.disconnected, got, least, most)
		}
		if !slices.Contains(types, got.LastType) || got.LastType == 0 && least.Messages > 0 {
			j.complain(12, c.user, "%v told of a last type %d, which was none", b.disconnected, got.LastType)
		}
	}
}

// totals: while a user stays online, what earlier sessions have counted is the user's (rule 12). Asked while Connected
// is told, the new session has counted nothing yet.
func (j *judge) totals(h *history) {
	var earlier usermgr.UserData
	for i, e := range h.events {
		if e.kind == disconnected {
			if i == 0 || h.events[i-1].kind != pushedOut {
				earlier = usermgr.UserData{}
				continue
			}
			add(&earlier.In, e.info.In)
			add(&earlier.Out, e.info.Out)
			add(&earlier.Dropped, e.info.Dropped)
		}
		if e.kind != connected {
			continue
		}
		if earlier.Since.IsZero() {
			earlier.Since = e.info.LogonTime
		}
		for _, k := range j.looks {
			if k.data == nil || k.user != h.user || !k.within(&e.span) {
				continue
			}
			d := k.data
			if d.In != earlier.In || d.Out != earlier.Out || d.Dropped != earlier.Dropped {
				j.complain(12, h.user, "during %v the user has in %+v, out %+v, dropped %+v; earlier sessions had %+v, %+v, %+v",
					e, d.In, d.Out, d.Dropped, earlier.In, earlier.Out, earlier.Dropped)
			}
			if !d.Since.Equal(earlier.Since) {
				j.complain(12, h.user, "during %v the user is online since %v; it is %v", e, d.Since, earlier.Since)
			}
		}
	}
}

func add(t *usermgr.Traffic, o usermgr.Traffic) {
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	if o.LastType != 0 {
		t.LastType = o.LastType
	}
}
