package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/protocol"
)

var errNothingToRecall = protocol.NoSuchMessage

// sent is what a sender has named a message.
type sent struct {
	from string
	id   uuid.UUID
}

// stored is a message in the database, or on its way there. Content is not loaded.
type stored struct {
	chat.Message
	recall uint64 // the number of its recall; 0 for none
}

// conversation is what a batch knows of one, and makes of it.
type conversation struct {
	key    chat.Key
	number int64      // 0 for a pair that has none yet
	found  bool       // it is in the database, and no group that was dissolved
	group  chat.Group // for a group

	last     uint64
	lastTime int64
	oldest   *int64

	first   bool               // the batch has the first messages
	changed bool               // the batch has messages
	used    map[sent]stored    // what senders have named messages
	known   map[uint64]*stored // the messages that are recalled, and those of the batch
	added   []*stored
	recalls []*stored // messages of before that the batch recalls
}

// batch is a call of Append.
type batch struct {
	posts    []*chat.Post
	convs    map[chat.Key]*conversation
	order    []*conversation
	people   people
	contacts sides
	places   placesIn
}

// Append implements chat.Store.
func (s *Store) Append(ctx context.Context, posts []*chat.Post, allow func(p *chat.Post, st *chat.Standing) error) error {
	if len(posts) == 0 {
		return ctx.Err()
	}
	times := make([]time.Time, len(posts))
	for i, p := range posts {
		times[i] = p.Time
	}
	err := s.append(ctx, posts, times, allow)
	if err != nil && s.cfg.BadData(err) {
		err = fmt.Errorf("%w: %w", chat.ErrBadPost, err)
	}
	return err
}

func (s *Store) append(ctx context.Context, posts []*chat.Post, times []time.Time, allow func(p *chat.Post, st *chat.Standing) error) error {
	var numbers numbered
	if s.cfg.Dialect == PostgreSQL {
		var err error
		if numbers, err = s.pairs(ctx, pairsOf(posts, true)); err != nil {
			return err
		}
	}
	return s.write(ctx, func(t *tx) (err error) {
		b := batch{posts: posts, convs: make(map[chat.Key]*conversation), people: people{}, contacts: sides{}, places: placesIn{}}
		if s.cfg.Dialect == SQLite {
			numbers = numbered{}
			if err = t.ask(numbers.of(pairsOf(posts, false))); err != nil {
				return err
			}
		}
		for i, p := range posts {
			p.Seq, p.Dup, p.Err, p.Version, p.Time = 0, false, nil, 0, times[i]
			b.conversation(p, numbers)
		}
		if err := b.load(t, numbers); err != nil {
			return err
		}
		for _, p := range posts {
			b.decide(p, allow)
		}
		return b.store(t)
	})
}

// pairsOf returns the pairs of the posts' conversations, each once. For locking it has in addition the two users of each anonymous message, whose
// conversation is another: what they have with each other must not change meanwhile.
func pairsOf(posts []*chat.Post, locking bool) []string {
	var pairs []string
	for _, p := range posts {
		if p.Group != 0 {
			continue
		}
		pairs = append(pairs, pairName(p.Key()))
		if locking && p.Anonymous {
			pairs = append(pairs, pairName(chat.PairKey(p.From, p.To)))
		}
	}
	return distinct(pairs)
}

// conversation notes the conversation of a post.
func (b *batch) conversation(p *chat.Post, numbers map[string]int64) {
	k := p.Key()
	if b.convs[k] != nil {
		return
	}
	c := &conversation{key: k, number: int64(k.Group), used: make(map[sent]stored), known: make(map[uint64]*stored)}
	if k.Group == 0 {
		c.number = numbers[pairName(k)]
	}
	b.convs[k], b.order = c, append(b.order, c)
}

// decide numbers a post, or says why not.
func (b *batch) decide(p *chat.Post, allow func(p *chat.Post, st *chat.Standing) error) {
	c := b.convs[p.Key()]
	p.Version = c.group.Version
	name := sent{p.From, p.ID}
	if was, ok := c.used[name]; ok {
		repeated(p, &was)
		return
	}
	if last := timeOf(c.lastTime); p.Time.Before(last) {
		p.Time = last
	}
	st := b.standing(c, p)
	if err := allow(p, st); err != nil {
		p.Err = err
		return
	}
	var recalled *stored
	switch {
	case p.Group != 0 && st.Group == nil: // allow should have said so
		p.Err = errNoSuchGroup
		return
	case p.Recalls != 0:
		if recalled = c.known[p.Recalls]; recalled == nil || recalled.Recalls != 0 { // likewise
			p.Err = errNothingToRecall
			return
		}
		if recalled.Recalled {
			repeated(p, c.known[recalled.recall])
			return
		}
	}
	c.add(p, name, recalled)
}

// repeated gives a post the number and the time of the one that it repeats.
func repeated(p *chat.Post, was *stored) {
	p.Dup, p.Seq, p.Time = true, was.Seq, was.Time
}

