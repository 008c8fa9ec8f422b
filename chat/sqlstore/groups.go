package sqlstore

import (
	"context"
	"slices"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/protocol"
)

var (
	countGroups = stmt(`SELECT count(*) FROM member m WHERE m.user_id = $1 AND NOT m.pair`)

	// A number that a pair has, or a group that was dissolved, is in use too.
	insertGroup = stmt(`INSERT INTO conversation (id, version, name, owner, max_members, members, allow_anonymous, muted, open)
		VALUES ($1, 1, $2, $3, $4, 1, $5, $6, $7) ON CONFLICT (id) DO NOTHING`)

	lockGroup = stmt(`SELECT ` + groupColumns + ` FROM conversation c WHERE c.id = $1 AND c.pair IS NULL AND NOT c.dissolved FOR UPDATE OF c`)

	findMembers  = stmt(`SELECT k.conv, k.user_id, ` + memberColumns + fromPlaces)
	countMembers = stmt(`SELECT k.user_id, (SELECT count(*) FROM member o WHERE o.user_id = k.user_id AND NOT o.pair), ` + memberColumns + fromPlaces)

	saveGroup = stmt(`UPDATE conversation SET version = $2, name = $3, owner = $4, max_members = $5, members = $6, allow_anonymous = $7, muted = $8,
		open = $9, dissolved = $10 WHERE id = $1 AND pair IS NULL`)

	saveMembers = stmt(`INSERT INTO member (conv, user_id, pair, role, joined_seq)
		SELECT k.conv, k.user_id, FALSE, k.role, k.joined_seq
		FROM KEYS(conv bigint, user_id text, role smallint, joined_seq bigint) k WHERE TRUE
		ON CONFLICT (conv, user_id) DO UPDATE SET role = excluded.role`)
	deleteMembers = stmt(`DELETE FROM member WHERE (conv, user_id) IN (SELECT k.conv, k.user_id FROM KEYS(conv bigint, user_id text) k) AND NOT pair`)

	saveBans = stmt(`INSERT INTO ban (conv, user_id, by_user, muted_until) SELECT k.conv, k.user_id, k.by_user, k.muted_until
		FROM KEYS(conv bigint, user_id text, by_user text, muted_until bigint) k WHERE TRUE
		ON CONFLICT (conv, user_id) DO UPDATE SET by_user = excluded.by_user, muted_until = excluded.muted_until`)
	deleteBans = stmt(`DELETE FROM ban WHERE (conv, user_id) IN (SELECT k.conv, k.user_id FROM KEYS(conv bigint, user_id text) k)`)

	deleteAllMembers = stmt(`DELETE FROM member WHERE conv = $1 AND NOT pair`)
	deleteAllBans    = stmt(`DELETE FROM ban WHERE conv = $1`)
)

const (
	groupColumns = `c.id, c.last_seq, c.version, c.name, c.owner, c.max_members, c.members, c.allow_anonymous, c.muted, c.open, c.dissolved`
	// A user who is not in the group, and one who is neither banned nor muted, have no such row.
	memberColumns = `m.conv IS NOT NULL, COALESCE(m.role, 0), COALESCE(b.muted_until, 0), COALESCE(m.joined_seq, 0), COALESCE(b.by_user, '')`
	fromPlaces    = ` FROM KEYS(conv bigint, user_id text) k
		LEFT JOIN member m ON m.conv = k.conv AND m.user_id = k.user_id AND NOT m.pair
		LEFT JOIN ban b ON b.conv = k.conv AND b.user_id = k.user_id`
)

var errNoSuchGroup = protocol.NoSuchGroup

// groupFields are where groupColumns are scanned to.
func groupFields(g *chat.Group) []any {
	return []any{&g.ID, &g.LastSeq, &g.Version, &g.Name, &g.Owner, &g.MaxMembers, &g.Members, &g.Anonymous, &g.Muted, &g.Open, &g.Dissolved}
}

// scanMember scans memberColumns, and what stands before them.
func scanMember(row scan, m *chat.Member, before ...any) error {
	var role uint8
	var muted int64
	err := row(append(before, &m.In, &role, &muted, &m.Joined, &m.BannedBy)...)
	m.Role, m.MutedUntil = chat.Role(role), timeOf(muted)
	return err
}

// place is a user in a group.
type place struct {
	conv   int64
	userID string
}

// placesIn are users in groups, without Groups.
type placesIn map[place]chat.Member

// load finds places, which must be distinct.
func (p placesIn) load(t *tx, places []place) error {
	var convs ints
	var users texts
	for _, k := range places {
		convs, users = append(convs, k.conv), append(users, k.userID)
	}
	return t.find(findMembers, keysOf(&convs, &users), func(row scan) error {
		var k place
		var m chat.Member
		err := scanMember(row, &m, &k.conv, &k.userID)
		m.UserID = k.userID
		p[k] = m
		return err
	})
}

// CreateGroup implements chat.Store.
func (s *Store) CreateGroup(ctx context.Context, g chat.Group, allow func(groups int) error) error {
	return s.write(ctx, func(t *tx) error {
		n, err := t.run(insertGroup, int64(g.ID), g.Name, g.Owner, g.MaxMembers, g.Anonymous, g.Muted, g.Open)
		if err != nil {
			return err
		}
		if n == 0 {
			return refusal{chat.ErrTaken}
		}
		groups := 0
		if err := t.rows(countGroups, []any{g.Owner}, func(row scan) error { return row(&groups) }); err != nil {
			return err
		}
		if err := allow(groups); err != nil {
			return refusal{err}
		}
		c := groupChange{conv: int64(g.ID)}
		c.save(chat.Member{UserID: g.Owner, Role: chat.Owner})
		return c.store(t)
	})
}

