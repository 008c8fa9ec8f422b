package cluster

import (
	"context"
	"errors"
	"fmt"
)

// Version orders what was written of one user. 0 means that there is nothing. It grows with every write, also across removals and
// restarts of the store, and is below 1<<53, so that a floating-point number has it exactly.
type Version uint64

// Incarnation is one life of a node in the cluster, from Join until the node has left or was buried. A number is never given out twice.
type Incarnation uint32

var (
	// ErrRecovering is returned while the store recovers: it may have lost what was written, and waits until every node that may
	// be alive has written its sessions again. It is also returned for an epoch that is not the store's. Nothing was done.
	ErrRecovering = errors.New("rollcall: the cluster's store recovers")
	// ErrFenced is returned for an incarnation that was buried, or has left. It is dead for good.
	ErrFenced = errors.New("rollcall: this life of the node in the cluster is over")
	// ErrUnknown is returned for an incarnation that the store does not know. Where the store recovers, Rejoin makes it known.
	ErrUnknown = errors.New("rollcall: the cluster's store does not know this life of the node")
	// ErrNotDurable is returned when the store has done what was asked, but could lose it. A renewal then does not count.
	ErrNotDurable = errors.New("rollcall: the cluster's store could lose what it was told")
)

// Conflict is the error of a Swap or a Remove whose prev is not the version of the user's record. Nothing was done.
type Conflict struct {
	Version Version // of what is written; 0 for nothing
	Body    []byte  // what is written; the caller's
}

// Error implements error.
func (c *Conflict) Error() string {
	return fmt.Sprintf("rollcall: the record has version %d", c.Version)
}

// Directory is what a store must do for a cluster: it keeps one small record a user, and a table of the nodes. It knows no policy and
// reads no record. Package dirtest has its conformance suite.
//
// A store that was restarted, or took over from another, may have lost what was written last. It must notice that by itself, get a new
// epoch and recover: no record is written, except by nodes that write their sessions again, until all nodes are ready.
//
// All methods may be called from any goroutine and block until ctx ends. After an error that is none of this package's the call may have
// taken effect, or may take effect later.
type Directory interface {
	// Swap writes a user's record if its version is still prev, and returns the new version. The error is a *Conflict, or
	// ErrRecovering when o.Epoch is not the store's or the store recovers, unless o.Recovering is set.
	Swap(ctx context.Context, user string, prev Version, body []byte, o SwapOptions) (Version, error)
	// Remove removes a user's record if its version is still prev. Its errors are those of Swap. A store that has no room for
	// another record still removes.
	Remove(ctx context.Context, user string, prev Version, o SwapOptions) error
	// Look returns the users' records, in the order of users; one that is not there has version 0. It is answered while the store
	// recovers too.
	Look(ctx context.Context, users ...string) ([]Record, error)
	// Walk returns about limit records from a place on: "" for the first, then Listing.Next. While nothing changes each record
	// comes once. A call looks at a bounded part of the store, and so may return few records, or none, although others follow.
	Walk(ctx context.Context, from string, limit int) (Listing, error)
	// Count returns the number of records, without those whose body begins with Uncounted.
	Count(ctx context.Context) (int, error)

	// Table returns the table of nodes. It is no renewal, and may be from before what others have been told; but it has all nodes that
	// had joined when the caller was told of a record in the same epoch.
	Table(ctx context.Context) (View, error)
	// Join adds a node to the table, and buries its former incarnation. The number is greater than all in the table, and than all that
	// were given out before a store lost its table: nodes that act without it may still have them (StoreLost). A store can take the
	// number from its clock. The rows of dead nodes that are Swept leave the table. While the store recovers the error is ErrRecovering; see JoinOptions.Bootstrap for
	// the first node, and JoinOptions.Open for one that comes back with sessions.
	Join(ctx context.Context, m Member, o JoinOptions) (Incarnation, error)
	// Renew counts a renewal of me, and returns the table. floor is the highest version that the caller knows: no later version is
	// lower. With ErrNotDurable and ErrUnknown the View is valid too. Another error is ErrFenced.
	Renew(ctx context.Context, me Incarnation, m Member, floor Version) (View, error)
	// Rejoin adds me to the table of a store that recovers and has lost it. The error is ErrFenced where me is among the dead that
	// another node has told, and ErrUnknown where the store does not recover.
	Rejoin(ctx context.Context, me Incarnation, m Member, o RejoinOptions) error
	// Ready says that me has written all its sessions again, and reports whether the store has recovered. Call it again until it
	// has. The store has recovered when all nodes in the table, and all that Rejoin has told, are ready and Settled is set, or when
	// Overdue is set; nodes that are not ready are buried then. Settled does not count with Stale where the store has lost its table. The errors are ErrFenced, ErrUnknown, and
	// ErrRecovering when o.Epoch is not the store's.
	Ready(ctx context.Context, me Incarnation, o ReadyOptions) (armed bool, err error)
	// Bury ends the life of a node, if it has renewed as many times as the caller saw in this epoch. Call it for a node that has
	// not renewed for as long as a lease, on the caller's clock. The error is ErrRecovering while the store recovers or when the
	// epoch is not the store's, and ErrFenced or ErrUnknown where by is not in the table. A node that has renewed meanwhile is no
	// error.
	Bury(ctx context.Context, by, who Incarnation, epoch string, renewals uint64) error
	// Swept notes that no record has an entry of these dead nodes any more: their rows become Swept, and all but the one with the
	// highest number of the table leave it. A node that lives is left as it is. The errors are those of Bury.
	Swept(ctx context.Context, by Incarnation, epoch string, dead []Incarnation) error
	// Leave ends the life of me.
	Leave(ctx context.Context, me Incarnation) error
}

