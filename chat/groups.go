package chat

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// CreateGroup makes a group with the owner as its only member. Name, MaxMembers (0 means Limits.Members), Anonymous and Open of g count.
func (s *Service) CreateGroup(ctx context.Context, owner string, g Group) (GroupID, error) {
	if err := protocol.CheckUserID(owner); err != nil {
		return 0, protocol.Errorf(protocol.Incomplete, "%v", err)
	}
	g = Group{Name: g.Name, Owner: owner, MaxMembers: g.MaxMembers, Anonymous: g.Anonymous, Open: g.Open, Members: 1}
	setDefault(&g.MaxMembers, s.cfg.Limits.Members)
	if err := g.check(ceilingMembers); err != nil {
		return 0, err
	}
	for {
		g.ID = newGroupID(time.Now())
		err := s.cfg.Store.CreateGroup(ctx, g, func(groups int) error {
			if groups >= s.cfg.Limits.Groups {
				return errManyGroups
			}
			return nil
		})
		switch {
		case errors.Is(err, ErrTaken):
			continue
		case err != nil:
			return 0, s.failed("CreateGroup", err)
		}
		s.handlers.group(GroupEvent{Event: "created", Group: g.ID, UserID: owner, By: owner})
		return g.ID, nil
	}
}

// newGroupID returns 41 bits of milliseconds, so that later groups have greater IDs, and 22 random bits.
func newGroupID(now time.Time) GroupID {
	return GroupID(uint64(max(now.Sub(epoch).Milliseconds(), 1))&(1<<41-1)<<22 | rand.Uint64N(1<<22))
}

func (g *Group) check(most int) error {
	if why := textFault(g.Name); why != "" {
		return protocol.Errorf(protocol.Incomplete, "the name of a group %s", why)
	}
	if g.MaxMembers < 1 || g.MaxMembers > most {
		return protocol.Errorf(protocol.Refused, "a group of at most %d members, it may be 1 to %d", g.MaxMembers, most)
	}
	return nil
}

// ChangeGroup changes Name, MaxMembers, Anonymous, Muted and Open of a group; what change does to the other fields does not count. by is an
// administrator. change may be called more than once, and must not block.
func (s *Service) ChangeGroup(ctx context.Context, by string, id GroupID, change func(*Group)) error {
	return s.changeGroupWithin(ctx, by, id, ceilingMembers, change)
}

func (s *Service) changeGroupWithin(ctx context.Context, by string, id GroupID, most int, change func(*Group)) error {
	var before int
	return s.changeGroup(ctx, by, id, nil, func(g *Group, a actor, _ []Member) error {
		if err := a.needs(Administrator); err != nil {
			return err
		}
		c := *g
		change(&c)
		if err := c.check(max(most, g.MaxMembers)); err != nil {
			return err
		}
		if c.MaxMembers < g.Members {
			return errManyMembers
		}
		before = g.MaxMembers
		g.Name, g.MaxMembers, g.Anonymous, g.Muted, g.Open = c.Name, c.MaxMembers, c.Anonymous, c.Muted, c.Open
		return nil
	}, func(c changed) {
		if s.noticed(before) != s.noticed(c.MaxMembers) {
			c.seeEachOtherAnew()
		}
		c.tell("changed", "", c.everyone())
	})
}

// noticed reports whether members of a group with such a maximum see each other come and go.
func (s *Service) noticed(maxMembers int) bool { return maxMembers <= s.cfg.Limits.Notices }

// Dissolve ends a group. by is its owner. Its ID never means another group.
func (s *Service) Dissolve(ctx context.Context, by string, id GroupID) error {
	members, err := s.rosters.get(ctx, id, 0) // who is to be told
	if err != nil {
		return s.failed("Members", err)
	}
	return s.changeGroup(ctx, by, id, nil, func(g *Group, a actor, _ []Member) error {
		if err := a.needs(Owner); err != nil {
			return err
		}
		g.Dissolved = true
		return nil
	}, func(c changed) {
		s.rosters.drop(id)
		c.roster = members
		if s.noticed(c.MaxMembers) {
			c.seeEachOtherAnew()
		}
		c.tell("dissolved", "", members.ids)
	})
}

// Join makes a user a member of a group that is Open, and returns its last messages, Config.RecentHistory of them at most. Later ones are delivered.
// For a member it returns the last messages.
func (s *Service) Join(ctx context.Context, id GroupID, userID string) (Page, error) {
	type outcome struct {
		page Page
		err  error
	}
	done := make(chan outcome, 1)
	if err := s.join(id, userID, false, func(page Page, err error) { done <- outcome{page, err} }); err != nil {
		return Page{}, err
	}
	select {
	case o := <-done:
		return o.page, o.err
	case <-ctx.Done():
		return Page{}, ctx.Err()
	}
}

