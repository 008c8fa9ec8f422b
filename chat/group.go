package chat

import (
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Group is a group of users with a conversation.
type Group struct {
	ID         GroupID
	Name       string
	Owner      string
	MaxMembers int
	Members    int    // how many there are
	Anonymous  bool   // members may write without their names
	Muted      bool   // only administrators may write
	Open       bool   // users may join by themselves
	Dissolved  bool   // it is a group no more; only a change of Store.UpdateGroup sees it
	LastSeq    uint64 // the number of the last message
	Version    uint64 // counts changes of who is in the group
}

// Member is a user in a group, or one who may not be.
type Member struct {
	UserID     string
	In         bool // the user is a member
	Role       Role
	MutedUntil time.Time // the member may not write until then; the zero Time for not muted
	Joined     uint64    // LastSeq of the group when the user came
	BannedBy   string    // who has banned the user; empty for not banned
	Groups     int       // how many groups the user is in; for a change of Store.UpdateGroup alone
}

// Banned reports whether the user may not write and not join.
func (m *Member) Banned() bool { return m.BannedBy != "" }

// Role is what a member may do in a group.
type Role = protocol.GroupRole

// The roles.
const (
	Ordinary      = protocol.RoleMember
	Administrator = protocol.RoleAdministrator
	Owner         = protocol.RoleOwner
)
