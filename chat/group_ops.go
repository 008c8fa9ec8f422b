package chat

import (
	"context"
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

var groupOperations = operations{
	protocol.GroupCreate:   createOp,
	protocol.GroupChange:   changeOp,
	protocol.GroupDissolve: dissolveOp,
	protocol.GroupJoin:     joinOp,
	protocol.GroupLeave:    leaveOp,
	protocol.GroupAdd:      addOp,
	protocol.GroupRemove:   removeMembersOp,
	protocol.GroupSetRole:  roleOp,
	protocol.GroupMute:     muteOp,
	protocol.GroupBan:      banOp,
	protocol.GroupInfo:     infoOp,
	protocol.GroupMembers:  membersOp,
}

func createOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	s, f := r.service, r.read()
	name, _ := f.text("name")
	g := Group{Name: name, Anonymous: f.flag("anonymous", false), Open: f.flag("open", true)}
	if most, given := f.number("max"); given {
		g.MaxMembers = r.maximum(f, most)
	}
	if f.err != nil {
		return nil, nil, f.err
	}
	if err := s.quotas.groups.take(r.user); err != nil {
		return nil, nil, err
	}
	id, err := s.CreateGroup(ctx, r.user, g)
	if err != nil {
		return nil, nil, err
	}
	return map[string]string{"group": decimal(uint64(id))}, nil, nil
}

// maximum is the maximum of members that a client asks for.
func (r *request) maximum(f *reader, n uint64) int {
	if most := uint64(r.service.cfg.Limits.Members); n < 1 || n > most {
		f.fail("the field \"max\" is %d, it may be 1 to %d", n, most)
	}
	return int(n)
}

func changeOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	id := f.group()
	set := flags(f, map[string]func(*Group) *bool{
		"anonymous": func(g *Group) *bool { return &g.Anonymous },
		"muted":     func(g *Group) *bool { return &g.Muted },
		"open":      func(g *Group) *bool { return &g.Open },
	})
	if name, given := f.text("name"); given {
		set = append(set, func(g *Group) { g.Name = name })
	}
	if n, given := f.number("max"); given {
		most := r.maximum(f, n)
		set = append(set, func(g *Group) { g.MaxMembers = most })
	}
	if f.err != nil {
		return nil, nil, f.err
	}
	return nil, nil, r.service.changeGroupWithin(ctx, r.user, id, r.service.cfg.Limits.Members, func(g *Group) {
		for _, change := range set {
			change(g)
		}
	})
}

func dissolveOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	id := f.group()
	if f.err != nil {
		return nil, nil, f.err
	}
	return nil, nil, r.service.Dissolve(ctx, r.user, id)
}

func joinOp(_ context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	id := f.group()
	if f.err != nil {
		return nil, nil, f.err
	}
	err := r.service.join(id, r.user, false, func(page Page, err error) {
		if err != nil {
			r.refuse(err)
			return
		}
		list, cut := r.service.listOf(page.Messages, true)
		r.answer(map[string]string{"last": decimal(page.Last), "more": flag(page.More || cut)}, list)
	})
	if err != nil {
		return nil, nil, err
	}
	return nil, nil, errLater
}

func leaveOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	id := f.group()
	if f.err != nil {
		return nil, nil, f.err
	}
	return nil, nil, r.service.Leave(ctx, id, r.user)
}

func addOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	return r.many(ctx, r.service.AddMembers)
}

func removeMembersOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	return r.many(ctx, r.service.RemoveMembers)
}

func (r *request) many(ctx context.Context, change func(ctx context.Context, by string, id GroupID, userIDs []string) (int, error)) (map[string]string, []byte, error) {
	f := r.read()
	id, users := f.group(), r.ids(f)
	if f.err != nil {
		return nil, nil, f.err
	}
	done, err := change(ctx, r.user, id, users)
	if err != nil {
		return nil, nil, err
	}
	return map[string]string{"done": strconv.Itoa(done)}, nil, nil
}

func roleOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	id, user := f.group(), f.user()
	role, given := f.number("role")
	if !given || role > uint64(Owner) {
		f.fail("the field \"role\" may be 0, 1 or 2")
	}
	if f.err != nil {
		return nil, nil, f.err
	}
	return nil, nil, r.service.SetRole(ctx, r.user, id, user, Role(role))
}

func muteOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	id, user, until := f.group(), f.user(), f.time("until-ms")
	if f.err != nil {
		return nil, nil, f.err
	}
	return nil, nil, r.service.Mute(ctx, r.user, id, user, until)
}

func banOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	id, on, remove := f.group(), f.flag("on", true), f.flag("remove", false)
	seq, given := f.number("seq")
	if given && remove {
		f.fail("the author of an anonymous message cannot be removed: that would say who it is")
	}
	var user string
	if !given {
		user = f.user()
	}
	switch {
	case f.err != nil:
		return nil, nil, f.err
	case given:
		return nil, nil, r.service.BanAuthor(ctx, r.user, id, seq, on)
	}
	return nil, nil, r.service.Ban(ctx, r.user, id, user, on, remove)
}

func infoOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	id := f.group()
	if f.err != nil {
		return nil, nil, f.err
	}
	g, m, err := r.service.GroupInfo(ctx, r.user, id)
	if err != nil {
		return nil, nil, err
	}
	fields := map[string]string{
		"group": decimal(uint64(g.ID)), "name": g.Name, "owner": g.Owner, "max": strconv.Itoa(g.MaxMembers), "members": strconv.Itoa(g.Members),
		"anonymous": flag(g.Anonymous), "muted": flag(g.Muted), "open": flag(g.Open), "presence": "0",
	}
	if m.In {
		fields["role"] = strconv.Itoa(int(m.Role))
		fields["last"] = decimal(g.LastSeq)
		fields["presence"] = flag(r.service.noticed(g.MaxMembers))
		if m.MutedUntil.After(time.Now()) {
			fields["until-ms"] = unixMS(m.MutedUntil)
		}
	}
	return fields, nil, nil
}

func membersOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	s, f := r.service, r.read()
	id, limit := f.group(), f.limit(mostInPage)
	if f.err != nil {
		return nil, nil, f.err
	}
	g, me, err := s.GroupInfo(ctx, r.user, id)
	if err != nil {
		return nil, nil, err
	}
	_, all, err := s.cfg.Store.Members(ctx, id, r.Fields["cursor"], limit)
	if err != nil {
		return nil, nil, err
	}
	sees := func(string) bool { return false }
	if me.In && s.noticed(g.MaxMembers) {
		if sees, err = s.notBlockedBy(ctx, r.user, all); err != nil {
			return nil, nil, err
		}
	}
	wire := make([]protocol.GroupMember, len(all))
	for i, m := range all {
		wire[i] = protocol.GroupMember{UserID: m.UserID, Role: m.Role, MutedUntil: m.MutedUntil, State: protocol.PresenceOffline}
		if sees(m.UserID) {
			wire[i].State = s.presence.Visible(m.UserID)
		}
	}
	list, rest, err := system.AppendGroupMembers(nil, wire)
	if err != nil {
		return nil, nil, err
	}
	fields := map[string]string{}
	if n := len(all) - len(rest); n > 0 && (len(rest) > 0 || len(all) == limit) {
		fields["next"] = all[n-1].UserID
	}
	return fields, list, nil
}

// notBlockedBy returns which of some members have not blocked a user.
func (s *Service) notBlockedBy(ctx context.Context, userID string, all []Member) (func(id string) bool, error) {
	ids := make([]string, len(all))
	for i, m := range all {
		ids[i] = m.UserID
	}
	contacts, err := s.cfg.Store.ContactsWith(ctx, userID, ids)
	if err != nil {
		return nil, err
	}
	blocked := make(map[string]bool)
	for _, c := range contacts {
		blocked[c.UserID] = c.BlockedBy
	}
	return func(id string) bool { return !blocked[id] }, nil
}
