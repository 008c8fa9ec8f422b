package sqlstore

import (
	"context"
	"slices"
	"strings"

	"github.com/rollcall-go/rollcall/chat"
)

// between stands between the IDs of a pair. No user ID has a control character (protocol.CheckUserID).
const between = "\x1f"

// pairName is what the conversation of two users is found by.
func pairName(k chat.Key) string { return k.A + between + k.B }

// otherOf is the other user of a pair.
func otherOf(pair, userID string) string {
	a, b, _ := strings.Cut(pair, between)
	if a == userID {
		return b
	}
	return a
}

var (
	findPairs   = stmt(`SELECT c.pair, c.id FROM KEYS(pair text) k JOIN conversation c ON c.pair = k.pair`)
	insertPairs = stmt(`INSERT INTO conversation (id, pair) SELECT k.id, k.pair FROM KEYS(id bigint, pair text) k WHERE TRUE ON CONFLICT (pair) DO NOTHING`)
)

// numbered are the numbers of pairs.
type numbered map[string]int64

// of asks for the numbers of those pairs that have one.
func (n numbered) of(pairs []string) question {
	ids := texts(pairs)
	return question{st: findPairs, keys: keysOf(&ids), each: func(row scan) error {
		var pair string
		var number int64
		err := row(&pair, &number)
		n[pair] = number
		return err
	}}
}

// insertPairs gives numbers to pairs that have none. Of two transactions that do so for the same pairs, one waits for the other: both go
// by the order of the pairs.
func (t *tx) insertPairs(pairs []string) error {
	sorted := slices.Sorted(slices.Values(pairs))
	names, numbers := texts(sorted), make(ints, len(sorted))
	for i := range numbers {
		numbers[i] = newNumber()
	}
	_, err := t.put(insertPairs, keysOf(&numbers, &names))
	return err
}

// pairs returns the numbers of pairs, which must be distinct, and gives numbers to those that have none. It does so in transactions of its own,
// so that no transaction that holds a conversation waits for another one's new pair. A pair without messages is in no list.
func (s *Store) pairs(ctx context.Context, pairs []string) (numbered, error) {
	for {
		found := numbered{}
		err := s.look(ctx, found.of(pairs))
		if err != nil || len(found) == len(pairs) {
			return found, err
		}
		missing := slices.DeleteFunc(slices.Clone(pairs), func(p string) bool { return found[p] != 0 })
		if err := s.write(ctx, func(t *tx) error { return t.insertPairs(missing) }); err != nil {
			return nil, err
		}
	}
}
