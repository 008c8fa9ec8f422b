package chat

import (
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// The functions of this file are pure: a store calls them inside its transactions.

var (
	errGroupFull        = protocol.Errorf(protocol.GroupFull, "this group has its maximum of members")
	errGroupClosed      = protocol.Errorf(protocol.GroupClosed, "only administrators add members to this group")
	errNotAdministrator = protocol.Errorf(protocol.NotAdministrator, "you are not an administrator of this group")
	errNotOwner         = protocol.Errorf(protocol.NotAdministrator, "you are not the owner of this group")
	errNotBelow         = protocol.Errorf(protocol.NotAdministrator, "administrators do not touch the owner, nor each other")
	errOwnerLeaves      = protocol.Errorf(protocol.Refused, "the owner cannot leave: pass the group on, or dissolve it")
	errManyGroups       = protocol.Errorf(protocol.Refused, "this user is in too many groups")
	errOneself          = protocol.Errorf(protocol.Incomplete, "the user is oneself")
	errManyMembers      = protocol.Errorf(protocol.Refused, "this group has more members already")
)

// actor is who changes a group (rule P34).
type actor struct {
	server bool    // the program; then m is nil
	m      *Member // in the group
}

// needs says why the actor may not do what needs a role.
func (a actor) needs(least Role) error {
	switch {
	case a.server:
		return nil
	case !a.m.In:
		return errNotMember
	case a.m.Role >= least:
		return nil
	case least == Owner:
		return errNotOwner
	}
	return errNotAdministrator
}

// mayTouch says why the actor may not remove, mute or ban a user.
func (a actor) mayTouch(m *Member) error {
	if err := a.needs(Administrator); err != nil {
		return err
	}
	if !a.server && m.In && m.Role >= a.m.Role {
		return errNotBelow
	}
	return nil
}

// join makes a user a member. It does nothing for one who is.
func (g *Group) join(m *Member, most int, mayAlways bool) error {
	switch {
	case m.In:
		return nil
	case m.Banned():
		return errBanned
	case !g.Open && !mayAlways:
		return errGroupClosed
	case g.Members >= g.MaxMembers:
		return errGroupFull
	case m.Groups >= most:
		return errManyGroups
	}
	m.In, m.Role = true, Ordinary // a mute outlives membership
	g.Members++                   // the store sets it; here it is for the next user of the same change
	return nil
}

// leave ends a membership by the member's own wish.
func (g *Group) leave(m *Member) error {
	switch {
	case !m.In:
		return errNotMember
	case m.Role == Owner:
		return errOwnerLeaves
	}
	m.In = false
	return nil
}

// setRole gives a member a role. The owner who makes another one owner is an administrator from then on.
func (g *Group) setRole(by actor, m *Member, role Role, owner *Member) error {
	if err := by.needs(Owner); err != nil {
		return err
	}
	switch {
	case !m.In:
		return errNotMember
	case m.Role == Owner: // there is always one
		return errNotBelow
	case role == Owner:
		owner.Role = Administrator
		g.Owner = m.UserID
	}
	m.Role = role
	return nil
}

// mute keeps a member from writing until a time; the zero Time lifts it.
func (a actor) mute(m *Member, until time.Time) error {
	if err := a.mayTouch(m); err != nil {
		return err
	}
	if !m.In {
		return errNotMember
	}
	m.MutedUntil = until
	return nil
}

// ban keeps a user from writing and joining, or no more.
func (a actor) ban(m *Member, by string, on, remove bool) error {
	if err := a.mayTouch(m); err != nil {
		return err
	}
	if !on {
		m.BannedBy = ""
		return nil
	}
	m.BannedBy = by
	if remove {
		m.In = false
	}
	return nil
}
