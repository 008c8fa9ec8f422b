package sqlstore

import (
	"slices"

	"github.com/rollcall-go/rollcall/chat"
)

var (
	lockConversations = stmt(`SELECT ` + groupColumns + `, c.pair IS NOT NULL, c.last_time, c.oldest FROM KEYS(id bigint) k JOIN conversation c ON c.id = k.id
		ORDER BY c.id FOR UPDATE OF c`)

	findUsed = stmt(`SELECT m.conv, m.sender, m.id, m.seq, m.sent FROM KEYS(conv bigint, sender text, id bytea) k
		JOIN message m ON m.conv = k.conv AND m.sender = k.sender AND m.id = k.id`)

	// A content is loaded where it stands for a number.
	findMessages = stmt(`SELECT m.conv, ` + messageColumns + `, CASE WHEN m.flags & 6 <> 0 THEN m.content END FROM KEYS(conv bigint, seq bigint) k
		JOIN message m ON m.conv = k.conv AND m.seq = k.seq`)
)

// lockConversations has other transactions wait that change a conversation or number its messages, and calls each for each one that it finds.
func (t *tx) lockConversations(numbers []int64, each func(scan) error) error {
	if each == nil {
		each = func(scan) error { return nil }
	}
	ids := ints(slices.Compact(slices.Sorted(slices.Values(numbers))))
	return t.find(lockConversations, keysOf(&ids), each)
}

// load locks the posts' conversations, and loads what allow and the numbers depend on.
func (b *batch) load(t *tx, numbers map[string]int64) error {
	if err := b.lock(t, numbers); err != nil {
		return err
	}
	var users []string
	var pairs []side
	var places []place
	seen := make(map[place]bool)
	for _, p := range b.posts {
		users = append(users, p.From)
		c := b.convs[p.Key()]
		if p.Group == 0 {
			users, pairs = append(users, p.To), append(pairs, side{p.From, p.To})
		} else if k := (place{c.number, p.From}); c.found && !seen[k] {
			seen[k], places = true, append(places, k)
		}
	}
	ids := distinct(users)
	if err := t.find(accountsShared, keysOf(&ids), b.people.add); err != nil {
		return err
	}
	if err := t.ask(b.contacts.between(pairs)); err != nil {
		return err
	}
	if err := b.places.load(t, places); err != nil {
		return err
	}
	if err := b.loadUsed(t); err != nil {
		return err
	}
	return b.loadRecalled(t)
}

// lock locks the conversations in the order of their numbers. With PostgreSQL's are those that anonymous messages depend on.
func (b *batch) lock(t *tx, numbers map[string]int64) error {
	var all []int64
	byNumber := make(map[int64][]*conversation)
	for _, c := range b.order {
		if c.number != 0 {
			all, byNumber[c.number] = append(all, c.number), append(byNumber[c.number], c)
		}
	}
	if t.s.cfg.Dialect == PostgreSQL {
		for _, n := range numbers {
			all = append(all, n)
		}
	}
	return t.lockConversations(all, func(row scan) error {
		var g chat.Group
		var isPair bool
		var lastTime int64
		var oldest *int64
		if err := row(append(groupFields(&g), &isPair, &lastTime, &oldest)...); err != nil {
			return err
		}
		for _, c := range byNumber[int64(g.ID)] {
			if isPair == (c.key.Group == 0) && !g.Dissolved { // a pair's number is no group's ID
				c.found, c.last, c.lastTime, c.oldest = true, g.LastSeq, lastTime, oldest
				if !isPair {
					c.group = g
				}
			}
		}
		return nil
	})
}

// inOrder are the conversations that the database has by their numbers.
func (b *batch) inOrder() map[int64]*conversation {
	found := make(map[int64]*conversation, len(b.order))
	for _, c := range b.order {
		if c.found {
			found[c.number] = c
		}
	}
	return found
}

// loadUsed finds the posts whose IDs their senders have used.
func (b *batch) loadUsed(t *tx) error {
	type key struct {
		conv int64
		sent
	}
	seen := make(map[key]bool, len(b.posts))
	var convs ints
	var from texts
	var ids blobs
	for _, p := range b.posts {
		c := b.convs[p.Key()]
		k := key{c.number, sent{p.From, p.ID}}
		if c.found && c.last > 0 && !seen[k] {
			seen[k] = true
			convs, from, ids = append(convs, k.conv), append(from, k.from), append(ids, p.ID[:])
		}
	}
	found := b.inOrder()
	return t.find(findUsed, keysOf(&convs, &from, &ids), func(row scan) error {
		var conv, at int64
		var name sent
		var id []byte
		var was stored
		err := row(&conv, &name.from, &id, &was.Seq, &at)
		copy(name.id[:], id)
		was.Time = timeOf(at)
		if err == nil {
			found[conv].used[name] = was
		}
		return err
	})
}

// loadRecalled finds the messages that are to be recalled, and the recalls of those that were recalled.
func (b *batch) loadRecalled(t *tx) error {
	type key struct {
		conv int64
		seq  uint64
	}
	seen := make(map[key]bool)
	var wanted []key
	want := func(c *conversation, seq uint64) {
		if k := (key{c.number, seq}); c.found && seq > 0 && seq <= c.last && !seen[k] {
			seen[k], wanted = true, append(wanted, k)
		}
	}
	for _, p := range b.posts {
		want(b.convs[p.Key()], p.Recalls)
	}
	convs := b.inOrder()
	for len(wanted) > 0 { // twice at most: a recall is not recalled
		var in, seqs ints
		for _, k := range wanted {
			in, seqs = append(in, k.conv), append(seqs, int64(k.seq))
		}
		wanted = nil
		err := t.find(findMessages, keysOf(&in, &seqs), func(row scan) error {
			var conv int64
			m, recall, err := scanStored(row, &conv)
			if err != nil {
				return err
			}
			convs[conv].known[m.Seq] = &stored{Message: m, recall: recall}
			want(convs[conv], recall)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