// add gives a post the next number of its conversation.
func (c *conversation) add(p *chat.Post, name sent, recalled *stored) {
	now := millis(p.Time)
	if c.oldest == nil && c.last > 0 { // the message that was the last may be pruned from now on
		was := c.lastTime
		c.oldest = &was
	}
	c.first = c.first || c.last == 0
	c.changed = true
	c.last++
	c.lastTime, p.Seq, p.Time = now, c.last, timeOf(now)
	m := &stored{Message: chat.Message{
		Seq: p.Seq, ID: p.ID, From: p.From, Time: p.Time, Type: p.Type, Anonymous: p.Anonymous, Recalls: p.Recalls, Content: p.Content,
	}}
	c.added, c.used[name], c.known[p.Seq] = append(c.added, m), *m, m
	if recalled != nil {
		recalled.Recalled, recalled.recall = true, p.Seq
		if !slices.Contains(c.added, recalled) {
			c.recalls = append(c.recalls, recalled)
		}
	}
}

// standing is what allow gets for a post.
func (b *batch) standing(c *conversation, p *chat.Post) *chat.Standing {
	st := &chat.Standing{From: b.people.get(p.From)}
	if p.Group == 0 {
		st.To, st.Contact = b.people.get(p.To), b.contacts.get(p.From, p.To)
	} else if c.found {
		g := c.group
		g.LastSeq = c.last
		st.Group, st.Member = &g, b.places[place{c.number, p.From}]
	}
	if p.Recalls != 0 {
		if found := c.known[p.Recalls]; found != nil {
			m := found.Message
			m.Content = nil
			st.Message = &m
		}
	}
	return st
}

var (
	insertMessages = stmt(`INSERT INTO message (conv, seq, id, sender, sent, flags, type, content)
		SELECT k.conv, k.seq, k.id, k.sender, k.sent, k.flags, k.type, k.content
		FROM KEYS(conv bigint, seq bigint, id bytea, sender text, sent bigint, flags smallint, type bigint, content bytea) k`)

	recallMessages = stmt(`UPDATE message SET flags = message.flags | 2, content = k.content FROM KEYS(conv bigint, seq bigint, content bytea) k
		WHERE message.conv = k.conv AND message.seq = k.seq`)

	// The conversation is locked.
	advance = stmt(`UPDATE conversation SET last_seq = k.last_seq, last_time = k.last_time, oldest = k.oldest
		FROM KEYS(id bigint, last_seq bigint, last_time bigint, oldest bigint) k WHERE conversation.id = k.id`)

	enterPairs = stmt(`INSERT INTO member (conv, user_id, pair) SELECT k.conv, k.user_id, TRUE FROM KEYS(conv bigint, user_id text) k`)
)

// store stores what was decided.
func (b *batch) store(t *tx) error {
	changed := slices.DeleteFunc(slices.Clone(b.order), func(c *conversation) bool { return !c.changed })
	if err := numberNew(t, changed); err != nil {
		return err
	}
	slices.SortFunc(changed, func(x, y *conversation) int { return cmp.Compare(x.number, y.number) })
	var (
		convs, lasts, times, entered, recalledIn, recalled ints
		oldest                                             slice[*int64]
		users                                              texts
		recalls                                            blobs
	)
	for _, c := range changed {
		convs, lasts, times, oldest = append(convs, c.number), append(lasts, int64(c.last)), append(times, c.lastTime), append(oldest, c.oldest)
		if c.first && c.key.Group == 0 {
			for _, id := range distinct([]string{c.key.A, c.key.B}) {
				entered, users = append(entered, c.number), append(users, id)
			}
		}
		for _, m := range c.recalls {
			recalledIn, recalled = append(recalledIn, c.number), append(recalled, int64(m.Seq))
			recalls = append(recalls, contentOf(m.recall))
		}
	}
	if _, err := t.put(advance, keysOf(&convs, &lasts, &times, &oldest)); err != nil {
		return err
	}
	if _, err := t.put(enterPairs, keysOf(&entered, &users)); err != nil {
		return err
	}
	if _, err := t.put(recallMessages, keysOf(&recalledIn, &recalled, &recalls)); err != nil {
		return err
	}
	return insert(t, changed)
}

// numberNew gives numbers to the pairs that have none, which PostgreSQL's got before the transaction.
func numberNew(t *tx, convs []*conversation) error {
	var missing []string
	for _, c := range convs {
		if c.number == 0 {
			missing = append(missing, pairName(c.key))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := t.insertPairs(missing); err != nil {
		return err
	}
	numbers := numbered{}
	err := t.ask(numbers.of(missing))
	for _, c := range convs {
		if c.number == 0 {
			c.number = numbers[pairName(c.key)]
		}
	}
	return err
}

// insert stores the messages that the batch adds.
func insert(t *tx, convs []*conversation) error {
	var (
		in, seqs, sentAt, types ints
		ids, contents           blobs
		from                    texts
		flags                   shorts
	)
	for _, c := range convs {
		for _, m := range c.added {
			f, content := int16(0), m.Content
			if m.Anonymous {
				f |= flagAnonymous
			}
			if m.Recalls != 0 {
				f, content = f|flagRecall, contentOf(m.Recalls)
			}
			if m.Recalled {
				f, content = f|flagRecalled, contentOf(m.recall)
			}
			if content == nil {
				content = []byte{} // nil is NULL
			}
			in, seqs, ids, from = append(in, c.number), append(seqs, int64(m.Seq)), append(ids, m.ID[:]), append(from, m.From)
			sentAt, flags, types, contents = append(sentAt, millis(m.Time)), append(flags, f), append(types, int64(m.Type)), append(contents, content)
		}
	}
	_, err := t.put(insertMessages, keysOf(&in, &seqs, &ids, &from, &sentAt, &flags, &types, &contents))
	return err
}
