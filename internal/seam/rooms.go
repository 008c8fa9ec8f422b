package seam

// Rooms tells an operator of the groups of a bridge, as they are now. Any goroutine may call its methods.
type Rooms interface {
	// Rooms calls yield for each group that has members, with how many, until it returns false. The order has no meaning. A group that has
	// members throughout comes once; no lock is held while yield runs.
	Rooms(yield func(name string, members int) bool)
	// RoomsOf returns the names of the groups that a user is in, or one of the sessions on these connections; each once, in no order.
	RoomsOf(userID string, conns []uint64) []string
}

// RoomsOf returns what bridge, a *bridge.Bridge, tells of its groups. Package bridge sets it.
var RoomsOf func(bridge any) Rooms
