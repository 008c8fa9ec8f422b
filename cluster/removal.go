package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
)

// removal removes entries of a user.
type removal struct {
	node *Node
	user string
	all  []*released

	// The outcome.
	gone    bool    // the record has left the store
	unsure  bool    // the record may have left: the node's life ended before an answer came
	parted  bool    // likewise, the entries may have left, and others stayed
	graced  bool    // a grace entry has taken their place
	epoch   string  // of the store, in which the entries were looked for last
	floor   Version // what was known to be the highest version before that
	version Version // of the record that has left or was replaced, or that has none of them
	rest    []entry // what is left, without the grace entry
	marks   []mark  // the record's, which stay
}

// run removes the entries, and takes back the marks of failed claims. It reports false when the node's life is over.
func (r *removal) run(ctx context.Context) bool {
	n := r.node
	var prev Version
	if len(r.all) == 1 && !r.all[0].guessed {
		prev, r.rest, r.marks = r.all[0].generation, r.all[0].rest, r.all[0].marks
		r.change()
	}
	var unsure Version // the record may have left: the answer was lost
	parted := false    // the entries may have, and others stayed: likewise
	for pause := time.Duration(0); ; {
		epoch, err := n.releaseEpoch(ctx, r.me())
		if err != nil {
			r.version, r.unsure, r.parted = unsure, unsure != 0, parted
			return false
		}
		r.epoch, r.floor = epoch, Version(n.floor.Load())
		var records []Record
		var was Version // of a record without entries
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		if prev == 0 {
			if records, err = n.dir.Look(call, r.user); err == nil {
				prev, err = r.look(records[0].Version, records[0].Body)
			}
			if err == nil {
				was = records[0].Version
			}
		}
		next := r.rest
		if grace := r.grace(); grace != nil && len(next) == 0 && prev != 0 {
			next = []entry{*grace}
		}
		switch {
		case err != nil:
		case prev == 0 && was != 0 && !r.onlyMarks() && !r.lacksBars():
			// There is nothing to write. Look may have seen a store of a later epoch; this call finds the record in that of the present one.
			if err = n.dir.Remove(call, r.user, 0, SwapOptions{Epoch: epoch}); err == nil {
				was, r.rest = 0, nil
			}
		default:
			err = n.write(call, r.user, max(prev, was), next, withBars(r.marks, r.bars()), SwapOptions{Epoch: epoch})
		}
		cancel()
		var conflict *Conflict
		switch {
		case err == nil && prev == 0: // the entries are not there, and not because the store recovers
			if len(r.rest) == 0 {
				was = 0
			}
			r.nothing(was, unsure)
			return true
		case err == nil:
			r.version, r.gone, r.graced = prev, len(next) == 0, len(r.rest) == 0 && len(next) > 0
			return true
		case errors.As(err, &conflict):
			if prev, err = r.look(conflict.Version, conflict.Body); err != nil {
				if n.mend(ctx, r.user, conflict.Version, epoch, false) != nil {
					return true // an audit mends it
				}
				continue
			}
			if prev == 0 && r.lacksBars() {
				continue
			}
			if prev == 0 {
				if r.onlyMarks() {
					conflict.Version = 0
				}
				r.nothing(conflict.Version, unsure)
				return true
			}
			unsure, parted = 0, false
		case errors.Is(err, errBadRecord):
			if n.mend(ctx, r.user, records[0].Version, epoch, false) != nil {
				return true
			}
		default:
			if errors.Is(err, ErrRecovering) {
				prev = 0
			} else if prev != 0 && len(next) == 0 {
				unsure = prev
			} else if prev != 0 {
				parted = true
			}
			pause = n.backOff(ctx, err, pause)
		}
	}
}

// me returns the life of the node that has the entries.
func (r *removal) me() Incarnation { return r.all[0].node }

// grace returns the entry that takes the place of the others; nil for none.
func (r *removal) grace() *entry { return r.all[len(r.all)-1].grace }

