package seam

import (
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Lease is how long a process may act for its cluster. The node of the cluster sets its end, and an engine looks at it before it delivers
// what it has read. Both go by one clock. Any goroutine may call the methods.
type Lease struct {
	now func() time.Duration
	end atomic.Int64
}

// NewLease returns a lease that is over, by the clock now.
func NewLease(now func() time.Duration) *Lease { return &Lease{now: now} }

// Over reports whether the lease is over. It takes no lock and allocates nothing.
func (l *Lease) Over() bool { return int64(l.now()) >= l.end.Load() }

// End returns when the lease is over, by its clock; 0 when it was ended.
func (l *Lease) End() time.Duration { return time.Duration(l.end.Load()) }

// SetEnd sets when the lease is over; 0 ends it.
func (l *Lease) SetEnd(at time.Duration) { l.end.Store(int64(at)) }

// Lessee is an engine as a cluster's node sees it.
type Lessee interface {
	// SetLease has the engine deliver no message when the lease is over; a connection to which one would be delivered is closed with
	// NodeLost. It is called before Engine.Run.
	SetLease(l *Lease)
	// StopWindow returns engine.Timeouts.StopWindow.
	StopWindow() time.Duration
}

// Spreader is an engine that spreads the return of its clients.
type Spreader interface {
	// Spread returns why with a time after which the client is to come back (protocol.FieldRetryMS), which is drawn between 0 and
	// engine.Timeouts.StopWindow, so that clients that are closed at the same time do not come back at the same time. With a StopWindow
	// of 0, or if why has Info, it returns why.
	Spread(why *protocol.CloseError) *protocol.CloseError
}

// EngineUser is what a usermgr.Claims may be that lends engines its lease.
type EngineUser interface {
	// UseEngine is called by bridge.Attach, with the engine of the user manager that has the receiver as its Claims.
	UseEngine(e Lessee)
}

// ClaimsOf returns the Claims of a user manager; nil where it has none, and for one that is not package usermgr's, which sets this
// function.
var ClaimsOf = func(users any) any { return nil }
