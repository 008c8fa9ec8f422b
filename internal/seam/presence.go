package seam

import "github.com/google/uuid"

// Presences is what a user manager asks its Claims to be, if several managers tell together who is online. Then this manager tells Online
// for a claim that was the first of its user, and Offline when Users.Offline is called. The methods are called in the user's turn, and
// must not block.
type Presences interface {
	// Left gives back the claim of a user's last session on this manager, instead of Claims.Release, or a claim that was not used.
	Left(userID string, session uuid.UUID, l Left)
	// GraceOver ends the grace that a Left began. carry moves with the user.
	GraceOver(userID string, carry Carry)
}

// Left says how a user has left a manager.
type Left struct {
	Unused bool  // the claim was granted, and its session has never been Connected
	Grace  bool  // the user counts as online until GraceOver, or until the user logs on again
	Carry  Carry // what moves with the user; nil with Grace or Unused
}

// Carry is usermgr.Carry.
type Carry map[string][]byte

// Users is what a user manager provides to its Presences. All functions return at once; what they do is done in the user's turn.
type Users struct {
	// Offline tells Offline. version is that of the record that was removed, and all the user's totals that are known are in the carries. It may
	// be called while a claim of the user runs, and is told before that comes in.
	Offline func(userID string, version uint64, carries []Carry)
	// Online tells Online of a user whose first claim was not used while another was.
	Online func(userID string, version uint64)
	// Arrive brings what moves with a user who has a session here by now. It is dropped if the user has left again.
	Arrive func(userID string, c Carry)
	// EndGrace ends the user's grace, if it still runs: the user is online elsewhere. GraceOver follows then.
	EndGrace func(userID string)
}

// UsersOf returns what a user manager provides. Package usermgr sets it.
var UsersOf func(users any) Users
