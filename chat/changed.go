package chat

import (
	"context"
	"strconv"

	"github.com/rollcall-go/rollcall/protocol"
)

// changed is a group after a change, on the deliverer.
type changed struct {
	*Service
	Group
	by     string
	roster *roster
}

// changeGroup has a group changed by its writer, so that changes, messages and recalls of one group come one after the other (rule P37). change gets
// some users besides the actor, in the order of userIDs without repeats and without the actor. It may be called again. after is called when all
// that was stored before is delivered.
func (s *Service) changeGroup(ctx context.Context, by string, id GroupID, userIDs []string, change func(g *Group, a actor, users []Member) error, after func(c changed)) error {
	done := make(chan error, 1)
	err := s.changeGroupLater(by, id, userIDs, change, nil, func(c changed, err error) {
		if err == nil {
			after(c)
		}
		done <- err
	})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// changeGroupLater is changeGroup without waiting. stored, when set, is called after the change on the writer's goroutine.
func (s *Service) changeGroupLater(by string, id GroupID, userIDs []string, change func(g *Group, a actor, users []Member) error,
	stored func(ctx context.Context, g Group) error, after func(c changed, err error)) error {
	for _, id := range append([]string{by}, userIDs...) {
		if err := protocol.CheckUserID(id); id != Server && err != nil {
			return protocol.Errorf(protocol.Incomplete, "%v", err)
		}
	}
	if id == 0 || id >= 1<<63 {
		return errNoSuchGroup
	}
	ids, first := withoutRepeats(userIDs, by), 0
	if by != Server {
		ids, first = append([]string{by}, ids...), 1
	}
	c := changed{Service: s, by: by}
	var users []Member
	t := &task{key: Key{Group: id}}
	t.store = func(ctx context.Context) error {
		g, err := s.cfg.Store.UpdateGroup(ctx, id, ids, func(g *Group, all []Member) error {
			a := actor{server: by == Server}
			if !a.server {
				a.m = &all[0]
			}
			if err := change(g, a, all[first:]); err != nil {
				return err
			}
			users = append(users[:0], all...)
			return nil
		})
		if err == nil && stored != nil {
			err = stored(ctx, g)
		}
		c.Group = g
		return err
	}
	w := s.writerOf(t.key)
	t.deliver = func(err error) {
		if err != nil {
			if !isRefusal(err) {
				w.doubt(id, ids)
			}
			after(c, s.failed("a change of a group", err))
			return
		}
		w.applied(&c, users)
		after(c, nil)
	}
	return w.put(t)
}

// applied brings the roster up to a change.
func (w *writer) applied(c *changed, users []Member) {
	s, k := w.service, Key{Group: c.ID}
	at, found := w.told.get(k)
	switch {
	case c.Dissolved:
		w.told.drop(k)
		return
	case found && at.roster != nil && at.roster.version > c.Version: // of another node's later change
	case found && at.roster != nil && at.roster.version+1 >= c.Version:
		for i := range users {
			users[i].Joined = max(users[i].Joined, joinedAt(at.roster, &users[i], c.LastSeq))
		}
		at.roster = at.roster.with(c.Version, users)
		s.rosters.put(c.ID, at.roster)
	default:
		err := s.withStore(func(ctx context.Context) (err error) {
			at.roster, err = s.rosters.get(ctx, c.ID, c.Version)
			return err
		})
		if err != nil { // the next message tries again
			s.failed("Members", err)
			at.roster, c.roster = nil, newRoster(0, nil)
			if found {
				w.keep(k, at)
			}
			return
		}
	}
	if !at.begun && len(at.late) == 0 {
		at.begun, at.last, at.from = true, c.LastSeq, c.LastSeq
	}
	if len(at.doubted) > 0 {
		s.seeMembersAnew(at.doubted, at.roster)
		at.doubted = nil
	}
	w.keep(k, at)
	c.roster = at.roster
}

// doubt has presence ask again who sees some users, of whom it is not known whether they have come to a group or have left it. Where it is not known
// who else is in the group, this waits for the group's next change, such as the one that repeats the failed one.
func (w *writer) doubt(id GroupID, userIDs []string) {
	k := Key{Group: id}
	at, _ := w.told.get(k)
	if at.roster != nil {
		w.service.seeMembersAnew(userIDs, at.roster)
		return
	}
	at.doubted = withoutRepeats(append(at.doubted, userIDs...), "")
	if len(at.doubted) <= mostInBatch {
		w.keep(k, at)
	}
}

// seeMembersAnew has presence ask again who sees some users and the members of a group.
func (s *Service) seeMembersAnew(userIDs []string, r *roster) {
	for _, id := range userIDs {
		s.presence.ContactsChanged(id, r.ids...)
	}
}

// joinedAt is the number above which messages are for a member.
func joinedAt(r *roster, m *Member, last uint64) uint64 {
	if before, was := r.members[m.UserID]; was {
		return before.joined
	}
	return last
}

// everyone are the members where all see each other come and go, and the administrators of larger groups.
func (c *changed) everyone() []string {
	if c.noticed(c.MaxMembers) {
		return append([]string(nil), c.roster.ids...)
	}
	return c.roster.administrators()
}

// tell tells users and the program what has happened.
func (c *changed) tell(event, userID string, to []string) {
	c.notice(event, userID, to)
	c.handlers.group(GroupEvent{Event: event, Group: c.ID, UserID: userID, By: c.by})
}

func (c *changed) notice(event, userID string, to []string) {
	fields := map[string]string{"event": event, "group": strconv.FormatUint(uint64(c.ID), 10), "by": c.by}
	if userID != "" {
		fields["user"] = userID
	}
	c.Service.notice(protocol.TypeGroup, protocol.GroupNotice, fields, withoutRepeats(to, "")...)
}

// seeAnew has presence ask again who sees a user who has come or gone.
func (c *changed) seeAnew(userID string) {
	if c.noticed(c.MaxMembers) {
		c.presence.ContactsChanged(userID, withoutRepeats(c.roster.ids, userID)...)
	}
}

// seeEachOtherAnew has presence ask again who sees the members.
func (c *changed) seeEachOtherAnew() {
	for _, id := range c.roster.ids {
		c.presence.ContactsChanged(id, withoutRepeats(c.roster.ids, id)...)
	}
}
