package sqlstore

import (
	"context"
	"math"

	"github.com/rollcall-go/rollcall/chat"
)

const contactColumns = `c.user_id, c.other, c.state, c.blocked, c.blocked_anonymous, c.since, c.note, c.declined`

var (
	contactsBetween = stmt(`SELECT ` + contactColumns + ` FROM KEYS(user_id text, other text) k
		JOIN contact c ON c.user_id = k.user_id AND c.other = k.other`)

	contactsOf = stmt(`SELECT ` + contactColumns + `, COALESCE(o.blocked, FALSE), COALESCE(o.blocked_anonymous, FALSE)
		FROM contact c LEFT JOIN contact o ON o.other = c.user_id AND o.user_id = c.other AND (o.blocked OR o.blocked_anonymous)
		WHERE c.user_id = $1 AND c.other > $2 AND (c.state <> 0 OR c.blocked) ORDER BY c.other LIMIT $3`)

	contactCounts = stmt(`SELECT c.state, count(*) FROM contact c WHERE c.user_id = $1 GROUP BY c.state`)

	saveContacts = stmt(`INSERT INTO contact (user_id, other, state, blocked, blocked_anonymous, since, note, declined)
		SELECT k.user_id, k.other, k.state, k.blocked, k.blocked_anonymous, k.since, k.note, k.declined
		FROM KEYS(user_id text, other text, state smallint, blocked boolean, blocked_anonymous boolean, since bigint, note text, declined bigint) k WHERE TRUE
		ON CONFLICT (user_id, other) DO UPDATE SET state = excluded.state, blocked = excluded.blocked, blocked_anonymous = excluded.blocked_anonymous,
		since = excluded.since, note = excluded.note, declined = excluded.declined`)
)

// side is one user's view of another.
type side struct{ userID, other string }

// sides are contacts as they are stored.
type sides map[side]chat.Contact

// add scans a contact; the row may have further columns.
func (c sides) add(row scan) error {
	k, found, err := scanContact(row)
	c[k] = found
	return err
}

func scanContact(row scan, further ...any) (k side, c chat.Contact, err error) {
	var state uint8
	var since, declined int64
	err = row(append([]any{&k.userID, &k.other, &state, &c.Blocked, &c.BlockedAnonymous, &since, &c.Text, &declined}, further...)...)
	c.UserID, c.State, c.Since, c.Declined = k.other, chat.ContactState(state), timeOf(since), timeOf(declined)
	return k, c, err
}

// stored is what a user has with another, without what the other has with the user.
func (c sides) stored(userID, other string) chat.Contact {
	found := c[side{userID, other}]
	found.UserID = other
	return found
}

// get is stored with what the other has blocked.
func (c sides) get(userID, other string) chat.Contact {
	found, back := c.stored(userID, other), c[side{other, userID}]
	found.BlockedBy, found.BlockedByAnonymous = back.Blocked, back.BlockedAnonymous
	return found
}

// between asks what the users of some pairs have with each other.
func (c sides) between(pairs []side) question {
	seen := make(map[side]bool, 2*len(pairs))
	var users, others texts
	for _, p := range pairs {
		for _, k := range []side{p, {p.other, p.userID}} {
			if !seen[k] {
				seen[k], users, others = true, append(users, k.userID), append(others, k.other)
			}
		}
	}
	return question{st: contactsBetween, keys: keysOf(&users, &others), each: c.add}
}

// Contacts implements chat.Store.
func (s *Store) Contacts(ctx context.Context, userID, after string, limit int) (found []chat.Contact, err error) {
	err = s.look(ctx, question{st: contactsOf, args: []any{userID, after, atMost(limit)}, each: func(row scan) error {
		var blocked, anonymous bool
		_, c, err := scanContact(row, &blocked, &anonymous)
		c.BlockedBy, c.BlockedByAnonymous = blocked, anonymous
		found = append(found, c)
		return err
	}})
	return found, err
}

// atMost is the limit of a page, of which 0 is none.
func atMost(limit int) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return int64(limit)
}

// ContactsWith implements chat.Store.
func (s *Store) ContactsWith(ctx context.Context, userID string, others []string) ([]chat.Contact, error) {
	pairs := make([]side, len(others))
	for i, other := range others {
		pairs[i] = side{userID, other}
	}
	c := sides{}
	if err := s.look(ctx, c.between(pairs)); err != nil {
		return nil, err
	}
	found := make([]chat.Contact, len(others))
	for i, other := range others {
		found[i] = c.get(userID, other)
	}
	return found, nil
}

// UpdateContact implements chat.Store. Append and other calls for the two wait at the pair's conversation, which has a row for that in PostgreSQL
// although it may have no message.
func (s *Store) UpdateContact(ctx context.Context, a, b string, change func(r *chat.Relation) error) error {
	var pair int64
	if s.cfg.Dialect == PostgreSQL {
		k := pairName(chat.PairKey(a, b))
		numbers, err := s.pairs(ctx, []string{k})
		if err != nil {
			return err
		}
		pair = numbers[k]
	}
	return s.write(ctx, func(t *tx) error {
		if s.cfg.Dialect == PostgreSQL {
			if err := t.lockConversations([]int64{pair}, nil); err != nil {
				return err
			}
		}
		users, c := people{}, sides{}
		ids := distinct([]string{a, b})
		if err := t.find(accountsShared, keysOf(&ids), users.add); err != nil {
			return err
		}
		if err := t.ask(c.between([]side{{a, b}})); err != nil {
			return err
		}
		r := chat.Relation{A: users.get(a), B: users.get(b), AB: c.stored(a, b), BA: c.stored(b, a)}
		countA, err := t.countContacts(a)
		if err != nil {
			return err
		}
		countB, err := t.countContacts(b)
		if err != nil {
			return err
		}
		r.FriendsA, r.FriendsB, r.AskedA, r.AskB = countA[chat.Friend], countB[chat.Friend], countA[chat.AskedByMe], countB[chat.AsksMe]
		if err := change(&r); err != nil {
			return refusal{err}
		}
		return t.saveContacts(map[side]chat.Contact{{a, b}: r.AB, {b, a}: r.BA})
	})
}

func (t *tx) countContacts(userID string) (map[chat.ContactState]int, error) {
	counts := make(map[chat.ContactState]int)
	err := t.rows(contactCounts, []any{userID}, func(row scan) error {
		var state uint8
		var n int
		err := row(&state, &n)
		counts[chat.ContactState(state)] = n
		return err
	})
	return counts, err
}

func (t *tx) saveContacts(all map[side]chat.Contact) error {
	var users, others, notes texts
	var states shorts
	var blocked, anonymous bools
	var since, declined ints
	for k, c := range all {
		users, others, notes = append(users, k.userID), append(others, k.other), append(notes, c.Text)
		states, blocked, anonymous = append(states, int16(c.State)), append(blocked, c.Blocked), append(anonymous, c.BlockedAnonymous)
		since, declined = append(since, millis(c.Since)), append(declined, millis(c.Declined))
	}
	_, err := t.put(saveContacts, keysOf(&users, &others, &states, &blocked, &anonymous, &since, &notes, &declined))
	return err
}