// SwapOptions say on which grounds a record is written.
type SwapOptions struct {
	// Epoch is the store's epoch as the writer's last durable renewal saw it. With another epoch the store refuses.
	Epoch string
	// Recovering writes a session again: it is allowed while the store recovers.
	Recovering bool
}

// Uncounted is the first byte of the bodies of records that Directory.Count leaves out: their users are not online. No other body begins
// with it.
const Uncounted = 0xFF

// Record is what is written of a user.
type Record struct {
	User    string
	Version Version
	Body    []byte // the caller's
}

// Listing is a part of all records.
type Listing struct {
	Records []Record
	Next    string // from where to go on; "" at the end
}

// Member is what a node says of itself.
type Member struct {
	Name   string // for people
	Policy string // a digest of the rules by which logons exclude sessions; nodes with different ones do not work together
	Addr   string // where the node's mesh is reached; empty for a mesh without addresses
	// Knows is the highest incarnation that the node has seen in the table. A node acts when all others know it, because they must
	// wait for it when the store has lost its table.
	Knows Incarnation
}

// JoinOptions say on which grounds a node joins.
type JoinOptions struct {
	// Former is the node's former incarnation, whose sessions take no message any more; 0 for none.
	Former Incarnation
	// Bootstrap is the Stamp that the caller has seen unchanged for a whole lease, on its clock, of a store that recovers: then no
	// node can be acting. If it is still the store's, all nodes in the table are buried, and the store has recovered.
	Bootstrap string
	// Open is what a node still knows that has acted without the store, as Former. It has sessions that the store does not know, so
	// the store gets a new epoch and recovers, as after a restart; a store that recovers already goes on with that. Former lives on,
	// and is returned, unless it is dead: then the node gets a new number. A store that has recovered since it was restarted trusts its
	// own table: a node that is absent there is dead, and the store uses only the Floor of Open. Nil for a node that has no sessions.
	Open *RejoinOptions
}

// RejoinOptions are what a node still knows when the store has lost its table.
type RejoinOptions struct {
	Floor Version       // the highest version that the node knows
	Known []Incarnation // nodes that may be alive: the store waits for them
	Dead  []Incarnation // nodes that were buried, and stay so
}

// ReadyOptions say how long a node has waited for others, on its own clock, since it first saw that the store recovers.
type ReadyOptions struct {
	Epoch   string  // in which the node has written its sessions again
	Floor   Version // the highest version that the node knows
	Settled bool    // two times as long as a node takes to renew: all that live must have come
	Stale   bool    // the node had not renewed for a lease, so that it may not know of nodes that act: it says Settled in vain where the table is lost
	Overdue bool    // as long as a lease: those that have not come have stopped acting
}

// View is the table of nodes at one moment.
type View struct {
	// Epoch is another after every event by which the store may have lost something.
	Epoch string
	// Armed is false while the store recovers.
	Armed bool
	// Stamp is another after every change of the table, and every renewal.
	Stamp string
	// Floor is the highest version that the store knows. A store whose versions are microseconds of its clock tells at least its
	// present time, so that nodes that act without it can go on from there: see StoreLost.
	Floor   Version
	Members []MemberState
}

// MemberState is a node in the table.
type MemberState struct {
	Incarnation Incarnation
	Member      Member
	Renewals    uint64 // how many times it has renewed, in this epoch at least
	Dead        bool   // it was buried, or has left
	Swept       bool   // it is dead, and no record has an entry of it; else records may have some
}
