package chatclient

import (
	"context"

	"github.com/rollcall-go/rollcall/protocol"
)

// Page is a part of a conversation.
type Page struct {
	Messages []*Message
	More     bool   // there are more in the direction that was read
	First    uint64 // the number of the first message that the server keeps; 0 for none
}

// Range says which part of a conversation is asked for. With the zero values of After and Before it is the last messages.
type Range struct {
	After     uint64 // the first messages with a greater number
	FromStart bool   // After counts also where it is 0
	Before    uint64 // the last messages with a lesser number; it does not count where After does
	Limit     int    // so many at most; 0, and more than 1,000, mean 1,000
}

const mostInPage = 1000

// History reads a part of a conversation, in the order of the numbers. A page has at most 1,000 messages and some 256 KiB. What it reads is not
// handed to OnMessage.
func (c *Client) History(ctx context.Context, of Conversation, r Range) (Page, error) {
	f := of.fields()
	switch {
	case r.After != 0 || r.FromStart:
		f["after"] = decimal(r.After)
	case r.Before != 0:
		f["before"] = decimal(r.Before)
	}
	if r.Limit > 0 {
		f["limit"] = decimal(uint64(min(r.Limit, mostInPage)))
	}
	a, err := c.request(ctx, protocol.TypeChat, protocol.ChatHistory, f, nil)
	if err != nil {
		return Page{}, err
	}
	list, err := protocol.ParseStoredMessages(a.Content)
	if err != nil {
		return Page{}, malformed(err)
	}
	return Page{Messages: messages(of, list), More: a.flag("more"), First: a.number("first")}, nil
}

// Conversations returns a page of the user's conversations with their last numbers: groups, and users with whom there are messages. cursor is "" for
// the first page, and what next was for the one after it; next is "" after the last page. A page has at most limit conversations; 0, and more than
// 1,000, mean 1,000.
func (c *Client) Conversations(ctx context.Context, cursor string, limit int) (page []protocol.ChatConversation, next string, err error) {
	return list(ctx, c, protocol.TypeChat, protocol.ChatConversations, fields{}, cursor, limit, protocol.ParseConversations)
}

// list asks for a page of a list.
func list[T any](ctx context.Context, c *Client, typ uint16, op uint8, f fields, cursor string, limit int, parse func([]byte) ([]T, error)) (page []T, next string, err error) {
	if cursor != "" {
		f["cursor"] = cursor
	}
	if limit > 0 {
		f["limit"] = decimal(uint64(min(limit, mostInPage)))
	}
	a, err := c.request(ctx, typ, op, f, nil)
	if err != nil {
		return nil, "", err
	}
	if page, err = parse(a.Content); err != nil {
		return nil, "", malformed(err)
	}
	return page, a.Fields["next"], nil
}
