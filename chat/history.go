package chat

import (
	"context"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

const (
	mostInPage   = 1000
	mostInList   = 256 << 10 // bytes
	replyReserve = 4 << 10   // for what a frame has besides its list
)

// History returns a part of a conversation as asker may read it: a member of the group, or one of the two. A user's messages by the program are
// in the conversation with Server, and the anonymous ones in that with Anonymous. Anonymous messages have no From, but for Server as the asker.
// At most 1,000 messages are returned.
func (s *Service) History(ctx context.Context, asker string, of Conversation, r Range) (Page, error) {
	r.Limit = min(max(r.Limit, 1), mostInPage)
	page, err := s.cfg.Store.History(ctx, KeyOf(asker, of), asker, r)
	switch {
	case err != nil:
		return Page{}, s.failed("History", err)
	case page.Group != nil && !page.Member.In && asker != Server:
		return Page{}, errNotMember
	}
	show(page.Messages, asker, of)
	return page, nil
}

// show makes messages as a reader may have them.
func show(all []Message, asker string, of Conversation) {
	for i := range all {
		m := &all[i]
		m.Conversation = of
		if m.Anonymous && asker != Server {
			m.From = ""
		}
	}
}

// wire is the message as clients get it.
func (m *Message) wire() protocol.StoredMessage {
	w := protocol.StoredMessage{Seq: m.Seq, ID: m.ID, Time: m.Time, Anonymous: m.Anonymous, Recalled: m.Recalled, Recalls: m.Recalls,
		Type: m.Type, From: m.From, Content: m.Content}
	if m.Anonymous {
		w.From = ""
	}
	return w
}

// listOf encodes messages, as many as fit into a reply: the first ones, or the last ones.
func (s *Service) listOf(all []Message, last bool) (list []byte, more bool) {
	const header = 64 // of a message, besides its sender and its content
	most, n := min(mostInList, s.maxBody-replyReserve), 0
	for size := 0; n < min(len(all), mostInPage); n++ {
		m := &all[n]
		if last {
			m = &all[len(all)-1-n]
		}
		if size += header + len(m.From) + len(m.Content); size > most && n > 0 {
			break
		}
	}
	more = n < len(all)
	if last {
		all = all[len(all)-n:]
	}
	wire := make([]protocol.StoredMessage, n)
	for i := range wire {
		wire[i] = all[i].wire()
	}
	list, _, _ = system.AppendStoredMessages(nil, wire)
	return list, more
}

func historyOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	of, limit := f.conversation(true), f.limit(mostInPage)
	after, isAfter := f.number("after")
	before, isBefore := f.number("before")
	if isAfter && isBefore {
		f.fail("one of the fields \"after\" and \"before\" is enough")
	}
	if f.err != nil {
		return nil, nil, f.err
	}
	if isBefore && before == 0 {
		return map[string]string{"more": "0", "first": "0"}, []byte{0, 0}, nil
	}
	page, err := r.service.History(ctx, r.user, of, Range{After: after, FromStart: isAfter, Before: before, Limit: limit, Bytes: mostInList})
	if err != nil {
		return nil, nil, err
	}
	list, cut := r.service.listOf(page.Messages, !isAfter)
	return map[string]string{"more": flag(page.More || cut), "first": decimal(page.First)}, list, nil
}

// Conversations returns the conversations of a user after an ID in the order of their IDs, so many at most: groups, and users that it has
// messages with. It starts after 0; the next page starts after the last ID of this one.
func (s *Service) Conversations(ctx context.Context, userID string, after uint64, limit int) ([]ConversationInfo, error) {
	all, err := s.cfg.Store.Conversations(ctx, userID, after, min(max(limit, 1), mostInPage))
	if err != nil {
		return nil, s.failed("Conversations", err)
	}
	return all, nil
}

func conversationsOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	after, _ := f.number("cursor")
	limit := f.limit(mostInPage)
	if f.err != nil {
		return nil, nil, f.err
	}
	all, err := r.service.Conversations(ctx, r.user, after, limit)
	if err != nil {
		return nil, nil, err
	}
	wire := make([]protocol.ChatConversation, len(all))
	for i, c := range all {
		wire[i] = protocol.ChatConversation{Group: uint64(c.Group), With: c.With, Last: c.LastSeq}
	}
	list, rest, err := system.AppendConversations(nil, wire)
	if err != nil {
		return nil, nil, err
	}
	fields := map[string]string{}
	if n := len(all) - len(rest); n > 0 && (len(rest) > 0 || len(all) == limit) {
		fields["next"] = decimal(all[n-1].ID)
	}
	return fields, list, nil
}
