package chatclient

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// GroupNotice is what the server tells about a group.
type GroupNotice struct {
	Event string // joined, left, removed, muted, banned, role, changed or dissolved
	Group uint64
	User  string // who it happened to; empty for the group
	By    string // who has done it; Server for the program
}

// Group is a group of users, as the user sees it.
type Group struct {
	ID         uint64
	Name       string
	Owner      string
	MaxMembers int
	Members    int  // how many there are
	Anonymous  bool // members may write without their names
	Muted      bool // only administrators may write
	Open       bool // users may join by themselves
	In         bool // the user is a member; the fields below are only set then
	Role       protocol.GroupRole
	MutedUntil time.Time // the user may not write until then; the zero Time for not muted
	Last       uint64    // the number of the last message
	Presence   bool      // members see each other come and go
}

// CreateGroup makes a group with the user as owner and only member, and returns its ID. Name, MaxMembers (0 means the server's own maximum),
// Anonymous and Open of g count.
func (c *Client) CreateGroup(ctx context.Context, g Group) (uint64, error) {
	f := fields{"name": g.Name, "anonymous": flag(g.Anonymous), "open": flag(g.Open)}
	if g.MaxMembers != 0 {
		f["max"] = fmt.Sprint(g.MaxMembers)
	}
	a, err := c.request(ctx, protocol.TypeGroup, protocol.GroupCreate, f, nil)
	if err != nil {
		return 0, err
	}
	id := a.number("group")
	c.mail.put(func() { c.worker.joined(ToGroup(id), 0, nil) })
	return id, nil
}

func (g *Group) fields() fields {
	return fields{"name": g.Name, "max": fmt.Sprint(g.MaxMembers), "anonymous": flag(g.Anonymous), "muted": flag(g.Muted), "open": flag(g.Open)}
}

// ChangeGroup reads a group, calls change, and sends what is different then of Name, MaxMembers, Anonymous, Muted and Open. The user is an
// administrator.
func (c *Client) ChangeGroup(ctx context.Context, id uint64, change func(g *Group)) error {
	g, err := c.GroupInfo(ctx, id)
	if err != nil {
		return err
	}
	before := g.fields()
	change(&g)
	f := g.fields().without(before)
	if len(f) == 0 {
		return nil
	}
	f["group"] = decimal(id)
	return c.do(ctx, protocol.TypeGroup, protocol.GroupChange, f)
}

// Dissolve ends a group. The user is its owner.
func (c *Client) Dissolve(ctx context.Context, id uint64) error {
	err := c.do(ctx, protocol.TypeGroup, protocol.GroupDissolve, fields{"group": decimal(id)})
	c.leave(id, err)
	return err
}

// Join makes the user a member of a group that is Open. The server gives the last messages up to a number, which Join returns: OnMessage gets those
// that it has not had, and all later ones. Messages before them are left to History, also for a user who has left the group and joins again. For a
// member Join changes nothing.
func (c *Client) Join(ctx context.Context, id uint64) (last uint64, err error) {
	of := ToGroup(id)
	ticket := c.mail.begin(of)
	defer c.look(of, ticket)
	a, err := c.request(ctx, protocol.TypeGroup, protocol.GroupJoin, fields{"group": decimal(id)}, nil)
	if err != nil {
		return 0, err
	}
	list, err := protocol.ParseStoredMessages(a.Content)
	if err != nil {
		return 0, malformed(err)
	}
	last = a.number("last")
	c.mail.put(func() { c.worker.joined(of, last, messages(of, list)) })
	return last, nil
}

// Leave ends the user's membership. The owner cannot leave.
func (c *Client) Leave(ctx context.Context, id uint64) error {
	err := c.do(ctx, protocol.TypeGroup, protocol.GroupLeave, fields{"group": decimal(id)})
	c.leave(id, err)
	return err
}

// leave tells the worker that the user is in a group no more.
func (c *Client) leave(id uint64, err error) {
	if err == nil {
		c.mail.put(func() { c.worker.left(ToGroup(id)) })
	}
}

// AddMembers makes friends of the user members of a group, 1,000 at most, and returns how many. The user is an administrator.
func (c *Client) AddMembers(ctx context.Context, id uint64, userIDs ...string) (done int, err error) {
	return c.members(ctx, protocol.GroupAdd, id, userIDs)
}

// RemoveMembers ends memberships, 1,000 at most, and returns how many. The user is an administrator.
func (c *Client) RemoveMembers(ctx context.Context, id uint64, userIDs ...string) (done int, err error) {
	return c.members(ctx, protocol.GroupRemove, id, userIDs)
}

func (c *Client) members(ctx context.Context, op uint8, id uint64, userIDs []string) (int, error) {
	ids, err := system.AppendIDList(nil, userIDs)
	if err != nil {
		return 0, err
	}
	a, err := c.request(ctx, protocol.TypeGroup, op, fields{"group": decimal(id)}, ids)
	return int(a.number("done")), err
}

// SetRole gives a member a role. The user is the owner, and an administrator after giving RoleOwner.
func (c *Client) SetRole(ctx context.Context, id uint64, userID string, role protocol.GroupRole) error {
	return c.do(ctx, protocol.TypeGroup, protocol.GroupSetRole, fields{"group": decimal(id), "user": userID, "role": decimal(uint64(role))})
}

// Mute keeps a member from writing until a time; the zero Time lifts it. The user is an administrator.
func (c *Client) Mute(ctx context.Context, id uint64, userID string, until time.Time) error {
	f := fields{"group": decimal(id), "user": userID, "until-ms": decimal(millisecondsOf(until))}
	return c.do(ctx, protocol.TypeGroup, protocol.GroupMute, f)
}

// Ban keeps a user from writing in a group and from joining it, or no more; remove ends the membership, too. The user is an administrator.
func (c *Client) Ban(ctx context.Context, id uint64, userID string, on, remove bool) error {
	return c.do(ctx, protocol.TypeGroup, protocol.GroupBan, fields{"group": decimal(id), "user": userID, "on": flag(on), "remove": flag(remove)})
}

// BanAuthor is Ban without remove for the author of an anonymous message, whom the user does not learn.
func (c *Client) BanAuthor(ctx context.Context, id, seq uint64, on bool) error {
	return c.do(ctx, protocol.TypeGroup, protocol.GroupBan, fields{"group": decimal(id), "seq": decimal(seq), "on": flag(on)})
}

// GroupInfo returns a group. The user is a member, or the group is Open.
func (c *Client) GroupInfo(ctx context.Context, id uint64) (Group, error) {
	a, err := c.request(ctx, protocol.TypeGroup, protocol.GroupInfo, fields{"group": decimal(id)}, nil)
	if err != nil {
		return Group{}, err
	}
	_, in := a.Fields["role"]
	return Group{
		ID: id, Name: a.Fields["name"], Owner: a.Fields["owner"], MaxMembers: int(a.number("max")), Members: int(a.number("members")),
		Anonymous: a.flag("anonymous"), Muted: a.flag("muted"), Open: a.flag("open"), In: in, Role: protocol.GroupRole(a.number("role")),
		MutedUntil: a.time("until-ms"), Last: a.number("last"), Presence: a.flag("presence"),
	}, nil
}

// Members returns a page of the members of a group, in the order of their IDs by bytes. The user is a member, or the group is Open. cursor, limit and
// next are as for Conversations.
func (c *Client) Members(ctx context.Context, id uint64, cursor string, limit int) (page []protocol.GroupMember, next string, err error) {
	return list(ctx, c, protocol.TypeGroup, protocol.GroupMembers, fields{"group": decimal(id)}, cursor, limit, protocol.ParseGroupMembers)
}