// UpdateGroup implements chat.Store.
func (s *Store) UpdateGroup(ctx context.Context, id chat.GroupID, userIDs []string, change func(g *chat.Group, users []chat.Member) error) (chat.Group, error) {
	var stored chat.Group
	err := s.write(ctx, func(t *tx) error {
		was, err := t.lockGroup(id)
		if err != nil {
			return err
		}
		users, err := t.members(id, userIDs)
		if err != nil {
			return err
		}
		g, before := was, slices.Clone(users)
		if err := change(&g, users); err != nil {
			return refusal{err}
		}
		c := groupChange{conv: int64(id)}
		g.ID, g.LastSeq, g.Version, g.Members = was.ID, was.LastSeq, was.Version, was.Members
		if g.Dissolved {
			g.Members, g.Version = 0, g.Version+1
			if err := c.clear(t); err != nil {
				return err
			}
		} else {
			for i, u := range users {
				u.UserID = userIDs[i]
				c.place(before[i], u, was.LastSeq)
			}
			if c.come > 0 || c.gone > 0 {
				g.Version++
			}
			g.Members += c.come - c.gone
			if err := c.store(t); err != nil {
				return err
			}
		}
		stored = g
		_, err = t.run(saveGroup, int64(id), int64(g.Version), g.Name, g.Owner, g.MaxMembers, g.Members, g.Anonymous, g.Muted, g.Open, g.Dissolved)
		return err
	})
	return stored, err
}

// lockGroup returns a group, and has other changes of it and messages to it wait.
func (t *tx) lockGroup(id chat.GroupID) (g chat.Group, err error) {
	found := false
	err = t.rows(lockGroup, []any{int64(id)}, func(row scan) error {
		found = true
		return row(groupFields(&g)...)
	})
	if err == nil && !found {
		err = refusal{errNoSuchGroup}
	}
	return g, err
}

// members returns users in a group that is locked, in the order of the IDs, with Groups.
func (t *tx) members(id chat.GroupID, userIDs []string) ([]chat.Member, error) {
	ids := distinct(userIDs)
	found := make(map[string]chat.Member, len(ids))
	err := t.find(countMembers, keysOf(inEach(int64(id), len(ids)), &ids), func(row scan) error {
		var m chat.Member
		err := scanMember(row, &m, &m.UserID, &m.Groups)
		found[m.UserID] = m
		return err
	})
	users := make([]chat.Member, len(userIDs))
	for i, userID := range userIDs {
		users[i] = found[userID]
	}
	return users, err
}

// groupChange is what changes of the users in a group.
type groupChange struct {
	conv       int64
	come, gone int

	saved   texts
	roles   shorts
	joined  ints
	removed texts
	banned  texts // or muted
	by      texts
	muted   ints
	freed   texts
}

// place notes what a change has made of a user.
func (c *groupChange) place(was, is chat.Member, lastSeq uint64) {
	switch {
	case is.In && !was.In:
		c.come++
		is.Joined = lastSeq
		c.save(is)
	case is.In && is.Role != was.Role:
		c.save(is)
	case !is.In && was.In:
		c.gone++
		c.removed = append(c.removed, is.UserID)
	}
	switch {
	case is.BannedBy == was.BannedBy && is.MutedUntil.Equal(was.MutedUntil):
	case is.BannedBy == "" && is.MutedUntil.IsZero():
		c.freed = append(c.freed, is.UserID)
	default:
		c.banned, c.by, c.muted = append(c.banned, is.UserID), append(c.by, is.BannedBy), append(c.muted, millis(is.MutedUntil))
	}
}

// save notes a member that has come or changed. Joined counts for one that has come.
func (c *groupChange) save(m chat.Member) {
	c.saved, c.roles, c.joined = append(c.saved, m.UserID), append(c.roles, int16(m.Role)), append(c.joined, int64(m.Joined))
}

// inEach is a column of a group's number.
func inEach(conv int64, rows int) *ints {
	column := slices.Repeat(ints{conv}, rows)
	return &column
}

func (c *groupChange) store(t *tx) error {
	in := func(n int) *ints { return inEach(c.conv, n) }
	if _, err := t.put(saveMembers, keysOf(in(len(c.saved)), &c.saved, &c.roles, &c.joined)); err != nil {
		return err
	}
	if _, err := t.put(deleteMembers, keysOf(in(len(c.removed)), &c.removed)); err != nil {
		return err
	}
	if _, err := t.put(saveBans, keysOf(in(len(c.banned)), &c.banned, &c.by, &c.muted)); err != nil {
		return err
	}
	_, err := t.put(deleteBans, keysOf(in(len(c.freed)), &c.freed))
	return err
}

// clear removes all members and bans.
func (c *groupChange) clear(t *tx) error {
	if _, err := t.run(deleteAllMembers, c.conv); err != nil {
		return err
	}
	_, err := t.run(deleteAllBans, c.conv)
	return err
}