// join is Join, with the outcome on the deliverer: what was stored before is delivered, and what is stored later is not.
func (s *Service) join(id GroupID, userID string, mayAlways bool, over func(Page, error)) error {
	var page Page
	var came bool
	return s.changeGroupLater(userID, id, nil, func(g *Group, a actor, _ []Member) error {
		if a.server {
			return errNotMember
		}
		was := a.m.In
		err := g.join(a.m, s.cfg.Limits.Groups, mayAlways)
		came = a.m.In && !was
		return err
	}, func(ctx context.Context, g Group) (err error) {
		if s.cfg.RecentHistory > 0 {
			page, err = s.cfg.Store.History(ctx, Key{Group: id}, userID, Range{Before: g.LastSeq + 1, Limit: s.cfg.RecentHistory, Bytes: mostInList})
		}
		page.Last = g.LastSeq
		show(page.Messages, userID, ToGroup(id))
		return err
	}, func(c changed, err error) {
		over(page, err) // the answer comes before notices
		if err == nil && came {
			c.seeAnew(userID)
			c.tell("joined", userID, c.everyone())
		}
	})
}

// Leave ends a membership. The owner cannot leave.
func (s *Service) Leave(ctx context.Context, id GroupID, userID string) error {
	return s.changeGroup(ctx, userID, id, nil, func(g *Group, a actor, _ []Member) error {
		if a.server {
			return errNotMember
		}
		return g.leave(a.m)
	}, func(c changed) {
		c.seeAnew(userID)
		c.tell("left", userID, append(c.everyone(), userID))
	})
}

// AddMembers makes users members, and returns how many. by is an administrator and adds friends alone. Users who are members, banned, no
// friends, or too many are left out; if no user can be added the error says why the first one cannot.
func (s *Service) AddMembers(ctx context.Context, by string, id GroupID, userIDs []string) (done int, err error) {
	friends, err := s.addable(ctx, by, userIDs)
	if err != nil {
		return 0, err
	}
	var added []string
	err = s.changeGroup(ctx, by, id, userIDs, func(g *Group, a actor, all []Member) (first error) {
		if err := a.needs(Administrator); err != nil {
			return err
		}
		added = nil
		for i := range all {
			m := &all[i]
			if m.In {
				continue
			}
			err := friends[m.UserID]
			if err == nil {
				err = g.join(m, s.cfg.Limits.Groups, true)
			}
			if err == nil {
				added = append(added, m.UserID)
			} else if first == nil {
				first = err
			}
		}
		if len(added) > 0 {
			return nil
		}
		return first
	}, func(c changed) {
		for _, id := range added {
			c.seeAnew(id)
			c.tell("joined", id, append(c.everyone(), id))
		}
	})
	if err != nil { // where ctx has ended the writer may go on
		return 0, err
	}
	return len(added), nil
}

// addable says for each of some users why it cannot be added by a user, or nil.
func (s *Service) addable(ctx context.Context, by string, userIDs []string) (map[string]error, error) {
	may := make(map[string]error, len(userIDs))
	if by == Server {
		users, err := s.cfg.Store.Users(ctx, userIDs)
		if err != nil {
			return nil, s.failed("Users", err)
		}
		for _, u := range users {
			if may[u.UserID] = nil; !u.Exists {
				may[u.UserID] = errNoSuchUser
			}
		}
		return may, nil
	}
	contacts, err := s.cfg.Store.ContactsWith(ctx, by, userIDs)
	if err != nil {
		return nil, s.failed("ContactsWith", err)
	}
	for _, c := range contacts {
		if may[c.UserID] = nil; c.State != Friend {
			may[c.UserID] = errNotFriends
		}
	}
	return may, nil
}

// RemoveMembers ends memberships, and returns how many. by is an administrator. Users who are no members, or that by may not remove, are left
// out; if no user can be removed the error says why the first one cannot.
func (s *Service) RemoveMembers(ctx context.Context, by string, id GroupID, userIDs []string) (done int, err error) {
	var gone []string
	err = s.changeGroup(ctx, by, id, userIDs, func(g *Group, a actor, all []Member) (first error) {
		if err := a.needs(Administrator); err != nil {
			return err
		}
		gone = nil
		for i := range all {
			m := &all[i]
			err := a.mayTouch(m)
			switch {
			case !m.In:
				err = errNotMember
			case m.Role == Owner: // also for the program: there is always one
				err = errNotBelow
			}
			if err == nil {
				m.In = false
				gone = append(gone, m.UserID)
			} else if first == nil {
				first = err
			}
		}
		if len(gone) > 0 {
			return nil
		}
		return first
	}, func(c changed) {
		for _, id := range gone {
			c.seeAnew(id)
			c.tell("removed", id, append(c.roster.administrators(), id))
		}
	})
	if err != nil { // where ctx has ended the writer may go on
		return 0, err
	}
	return len(gone), nil
}

