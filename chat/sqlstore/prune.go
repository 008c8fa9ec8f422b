package sqlstore

import (
	"context"
	"time"
)

var (
	prunable = stmt(`SELECT c.id FROM conversation c WHERE c.oldest IS NOT NULL AND c.oldest < $1 ORDER BY c.oldest LIMIT $2`)

	// The numbers up to which a conversation is pruned: not to its last one.
	pruneTo = stmt(`SELECT COALESCE(max(p.seq), 0), count(*) FROM (SELECT m.seq FROM message m JOIN conversation c ON c.id = m.conv
		WHERE m.conv = $1 AND m.sent < $2 AND m.seq < c.last_seq ORDER BY m.seq LIMIT $3) p`)
	pruneMessages = stmt(`DELETE FROM message WHERE conv = $1 AND seq <= $2`)
	setOldest     = stmt(`UPDATE conversation SET oldest = (SELECT m.sent FROM message m WHERE m.conv = conversation.id AND m.seq < conversation.last_seq
		ORDER BY m.seq LIMIT 1) WHERE id = $1`)
)

// Prune implements chat.Store.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	err = s.write(ctx, func(t *tx) error {
		removed = 0
		var convs []int64
		err := t.rows(prunable, []any{millis(before), limit}, func(row scan) error {
			var id int64
			err := row(&id)
			convs = append(convs, id)
			return err
		})
		if err != nil {
			return err
		}
		if err := t.lockConversations(convs, nil); err != nil {
			return err
		}
		for _, conv := range convs {
			if removed >= limit {
				break
			}
			n, err := t.prune(conv, millis(before), limit-removed)
			if err != nil {
				return err
			}
			removed += n
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// prune removes messages of a conversation that is locked.
func (t *tx) prune(conv, before int64, limit int) (n int, err error) {
	var to int64
	if err := t.rows(pruneTo, []any{conv, before, limit}, func(row scan) error { return row(&to, &n) }); err != nil || n == 0 {
		return 0, err
	}
	if _, err := t.run(pruneMessages, conv, to); err != nil {
		return 0, err
	}
	_, err = t.run(setOldest, conv)
	return n, err
}
