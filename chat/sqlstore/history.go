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
)

var (
	findPair     = stmt(`SELECT c.id, c.last_seq FROM conversation c WHERE c.pair = $1`)
	firstMessage = stmt(`SELECT COALESCE(min(m.seq), 0) FROM message m WHERE m.conv = $1`)

	// The lengths of a page's contents, and one more.
	lengthsAfter  = stmt(`SELECT ` + contentLength + ` FROM message m WHERE m.conv = $1 AND m.seq > $2 ORDER BY m.seq LIMIT $3`)
	lengthsBefore = stmt(`SELECT ` + contentLength + ` FROM message m WHERE m.conv = $1 AND m.seq < $2 ORDER BY m.seq DESC LIMIT $3`)

	messagesAfter  = stmt(`SELECT ` + messageColumns + `, m.content FROM message m WHERE m.conv = $1 AND m.seq > $2 ORDER BY m.seq LIMIT $3`)
	messagesBefore = stmt(`SELECT ` + messageColumns + `, m.content FROM message m WHERE m.conv = $1 AND m.seq < $2 ORDER BY m.seq DESC LIMIT $3`)
)

// History implements chat.Store.
func (s *Store) History(ctx context.Context, of chat.Key, asker string, r chat.Range) (page chat.Page, err error) {
	err = s.look(ctx, func(t *tx) error {
		conv, err := t.head(&page, of, asker)
		if err != nil || conv == 0 || page.Last == 0 {
			return err
		}
		if err := t.rows(firstMessage, []any{conv}, func(row scan) error { return row(&page.First) }); err != nil {
			return err
		}
		return t.page(&page, conv, r)
	})
	if err != nil {
		return chat.Page{}, err
	}
	return page, nil
}

// head loads what a page has besides messages, and returns the conversation's number; 0 for a pair that has none.
func (t *tx) head(page *chat.Page, of chat.Key, asker string) (conv int64, err error) {
	if of.Group == 0 {
		err = t.rows(findPair, []any{pairName(of)}, func(row scan) error { return row(&conv, &page.Last) })
		return conv, err
	}
	g := &chat.Group{}
	err = t.rows(groupWithMember, []any{int64(of.Group), asker}, func(row scan) error {
		page.Group = g
		return scanMember(row, &page.Member, groupFields(g)...)
	})
	if err == nil && page.Group == nil {
		err = errNoSuchGroup
	}
	page.Member.UserID, page.Last = asker, g.LastSeq
	return int64(of.Group), err
}

// page loads the messages of a page. Their lengths come first where they are limited, so that contents that do not fit are not read.
func (t *tx) page(page *chat.Page, conv int64, r chat.Range) error {
	lengths, messages, from := lengthsBefore, messagesBefore, int64(math.MaxInt64)
	forward := r.After != 0 || r.FromStart
	if forward {
		lengths, messages, from = lengthsAfter, messagesAfter, number(r.After)
	} else if r.Before != 0 {
		from = number(r.Before)
	}
	n, limit := r.Limit, r.Limit+1
	if r.Bytes > 0 {
		full, total := false, 0
		n = 0
		err := t.rows(lengths, []any{conv, from, r.Limit + 1}, func(row scan) error {
			var length int
			err := row(&length)
			total += length
			full = full || n == r.Limit || n > 0 && total > r.Bytes
			if !full {
				n++
			}
			return err
		})
		if err != nil {
			return err
		}
		limit, page.More = n, full
	}
	err := t.rows(messages, []any{conv, from, limit}, func(row scan) error {
		if len(page.Messages) == n {
			page.More = true
			return nil
		}
		m, _, err := scanStored(row)
		page.Messages = append(page.Messages, m)
		return err
	})
	if !forward {
		slices.Reverse(page.Messages)
	}
	return err
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