// SetRole gives a member a role. by is the owner, who is an administrator after giving Owner.
func (s *Service) SetRole(ctx context.Context, by string, id GroupID, userID string, role Role) error {
	switch {
	case role > Owner:
		return protocol.Errorf(protocol.Incomplete, "a role is 0, 1 or 2")
	case by == userID:
		return errOneself
	}
	g, _, err := s.cfg.Store.Group(ctx, id, userID)
	if err != nil {
		return s.failed("Group", err)
	}
	users := []string{userID}
	if by == Server && role == Owner && g.Owner != userID { // the one who is owner no more
		users = append(users, g.Owner)
	}
	return s.changeGroup(ctx, by, id, users, func(g *Group, a actor, all []Member) error {
		owner := a.m
		if a.server && len(all) > 1 {
			if owner = &all[1]; owner.Role != Owner { // it was passed on meanwhile
				return errNotOwner
			}
		}
		if a.server && role == Owner && len(all) == 1 {
			return errNotBelow
		}
		return g.setRole(a, &all[0], role, owner)
	}, func(c changed) { c.tell("role", userID, append(c.roster.administrators(), userID)) })
}

// Mute keeps a member from writing until a time; the zero Time lifts it. by is an administrator.
func (s *Service) Mute(ctx context.Context, by string, id GroupID, userID string, until time.Time) error {
	if by == userID {
		return errOneself
	}
	until = inMilliseconds(until)
	return s.changeGroup(ctx, by, id, []string{userID}, func(_ *Group, a actor, all []Member) error {
		return a.mute(&all[0], until)
	}, func(c changed) { c.tell("muted", userID, append(c.roster.administrators(), userID)) })
}

// Ban keeps a user from writing in a group and from joining it, or no more; remove ends the membership, too. by is an administrator.
func (s *Service) Ban(ctx context.Context, by string, id GroupID, userID string, on, remove bool) error {
	if by == userID {
		return errOneself
	}
	return s.changeGroup(ctx, by, id, []string{userID}, func(_ *Group, a actor, all []Member) error {
		return a.ban(&all[0], by, on, remove)
	}, func(c changed) {
		if on {
			c.seeAnew(userID)
			c.tell("banned", userID, append(c.roster.administrators(), userID))
		}
	})
}

// BanAuthor is Ban for the author of an anonymous message. by does not learn who that is, and only the author is told. An author that by may
// not ban, such as another administrator, is not banned, and by is not told so: that would narrow down who it is.
func (s *Service) BanAuthor(ctx context.Context, by string, id GroupID, seq uint64, on bool) error {
	author, err := s.author(ctx, Key{Group: id}, seq)
	switch {
	case err != nil:
		return err
	case author == Server:
		return errNotBelow
	case author == by: // it has no effect, as with another administrator's
		return nil
	}
	banned := false
	return s.changeGroup(ctx, by, id, []string{author}, func(_ *Group, a actor, all []Member) error {
		if err := a.needs(Administrator); err != nil {
			return err
		}
		banned = a.mayTouch(&all[0]) == nil
		if !banned { // an error would say that the author is an administrator
			return nil
		}
		return a.ban(&all[0], by, on, false)
	}, func(c changed) {
		if on && banned {
			c.notice("banned", author, []string{author})
			s.handlers.group(GroupEvent{Event: "banned", Group: id, UserID: author, By: by})
		}
	})
}

// GroupInfo returns a group and asker's part in it. asker is a member, or the group is Open.
func (s *Service) GroupInfo(ctx context.Context, asker string, id GroupID) (Group, Member, error) {
	g, m, err := s.cfg.Store.Group(ctx, id, asker)
	switch {
	case err != nil:
		return Group{}, Member{}, s.failed("Group", err)
	case !m.In && !g.Open && asker != Server:
		return Group{}, Member{}, errNotMember
	}
	return g, m, nil
}

// Members returns members after an ID, in the order of their IDs by bytes, so many at most, 1,000 in all. asker is a member, or the group is Open.
func (s *Service) Members(ctx context.Context, asker string, id GroupID, after string, limit int) ([]Member, error) {
	if _, _, err := s.GroupInfo(ctx, asker, id); err != nil {
		return nil, err
	}
	_, all, err := s.cfg.Store.Members(ctx, id, after, min(max(limit, 1), mostInPage))
	if err != nil {
		return nil, s.failed("Members", err)
	}
	return all, nil
}

// Groups returns the groups that a user is in.
func (s *Service) Groups(ctx context.Context, userID string) ([]Group, error) {
	all, err := s.cfg.Store.Groups(ctx, userID)
	if err != nil {
		return nil, s.failed("Groups", err)
	}
	return all, nil
}

// withoutRepeats returns the IDs, each once, without one.
func withoutRepeats(ids []string, but string) (once []string) {
	seen := map[string]struct{}{but: {}}
	for _, id := range ids {
		if _, before := seen[id]; !before {
			seen[id] = struct{}{}
			once = append(once, id)
		}
	}
	return once
}
