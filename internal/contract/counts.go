package contract

import (
	"math"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// counters: a session's final counters have all that was counted until it was quiet, and until the last event handler
// before Disconnected returned (rules 3 and 12).
func (j *judge) counters(c *connection, b *befallen) {
	sure := b.disconnected.from // counts before this place are included
	givenUp := time.Duration(math.MaxInt64)
	switch {
	case b.pushedOut != nil:
		sure = b.pushedOut.to
	case b.timedOut != nil:
		sure = b.timedOut.to
	case b.expired != nil:
		sure = b.expired.to
	case len(c.quiet) > 0 && c.quiet[0] < sure:
		sure = c.quiet[0]
		if len(c.quiesces) > 0 { // a handler that returns just when the wait for it ends may have counted too late
			givenUp = c.quiesces[0].fromAt + j.m.quiesceTimeout
		}
	case len(c.quiesces) > 0:
		sure = c.quiesces[0].from
	}
	final := b.disconnected.info
	for w, got := range map[way]protocol.Traffic{in: final.In, out: final.Out, dropped: final.Dropped} {
		var least, most protocol.Traffic
		types := []uint16{0}
		for _, t := range c.tallies {
			if t.way != w || t.from > b.disconnected.from {
				continue
			}
			most.Messages += t.messages
			most.Bytes += t.bytes
			types = append(types, t.typ)
			if t.before(sure) && t.fromAt < givenUp {
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

// totals: while a user stays online, the user's totals include the counts of earlier sessions (rule 12). An answer has the
// counts of the live sessions too, so the rest must be from the earlier ones.
func (j *judge) totals(h *history) {
	var earlier usermgr.UserData
	for _, e := range h.events {
		switch e.kind {
		case cameOnline:
			earlier = usermgr.UserData{}
			if len(e.data.Sessions) > 0 {
				earlier.Since = e.data.Sessions[0].LogonTime
			}
			j.total(&e.data, &earlier, e)
		case disconnected:
			add(&earlier.In, e.info.In)
			add(&earlier.Out, e.info.Out)
			add(&earlier.Dropped, e.info.Dropped)
		case wentOffline:
			j.total(&e.data, &earlier, e)
			earlier = usermgr.UserData{}
		case connected:
			for _, k := range j.looks {
				if k.data != nil && k.user == h.user && k.within(&e.span) {
					j.total(k.data, &earlier, e)
				}
			}
		}
	}
}

// total compares an answer about a user, given during e, with the counts of the sessions that ended before.
func (j *judge) total(d, earlier *usermgr.UserData, e *event) {
	in, out, dropped := earlier.In, earlier.Out, earlier.Dropped
	for _, s := range d.Sessions {
		add(&in, s.In)
		add(&out, s.Out)
		add(&dropped, s.Dropped)
		j.described(&s)
	}
	if d.In != in || d.Out != out || d.Dropped != dropped {
		j.complain(12, e.user, "during %v the user has in %+v, out %+v, dropped %+v; the sessions since Online had %+v, %+v, %+v",
			e, d.In, d.Out, d.Dropped, in, out, dropped)
	}
	if !d.Since.Equal(earlier.Since) {
		j.complain(12, e.user, "during %v the user is online since %v; it is %v", e, d.Since, earlier.Since)
	}
}

func add(t *protocol.Traffic, o protocol.Traffic) {
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	if o.LastType != 0 {
		t.LastType = o.LastType
	}
}
