package sqlstore

import (
	"context"
	"math"

	"github.com/rollcall-go/rollcall/chat"
)

// withMember is where groupColumns and memberColumns of the group $1 and the user $2 are found.
const withMember = ` FROM conversation c
	LEFT JOIN member m ON m.conv = c.id AND m.user_id = $2
	LEFT JOIN ban b ON b.conv = c.id AND b.user_id = $2
	WHERE c.id = $1 AND c.pair IS NULL AND NOT c.dissolved`

var (
	groupWithMember = stmt(`SELECT ` + groupColumns + `, ` + memberColumns + withMember)

	groupAlone = stmt(`SELECT ` + groupColumns + ` FROM conversation c WHERE c.id = $1 AND c.pair IS NULL AND NOT c.dissolved`)

	membersAfter = stmt(`SELECT m.user_id, ` + memberColumns + ` FROM member m LEFT JOIN ban b ON b.conv = m.conv AND b.user_id = m.user_id
		WHERE m.conv = $1 AND NOT m.pair AND m.user_id > $2 ORDER BY m.user_id LIMIT $3`)

	groupsOf = stmt(`SELECT ` + groupColumns + ` FROM member m JOIN conversation c ON c.id = m.conv
		WHERE m.user_id = $1 AND NOT m.pair AND c.pair IS NULL ORDER BY m.conv`)

	sharing = stmt(`SELECT k.user_id FROM KEYS(user_id text) k WHERE EXISTS (SELECT 1 FROM member o JOIN member me ON me.conv = o.conv
		JOIN conversation c ON c.id = me.conv WHERE o.user_id = k.user_id AND NOT o.pair AND me.user_id = $2 AND NOT me.pair AND c.max_members <= $3)`)

	conversationsOf = stmt(`SELECT c.id, COALESCE(c.pair, ''), c.last_seq FROM member m JOIN conversation c ON c.id = m.conv
		WHERE m.user_id = $1 AND m.conv > $2 ORDER BY m.conv LIMIT $3`)
)

// Group implements chat.Store.
func (s *Store) Group(ctx context.Context, id chat.GroupID, userID string) (g chat.Group, m chat.Member, err error) {
	found := false
	err = s.look(ctx, question{st: groupWithMember, args: []any{int64(id), userID}, each: func(row scan) error {
		found = true
		return scanMember(row, &m, groupFields(&g)...)
	}})
	if err == nil && !found {
		err = errNoSuchGroup
	}
	if err != nil {
		return chat.Group{}, chat.Member{}, err
	}
	m.UserID = userID
	return g, m, nil
}

// Members implements chat.Store.
func (s *Store) Members(ctx context.Context, id chat.GroupID, after string, limit int) (g chat.Group, members []chat.Member, err error) {
	found := false
	err = s.look(ctx, question{st: groupAlone, args: []any{int64(id)}, each: func(row scan) error {
		found = true
		return row(groupFields(&g)...)
	}}, question{st: membersAfter, args: []any{int64(id), after, atMost(limit)}, each: func(row scan) error {
		var m chat.Member
		err := scanMember(row, &m, &m.UserID)
		members = append(members, m)
		return err
	}})
	if err == nil && !found {
		err = errNoSuchGroup
	}
	if err != nil {
		return chat.Group{}, nil, err
	}
	return g, members, nil
}

// Groups implements chat.Store.
func (s *Store) Groups(ctx context.Context, userID string) (groups []chat.Group, err error) {
	err = s.look(ctx, question{st: groupsOf, args: []any{userID}, each: func(row scan) error {
		var g chat.Group
		err := row(groupFields(&g)...)
		groups = append(groups, g)
		return err
	}})
	return groups, err
}

// ShareGroup implements chat.Store.
func (s *Store) ShareGroup(ctx context.Context, asker string, about []string, most int) (found []string, err error) {
	ids := distinct(about)
	err = s.look(ctx, question{st: sharing, keys: keysOf(&ids), args: []any{asker, most}, each: func(row scan) error {
		var id string
		err := row(&id)
		found = append(found, id)
		return err
	}})
	return found, err
}

// Conversations implements chat.Store.
func (s *Store) Conversations(ctx context.Context, userID string, after uint64, limit int) (found []chat.ConversationInfo, err error) {
	err = s.look(ctx, question{st: conversationsOf, args: []any{userID, number(after), atMost(limit)}, each: func(row scan) error {
		var c chat.ConversationInfo
		var pair string
		err := row(&c.ID, &pair, &c.LastSeq)
		if pair == "" {
			c.Group = chat.GroupID(c.ID)
		} else {
			c.With = otherOf(pair, userID)
		}
		found = append(found, c)
		return err
	}})
	return found, err
}

// number is a number of the caller's, of which none in the database is above 2^63.
func number(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
