package chatclient

import (
	"context"

	"github.com/rollcall-go/rollcall/protocol"
)

// ContactNotice is what the server tells about another user's request or friendship.
type ContactNotice struct {
	Event string // asked, friends or removed
	User  string // the other one
	Text  string // of a request
}

// RequestFriend asks a user to be the user's friend. The text, at most 256 bytes without control characters, is for the user to read. It reports
// whether the two are friends now: the other one takes all requests, or has asked before.
func (c *Client) RequestFriend(ctx context.Context, userID, text string) (friends bool, err error) {
	f := fields{"user": userID}
	if text != "" {
		f["text"] = text
	}
	a, err := c.request(ctx, protocol.TypeContacts, protocol.ContactRequest, f, nil)
	return a.Fields["state"] == "friends", err
}

// AnswerFriend accepts or declines the request of a user.
func (c *Client) AnswerFriend(ctx context.Context, userID string, accept bool) error {
	return c.do(ctx, protocol.TypeContacts, protocol.ContactAnswer, fields{"user": userID, "accept": flag(accept)})
}

// RemoveFriend ends a friendship, takes the user's own request back, or declines the other one's.
func (c *Client) RemoveFriend(ctx context.Context, userID string) error {
	return c.do(ctx, protocol.TypeContacts, protocol.ContactRemove, fields{"user": userID})
}

// Block has a user blocked, or no more. Users who are blocked may not write to the user and not ask to be friends, and see the user offline; a
// friendship ends.
func (c *Client) Block(ctx context.Context, userID string, on bool) error {
	return c.do(ctx, protocol.TypeContacts, protocol.ContactBlock, fields{"user": userID, "on": flag(on)})
}

// BlockAuthor has anonymous messages of the author of one of them refused, or no more. seq is the message's number in the conversation with
// Anonymous.
func (c *Client) BlockAuthor(ctx context.Context, seq uint64, on bool) error {
	return c.do(ctx, protocol.TypeContacts, protocol.ContactBlock, fields{"seq": decimal(seq), "on": flag(on)})
}

// Contacts returns a page of the user's contacts, in the order of their IDs by bytes: friends, requests, and users who are blocked. cursor, limit and next are
// as for Conversations.
func (c *Client) Contacts(ctx context.Context, cursor string, limit int) (page []protocol.Contact, next string, err error) {
	return list(ctx, c, protocol.TypeContacts, protocol.ContactList, fields{}, cursor, limit, protocol.ParseContacts)
}

// Settings are what the user lets others do.
type Settings struct {
	Receive   bool   // users may write to the user
	Send      bool   // the user may write
	Anonymous bool   // users may write to the user without their names
	Requests  string // "open": who asks to be a friend is one at once; "ask": the user is asked; "off": requests are refused
}

func (s *Settings) fields() fields {
	return fields{"receive": flag(s.Receive), "send": flag(s.Send), "anonymous": flag(s.Anonymous), "requests": s.Requests}
}

// Settings returns the user's settings.
func (c *Client) Settings(ctx context.Context) (Settings, error) { return c.settings(ctx, fields{}) }

// SetSettings reads the user's settings, calls change, sends what is different then, and returns what the settings are afterwards.
func (c *Client) SetSettings(ctx context.Context, change func(s *Settings)) (Settings, error) {
	s, err := c.Settings(ctx)
	if err != nil {
		return Settings{}, err
	}
	before := s.fields()
	change(&s)
	f := s.fields().without(before)
	if len(f) == 0 {
		return s, nil
	}
	return c.settings(ctx, f)
}

func (c *Client) settings(ctx context.Context, f fields) (Settings, error) {
	a, err := c.request(ctx, protocol.TypeContacts, protocol.ContactSettings, f, nil)
	if err != nil {
		return Settings{}, err
	}
	return Settings{Receive: a.flag("receive"), Send: a.flag("send"), Anonymous: a.flag("anonymous"), Requests: a.Fields["requests"]}, nil
}
