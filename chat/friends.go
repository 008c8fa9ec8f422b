package chat

import (
	"context"
	"slices"
)

// friends tells package presence which users see each other: friends, and members of groups with a maximum of at most Limits.Notices.
type friends struct{ *Service }

// Watchers implements presence.Contacts.
func (f friends) Watchers(ctx context.Context, userID string) ([]string, error) {
	return f.of(ctx, userID, func(c *Contact) bool { return c.Blocked })
}

// Watched implements presence.Contacts.
func (f friends) Watched(ctx context.Context, userID string) ([]string, error) {
	return f.of(ctx, userID, func(c *Contact) bool { return c.BlockedBy })
}

// of returns the friends of a user and those who are in a group with the user, but for those who are left out.
func (f friends) of(ctx context.Context, userID string, leftOut func(c *Contact) bool) ([]string, error) {
	ids, err := f.inGroups(ctx, userID)
	if err != nil {
		return nil, err
	}
	contacts, err := f.cfg.Store.Contacts(ctx, userID, "", 0)
	if err != nil {
		return nil, err
	}
	for i := range contacts {
		if c := &contacts[i]; c.State == Friend {
			ids = append(ids, c.UserID)
		}
	}
	ids = withoutRepeats(ids, userID)
	with, err := f.leftOut(ctx, userID, ids, contacts, leftOut)
	if err != nil || len(with) == 0 {
		return ids, err
	}
	rest := ids[:0]
	for _, id := range ids {
		if !with[id] {
			rest = append(rest, id)
		}
	}
	return rest, nil
}

// leftOut returns those of some users for whom leftOut holds. Only those who are not among the user's contacts are asked for.
func (f friends) leftOut(ctx context.Context, userID string, ids []string, contacts []Contact, leftOut func(c *Contact) bool) (map[string]bool, error) {
	with, known := make(map[string]bool), make(map[string]bool, len(contacts))
	note := func(all []Contact) {
		for i := range all {
			known[all[i].UserID] = true
			if leftOut(&all[i]) {
				with[all[i].UserID] = true
			}
		}
	}
	note(contacts)
	unknown := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return known[id] })
	if len(unknown) == 0 {
		return with, nil
	}
	others, err := f.cfg.Store.ContactsWith(ctx, userID, unknown)
	note(others)
	return with, err
}

func (f friends) inGroups(ctx context.Context, userID string) (ids []string, err error) {
	groups, err := f.cfg.Store.Groups(ctx, userID)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if !f.noticed(g.MaxMembers) {
			continue
		}
		r, err := f.rosters.get(ctx, g.ID, g.Version)
		if isRefusal(err) { // it was dissolved meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, r.ids...)
	}
	return ids, nil
}

// MaySee implements presence.Contacts.
func (f friends) MaySee(ctx context.Context, asker string, about []string) (see, blocked []string, err error) {
	contacts, err := f.cfg.Store.ContactsWith(ctx, asker, about)
	if err != nil {
		return nil, nil, err
	}
	sharing, err := f.cfg.Store.ShareGroup(ctx, asker, about, f.cfg.Limits.Notices)
	if err != nil {
		return nil, nil, err
	}
	see = sharing
	out := make(map[string]bool)
	for i := range contacts {
		switch c := &contacts[i]; {
		case c.BlockedBy:
			blocked = append(blocked, c.UserID)
			out[c.UserID] = true
		case c.State == Friend:
			see = append(see, c.UserID)
		}
	}
	rest := see[:0]
	for _, id := range withoutRepeats(see, "") {
		if !out[id] {
			rest = append(rest, id)
		}
	}
	return rest, blocked, nil
}
