package cluster

import (
	"context"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/usermgr"
)

// pending is what a claim needs until it is granted. Only Claim's goroutine uses it, but for cancel, givenUp, dead, hid and lost.
type pending struct {
	logon   usermgr.Logon
	cancel  context.CancelCauseFunc // of Claim
	givenUp bool                    // cancel is called, and the claim is not granted any more; the node's lock protects it
	graces  []entry                 // graces that what was written takes away
	dead    []entry                 // entries of dead nodes that what was written removes, until that is told; the node's lock protects it and hid
	hid     bool                    // what was written removes entries of this node that others may have found, and so have told no Online; until that is told
	rest    []entry                 // those that it leaves
	prev    Version                 // no lower than what was told before what was written
	carries []seam.Carry            // what has come from the nodes that the user has left
	ended   []uuid.UUID             // sessions in the record that have ended, as their nodes say
	lost                            // the node's lock protects it
}

// lost is in which epochs of the store an entry may have been written, and was not noted (its generation is 0); "" for none. The store may
// have lost it since.
type lost struct {
	firstIn string // as the user's first: another claim may have found it there, and so be not the first; or be the first in a later epoch
	otherIn string // beside others: they may have left, and found that the user stays online
}

// since reports whether an epoch is one before the present one.
func since(in, present string) bool { return in != "" && in != present }

// before reports whether the entry may have been written in an epoch before the present one.
func (l lost) before(present string) bool {
	return since(l.firstIn, present) || since(l.otherIn, present)
}

// takes reports whether something is to be told of what the claim's entry has taken out of the store. The node's lock is held on entry.
func (p *pending) takes() bool { return len(p.dead) > 0 || p.hid }

// unnoted notes that the entry may have been written in an epoch. The node's lock is held on entry.
func (c *claim) unnoted(epoch string) {
	in := &c.open.otherIn
	if c.own.first && len(c.open.rest) == 0 { // the first in a store that has lost it may stand beside others in this one
		in = &c.open.firstIn
	}
	if *in == "" {
		*in = epoch
	}
}

// unwritten notes that the entry was not written in an epoch. The node's lock is held on entry.
func (l *lost) unwritten(epoch string) {
	if l.firstIn == epoch {
		l.firstIn = ""
	}
	if l.otherIn == epoch {
		l.otherIn = ""
	}
}
