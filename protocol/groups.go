package protocol

import (
	"strconv"
	"time"
)

// Operations of messages of [TypeGroup]. docs/chat.md has their fields, their content and their replies.
const (
	// GroupCreate makes a group.
	GroupCreate uint8 = 1
	// GroupChange changes a group's name and settings.
	GroupChange uint8 = 2
	// GroupDissolve ends a group.
	GroupDissolve uint8 = 3
	// GroupJoin makes the user a member, and asks for the last messages.
	GroupJoin uint8 = 4
	// GroupLeave ends the user's membership.
	GroupLeave uint8 = 5
	// GroupAdd makes other users members.
	GroupAdd uint8 = 6
	// GroupRemove ends other users' memberships.
	GroupRemove uint8 = 7
	// GroupSetRole gives a member a role.
	GroupSetRole uint8 = 8
	// GroupMute keeps a member from writing until a time.
	GroupMute uint8 = 9
	// GroupBan keeps a user from writing and joining.
	GroupBan uint8 = 10
	// GroupInfo asks for a group.
	GroupInfo uint8 = 11
	// GroupMembers asks for a page of the members.
	GroupMembers uint8 = 12
	// GroupNotice is what a server tells about a group. Only servers send it.
	GroupNotice uint8 = 13
)

// GroupRole is what a member may do in a group. The numbers are those of the wire.
type GroupRole uint8

const (
	// RoleMember: to write and to leave.
	RoleMember GroupRole = iota
	// RoleAdministrator: also to change the group, and to add, remove, mute and ban members.
	RoleAdministrator
	// RoleOwner: also to make administrators, to pass the group on and to dissolve it. A group has one.
	RoleOwner
)

// String returns the role's name: member, administrator or owner; or "role N" for another.
func (r GroupRole) String() string {
	switch r {
	case RoleMember:
		return "member"
	case RoleAdministrator:
		return "administrator"
	case RoleOwner:
		return "owner"
	}
	return "role " + strconv.Itoa(int(r))
}

// GroupMember is a member of a group.
type GroupMember struct {
	UserID     string
	Role       GroupRole
	MutedUntil time.Time     // UTC, in milliseconds; the zero Time for not muted
	State      PresenceState // PresenceOffline also where the reader may not see it
}

// ParseGroupMembers reads a member list: u16 count, then for each member u8 length and the user ID, u8 role, i64 muted until, in Unix
// milliseconds, 0 for the zero Time, and u8 state as [PresenceState]. The result shares no memory with body; it is never nil without an error.
//
// The error is a *CloseError with InvalidMessage: body is cut off or goes on after the last member, has more than 1,000 of them, or has what is
// no user ID, no role or no state. It is safe for concurrent use.
func ParseGroupMembers(body []byte) ([]GroupMember, error) {
	return parseList(body, "a member list", 1+1+1+8+1, func(c *cutter) GroupMember {
		m := GroupMember{UserID: c.id(), Role: GroupRole(c.u8()), MutedUntil: c.time(), State: PresenceState(c.u8())}
		if m.Role > RoleOwner || m.State > PresenceStealth {
			c.fail("a member list has %v, %v", m.Role, m.State)
		}
		return m
	})
}