// nothing notes that there is nothing to remove. A record that is not there may have left by a call whose answer was lost, or with
// what the store has lost. What was told of the latter has no higher version than the floor.
func (r *removal) nothing(version, unsure Version) {
	if r.version = version; version != 0 || r.graced {
		return
	}
	r.version, r.gone = unsure, unsure != 0
	for _, e := range r.all {
		if unsure == 0 && (e.generation != 0 || since(e.lost.otherIn, r.epoch)) {
			r.version, r.gone = r.floor, true
		}
	}
}

// onlyMarks reports whether the record, as it was looked at, has marks alone: then the user is as offline as without a record.
func (r *removal) onlyMarks() bool { return len(r.rest) == 0 && len(r.marks) > 0 && !r.graced }

// look notes what is to be left of a record. Version 0 means that there is nothing to remove.
func (r *removal) look(version Version, body []byte) (prev Version, err error) {
	if r.rest, r.marks, err = decodeAll(body, version); err != nil {
		return 0, err
	}
	found := false
	for _, e := range r.all {
		i := find(r.rest, e.session)
		if i < 0 {
			continue
		}
		if e.grace != nil && r.rest[i].grace && e == r.all[len(r.all)-1] && len(r.rest) == 1 { // it was written, and the answer was lost
			r.graced, r.rest = true, nil
			return 0, nil
		}
		e.met = e.met || r.rest[i].taken
		r.rest = slices.Delete(r.rest, i, i+1)
		e.found, found = true, true
	}
	if !r.change() && !found {
		return 0, nil
	}
	return version, nil
}

// change takes back the marks of failed claims in what is left of the record, and takes over Online where this node tells it. It reports whether there was
// anything to change.
func (r *removal) change() (changed bool) {
	for i := range r.rest {
		for _, e := range r.all {
			if r.rest[i].ending && slices.Contains(e.marked, r.rest[i].session) {
				r.rest[i].ending = false
				changed = true
			}
		}
	}
	if _, hidden, _ := r.owed(); hidden && takeFirst(r.rest) {
		changed = true
	}
	return changed
}

// owed returns what is to be told of the entries, as far as it is known. offline: Offline is owed if the user has no other entry. hidden: Online is owed if
// the user has others, since these may have found the entries and so told none. back: an entry had left before, and the store may have lost what came since.
func (r *removal) owed() (offline, hidden, back bool) {
	for _, e := range r.all {
		if e.hid || e.met {
			offline, hidden = true, true
		}
		switch {
		case e.again:
			met := e.found || since(e.lost.otherIn, r.epoch) // others may have found it before the store has lost it once more
			offline, hidden, back = offline || met, hidden || met, back || met
		case e.untold:
			// One that was the first in a store that has lost it may stand beside others in this one: they have told Online.
			offline = offline || e.lost.before(r.epoch)
			hidden = hidden || e.found || e.generation != 0 || since(e.lost.firstIn, r.epoch)
		default:
			offline = true
		}
	}
	return offline, hidden, back
}

// tell tells what a removal has changed.
func (r *removal) tell() {
	n := r.node
	var carries []seam.Carry
	var grace *entry
	for _, e := range r.all {
		carries = append(carries, e.carries...)
		if e.found {
			n.reportSwept(r.user, e.dead)
		}
		if e.grace != nil {
			grace = e.grace
		}
	}
	owes, hidden, back := r.owed()
	if grace != nil && !r.graced {
		if i := find(r.rest, grace.session); i < 0 || !r.rest[i].grace { // a claim that was not used may have left it
			n.loseGrace(r.user, grace.session)
		}
	}
	switch {
	case r.graced:
		n.endWithGrace(r.user, grace, r.epoch)
	case r.unsure:
		if owes {
			n.unsure(doubt{user: r.user, life: r.me(), owes: true, version: r.version, carries: carries})
		}
	case r.parted:
		if hidden {
			n.addDoubt(doubt{user: r.user, life: r.me(), hidden: true})
		}
	case r.gone:
		if back {
			r.version = max(r.version, r.floor)
		}
		if owes {
			n.local.Offline(r.user, uint64(r.version), carries)
		}
	default:
		if hidden && r.version != 0 { // another claim has found it, and so was not the first
			n.local.Online(r.user, uint64(r.version))
		}
		n.bring(r.user, r.rest, carries)
	}
}
