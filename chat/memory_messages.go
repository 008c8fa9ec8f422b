package chat

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// memMessage is a stored message. Its Conversation is not set, and From also where Anonymous is set.
type memMessage struct {
	Message
	recall uint64 // the number of its recall; 0 for none
}

// memSent is what a sender has named a message.
type memSent struct {
	from string
	id   uuid.UUID
}

// memDraft is what a call of Append makes of a conversation.
type memDraft struct {
	*memConversation // as it was before the call
	added            []memMessage
	ids              map[memSent]uint64
	recalls          map[uint64]uint64 // the numbers of recalls, by the numbers of what they recall
	end              uint64            // the last number
	endTime          time.Time
}

// Append implements Store.
func (m *Memory) Append(ctx context.Context, posts []*Post, allow func(p *Post, s *Standing) error) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	drafts := make(map[Key]*memDraft)
	var order []*memDraft
	for _, p := range posts {
		k := p.Key()
		d := drafts[k]
		if d == nil {
			d = m.draft(k)
			drafts[k], order = d, append(order, d)
		}
		m.post(d, p, allow)
	}
	for _, d := range order {
		m.commit(d)
	}
	return nil
}

// draft starts from the stored conversation. A conversation or a group that does not exist starts without messages.
func (m *Memory) draft(k Key) *memDraft {
	c := m.conversations[k]
	if c == nil || c.group.Dissolved {
		c = &memConversation{key: k, used: make(map[memSent]uint64)}
	}
	return &memDraft{memConversation: c, ids: make(map[memSent]uint64), recalls: make(map[uint64]uint64), end: c.last, endTime: c.lastTime}
}

// post adds a post to the draft of its conversation, or says why not.
func (m *Memory) post(d *memDraft, p *Post, allow func(p *Post, s *Standing) error) {
	p.Seq, p.Dup, p.Err, p.Version = 0, false, nil, d.group.Version
	sent := memSent{p.From, p.ID}
	if seq := max(d.used[sent], d.ids[sent]); seq != 0 {
		d.repeated(p, seq)
		return
	}
	if p.Time.Before(d.endTime) {
		p.Time = d.endTime
	}
	s := m.standing(d, p)
	if p.Err = allow(p, s); p.Err != nil {
		return
	}
	switch {
	case p.Group != 0 && s.Group == nil: // allow should have said so
		p.Err = errNoSuchGroup
		return
	case p.Recalls != 0 && s.Message == nil:
		p.Err = errNoSuchMessage
		return
	case p.Recalls != 0 && s.Message.Recalled:
		d.repeated(p, d.find(p.Recalls).recall)
		return
	case p.Recalls != 0:
		d.recalls[p.Recalls] = d.end + 1
	}
	d.end++
	d.endTime, p.Seq = p.Time, d.end
	d.ids[sent] = p.Seq
	d.added = append(d.added, memMessage{Message: Message{
		Seq: p.Seq, ID: p.ID, From: p.From, Time: p.Time, Type: p.Type, Anonymous: p.Anonymous, Recalls: p.Recalls, Content: slices.Clone(p.Content),
	}})
}

// repeated gives a post the number and the time of the one that it repeats.
func (d *memDraft) repeated(p *Post, seq uint64) {
	p.Dup, p.Seq = true, seq
	if was := d.find(seq); was != nil {
		p.Time = was.Time
	}
}

// standing is what allow gets for a post.
func (m *Memory) standing(d *memDraft, p *Post) *Standing {
	s := &Standing{From: m.user(p.From)}
	if p.Group == 0 {
		s.To, s.Contact = m.user(p.To), m.contact(p.From, p.To)
	} else if d.number != 0 {
		g := d.info()
		g.LastSeq = d.end
		s.Group, s.Member = &g, d.member(p.From)
	}
	if p.Recalls != 0 {
		if found := d.find(p.Recalls); found != nil {
			s.Message = &found.Message
		}
	}
	return s
}

// find returns a copy of a message, also of one that the draft has added or recalled, or nil.
func (d *memDraft) find(seq uint64) *memMessage {
	var found memMessage
	switch {
	case seq > d.last && seq <= d.end:
		found = d.added[seq-d.last-1]
	case seq <= d.last && len(d.messages) > 0 && seq >= d.messages[0].Seq:
		found = d.messages[seq-d.messages[0].Seq]
	default:
		return nil
	}
	if r := d.recalls[seq]; r != 0 {
		found.Recalled, found.recall = true, r
	}
	found.Content = nil
	return &found
}

// commit stores a draft.
func (m *Memory) commit(d *memDraft) {
	if len(d.added) == 0 {
		return
	}
	c := d.memConversation
	if c.number == 0 { // two users who have not written to each other before
		for m.lastPair++; m.conversations[Key{Group: GroupID(m.lastPair)}] != nil; m.lastPair++ {
		}
		c.number = m.lastPair
		m.pairs[c.number] = true
		m.conversations[c.key] = c
		m.enter(c.key.A, c)
		m.enter(c.key.B, c)
	}
	c.messages = append(c.messages, d.added...)
	c.last, c.lastTime = d.end, d.endTime
	for sent, seq := range d.ids {
		c.used[sent] = seq
	}
	for seq, recall := range d.recalls {
		was := &c.messages[seq-c.messages[0].Seq]
		was.Recalled, was.Content, was.recall = true, nil, recall
	}
}

// History implements Store.
func (m *Memory) History(ctx context.Context, of Key, asker string, r Range) (Page, error) {
	if err := m.begin(ctx); err != nil {
		return Page{}, err
	}
	defer m.mu.Unlock()
	var page Page
	c := m.conversations[of]
	if of.Group != 0 {
		if c = m.group(of.Group); c == nil {
			return Page{}, errNoSuchGroup
		}
		g := c.info()
		page.Group, page.Member = &g, c.member(asker)
	}
	if c == nil {
		return page, nil
	}
	page.Last = c.last
	if len(c.messages) == 0 {
		return page, nil
	}
	page.First = c.messages[0].Seq
	fromStart := r.After != 0 || r.FromStart
	all := c.messages
	switch {
	case fromStart:
		all = all[min(r.After-min(r.After, page.First-1), uint64(len(all))):]
	case r.Before != 0:
		all = all[:min(r.Before-min(r.Before, page.First), uint64(len(all)))]
	}
	n, bytes := 0, 0
	for n < len(all) && n < r.Limit {
		next := &all[n]
		if !fromStart {
			next = &all[len(all)-1-n]
		}
		bytes += len(next.Content)
		if r.Bytes > 0 && n > 0 && bytes > r.Bytes {
			break
		}
		n++
	}
	page.More = n < len(all)
	if fromStart {
		all = all[:n]
	} else {
		all = all[len(all)-n:]
	}
	for i := range all {
		found := all[i].Message
		found.Content = slices.Clone(found.Content)
		page.Messages = append(page.Messages, found)
	}
	return page, nil
}

// Prune implements Store.
func (m *Memory) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	removed := 0
	for _, c := range m.conversations {
		n := 0
		for n < len(c.messages)-1 && removed+n < limit && c.messages[n].Time.Before(before) {
			delete(c.used, memSent{c.messages[n].From, c.messages[n].ID})
			n++
		}
		c.messages = slices.Delete(c.messages, 0, n)
		removed += n
	}
	return removed, nil
}
