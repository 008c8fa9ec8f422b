package sqlstore

import (
	"context"
	"encoding/binary"
	"math"
	"slices"

	"github.com/rollcall-go/rollcall/chat"
)

const (
	flagAnonymous = 1
	flagRecalled  = 2
	flagRecall    = 4
)

const (
	messageColumns = `m.seq, m.id, m.sender, m.sent, m.flags, m.type`
	contentLength  = `CASE WHEN m.flags & 6 = 0 THEN length(m.content) ELSE 0 END`

	firstMessage = `(SELECT COALESCE(min(m.seq), 0) FROM message m WHERE m.conv = c.id)`

	numberOfPair = `(SELECT c.id FROM conversation c WHERE c.pair = $1)`
)

var (
	// What a page has besides messages.
	headOfGroup = stmt(`SELECT ` + firstMessage + `, ` + groupColumns + `, ` + memberColumns + withMember)
	headOfPair  = stmt(`SELECT ` + firstMessage + `, c.last_seq FROM conversation c WHERE c.pair = $1`)

	groupAfter  = messagesOf(`$1`, `m.seq > $2`, `m.seq`)
	groupBefore = messagesOf(`$1`, `m.seq < $2`, `m.seq DESC`)
	pairAfter   = messagesOf(numberOfPair, `m.seq > $2`, `m.seq`)
	pairBefore  = messagesOf(numberOfPair, `m.seq < $2`, `m.seq DESC`)
)

// messagesOf finds $3 messages at most of a part of a conversation, in an order. PostgreSQL sends all that it finds at once: where a page may have
// $4 bytes the last one is the first message that is too much. SQLite finds a message when it is asked for, and does without.
func messagesOf(conv, part, order string) *statement {
	const columns = messageColumns + `, m.content`
	from := ` FROM message m WHERE m.conv = ` + conv + ` AND ` + part + ` ORDER BY ` + order + ` LIMIT $3`
	window := ` OVER (ORDER BY ` + order + ` ROWS UNBOUNDED PRECEDING)`
	bounded := `SELECT ` + columns + ` FROM (
		SELECT ` + columns + `, sum(m.size)` + window + ` - m.size AS earlier, count(*)` + window + ` AS nth FROM (
			SELECT ` + columns + `, ` + contentLength + ` AS size` + from + `) m) m
		WHERE m.earlier <= $4 OR m.nth <= 2 ORDER BY ` + order
	return &statement{[2]string{SQLite: stmt(`SELECT ` + columns + from).text[SQLite], PostgreSQL: stmt(bounded).text[PostgreSQL]}}
}

// History implements chat.Store.
func (s *Store) History(ctx context.Context, of chat.Key, asker string, r chat.Range) (page chat.Page, err error) {
	conv, after, before := any(pairName(of)), pairAfter, pairBefore
	head := question{st: headOfPair, args: []any{conv}, each: func(row scan) error { return row(&page.First, &page.Last) }}
	if of.Group != 0 {
		conv, after, before = int64(of.Group), groupAfter, groupBefore
		head = question{st: headOfGroup, args: []any{conv, asker}, each: func(row scan) error {
			g := &chat.Group{}
			err := scanMember(row, &page.Member, append([]any{&page.First}, groupFields(g)...)...)
			page.Group, page.Member.UserID, page.Last = g, asker, g.LastSeq
			return err
		}}
	}
	messages := question{st: before, args: []any{conv, int64(math.MaxInt64), r.Limit + 1, atMost(r.Bytes)}, each: fill(&page, r)}
	forward := r.After != 0 || r.FromStart
	if forward {
		messages.st, messages.args[1] = after, number(r.After)
	} else if r.Before != 0 {
		messages.args[1] = number(r.Before)
	}
	err = s.look(ctx, head, messages)
	if err == nil && of.Group != 0 && page.Group == nil {
		err = errNoSuchGroup
	}
	if err != nil {
		return chat.Page{}, err
	}
	if !forward {
		slices.Reverse(page.Messages)
	}
	return page, nil
}

// fill adds a message to a page, which has enough when the message is too much for it.
func fill(page *chat.Page, r chat.Range) func(scan) error {
	bytes := 0
	return func(row scan) error {
		m, _, err := scanStored(row)
		if err != nil {
			return err
		}
		n := len(page.Messages)
		bytes += len(m.Content)
		if n == r.Limit || n > 0 && r.Bytes > 0 && bytes > r.Bytes {
			page.More = true
			return errEnough
		}
		page.Messages = append(page.Messages, m)
		return nil
	}
}

// scanStored scans messageColumns and the content, and what stands before them. recall is the number of the message's recall.
func scanStored(row scan, before ...any) (m chat.Message, recall uint64, err error) {
	var at int64
	var flags uint8
	var id []byte
	err = row(append(before, &m.Seq, &id, &m.From, &at, &flags, &m.Type, &m.Content)...)
	copy(m.ID[:], id)
	m.Time, m.Anonymous = timeOf(at), flags&flagAnonymous != 0
	switch {
	case flags&flagRecalled != 0:
		m.Recalled, recall, m.Content = true, numberIn(m.Content), nil
	case flags&flagRecall != 0:
		m.Recalls, m.Content = numberIn(m.Content), nil
	}
	return m, recall, err
}

// contentOf is the content that stands for a number.
func contentOf(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func numberIn(content []byte) uint64 {
	if len(content) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(content)
}
