package chat

import (
	"context"
	"errors"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

var contactOperations = operations{
	protocol.ContactRequest:  requestOp,
	protocol.ContactAnswer:   answerOp,
	protocol.ContactRemove:   removeOp,
	protocol.ContactBlock:    blockOp,
	protocol.ContactList:     contactsOp,
	protocol.ContactSettings: settingsOp,
}

// RequestFriend asks a user to be by's friend. The text, at most 256 bytes without control characters, is for the user to read. It reports
// whether the two are friends now: the user takes all requests, or has asked before.
func (s *Service) RequestFriend(ctx context.Context, by, userID, text string) (friends bool, err error) {
	if why := textFault(text); why != "" {
		return false, protocol.Errorf(protocol.Incomplete, "the text %s", why)
	}
	if err := s.quotas.requests.take(by); err != nil {
		return false, err
	}
	var state ContactState
	_, err = s.changeContact(ctx, by, userID, func(r *Relation) error {
		err := r.ask(text, now(), s.cfg.Limits.Contacts)
		state = r.AB.State
		return err
	})
	if err != nil {
		return false, err
	}
	if state == Friend {
		s.befriended(by, userID)
		return true, nil
	}
	s.tellContact("asked", by, userID, text)
	return false, nil
}

// AnswerFriend accepts or declines the request of a user.
func (s *Service) AnswerFriend(ctx context.Context, by, userID string, accept bool) error {
	if _, err := s.changeContact(ctx, by, userID, func(r *Relation) error {
		return r.answer(accept, now(), s.cfg.Limits.Contacts)
	}); err != nil {
		return err
	}
	if accept {
		s.befriended(by, userID)
	} else {
		s.handlers.contact(ContactEvent{Event: "declined", By: by, With: userID})
	}
	return nil
}

// RemoveFriend ends a friendship, takes by's request back, or declines the user's.
func (s *Service) RemoveFriend(ctx context.Context, by, userID string) error {
	was, err := s.changeContact(ctx, by, userID, func(r *Relation) error {
		r.remove(now())
		return nil
	})
	if err == nil && was != 0 {
		s.parted(was, by, userID)
	}
	return err
}

// Block has a user blocked, or no more. Blocked users may not write to by, nor ask, and see by offline; a friendship ends.
func (s *Service) Block(ctx context.Context, by, userID string, on bool) error {
	was, err := s.changeContact(ctx, by, userID, func(r *Relation) error { return r.block(on, now()) })
	if err != nil {
		return err
	}
	if was != 0 && on {
		s.parted(was, by, userID)
	} else {
		s.presence.ContactsChanged(by, userID)
	}
	event := "unblocked"
	if on {
		event = "blocked"
	}
	s.handlers.contact(ContactEvent{Event: event, By: by, With: userID})
	return nil
}

// BlockAuthor has anonymous messages of the author of one of them refused, or no more. seq is the message's number in by's conversation with
// Anonymous. by does not learn who it is; what that user sends without being anonymous still comes.
func (s *Service) BlockAuthor(ctx context.Context, by string, seq uint64, on bool) error {
	author, err := s.author(ctx, PairKey(by, Anonymous), seq)
	if err != nil {
		return err
	}
	_, err = s.changeContact(ctx, by, author, func(r *Relation) error {
		r.AB.BlockedAnonymous = on
		return nil
	})
	return err
}

// author returns who has sent a message.
func (s *Service) author(ctx context.Context, of Key, seq uint64) (string, error) {
	page, err := s.cfg.Store.History(ctx, of, "", Range{After: seq - 1, FromStart: true, Limit: 1})
	switch {
	case err != nil:
		return "", s.failed("History", err)
	case seq == 0, len(page.Messages) == 0, page.Messages[0].Seq != seq:
		return "", errNoSuchMessage
	}
	return page.Messages[0].From, nil
}

// Contacts returns a user's contacts after an ID, in the order of their IDs by bytes, so many at most, 1,000 in all.
func (s *Service) Contacts(ctx context.Context, userID, after string, limit int) ([]Contact, error) {
	all, err := s.cfg.Store.Contacts(ctx, userID, after, min(max(limit, 1), mostInPage))
	if err != nil {
		return nil, s.failed("Contacts", err)
	}
	for i := range all {
		all[i].BlockedBy, all[i].BlockedAnonymous, all[i].BlockedByAnonymous = false, false, false // not for the user
	}
	return all, nil
}

// changeContact changes what is between two users and returns by's state before.
func (s *Service) changeContact(ctx context.Context, by, userID string, change func(r *Relation) error) (was ContactState, err error) {
	for _, id := range []string{by, userID} {
		if err := protocol.CheckUserID(id); err != nil {
			return 0, protocol.Errorf(protocol.Incomplete, "%v", err)
		}
	}
	if by == userID {
		return 0, errOneself
	}
	if err := s.users.await(ctx, userID); err != nil {
		return 0, err
	}
	err = s.cfg.Store.UpdateContact(ctx, by, userID, func(r *Relation) error {
		was = r.AB.State
		return change(r)
	})
	if err != nil {
		if !isRefusal(err) { // it may be stored
			s.presence.ContactsChanged(by, userID)
		}
		return 0, s.failed("UpdateContact", err)
	}
	return was, nil
}

func (s *Service) befriended(by, with string) {
	s.presence.ContactsChanged(by, with)
	s.noticeContact("friends", by, with, "")
	s.tellContact("friends", by, with, "")
}

// parted tells the other one of a friendship or a request that is over.
func (s *Service) parted(was ContactState, by, with string) {
	s.presence.ContactsChanged(by, with)
	if was == AsksMe { // who was declined is not told
		return
	}
	s.tellContact("removed", by, with, "")
}

// tellContact tells the other one and the program what a user has done.
func (s *Service) tellContact(event, by, with, text string) {
	s.noticeContact(event, with, by, text)
	s.handlers.contact(ContactEvent{Event: event, By: by, With: with})
}

// noticeContact tells all sessions of to about a user.
func (s *Service) noticeContact(event, to, about, text string) {
	fields := map[string]string{"event": event, "user": about}
	if text != "" {
		fields["text"] = text
	}
	s.notice(protocol.TypeContacts, protocol.ContactNotice, fields, to)
}

// notice sends a notice to all sessions of some users.
func (s *Service) notice(typ uint16, op uint8, fields map[string]string, to ...string) {
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: op, Fields: fields})
	if err != nil { // IDs and texts are checked before
		panic("rollcall: chat: " + err.Error())
	}
	m := &protocol.Message{Type: typ, Body: body}
	s.fanout(to, m, nil)
	s.elsewhere.notice(to, m)
}

func requestOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	user := f.user()
	text, _ := f.text("text")
	if f.err != nil {
		return nil, nil, f.err
	}
	friends, err := r.service.RequestFriend(ctx, r.user, user, text)
	if err != nil {
		return nil, nil, err
	}
	state := "asked"
	if friends {
		state = "friends"
	}
	return map[string]string{"state": state}, nil, nil
}

func answerOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	user, accept := f.user(), f.flag("accept", true)
	if f.err != nil {
		return nil, nil, f.err
	}
	return nil, nil, r.service.AnswerFriend(ctx, r.user, user, accept)
}

func removeOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	user := f.user()
	if f.err != nil {
		return nil, nil, f.err
	}
	return nil, nil, r.service.RemoveFriend(ctx, r.user, user)
}

func blockOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	on := f.flag("on", true)
	if seq, given := f.number("seq"); given {
		if f.err != nil {
			return nil, nil, f.err
		}
		return nil, nil, r.service.BlockAuthor(ctx, r.user, seq, on)
	}
	user := f.user()
	if f.err != nil {
		return nil, nil, f.err
	}
	return nil, nil, r.service.Block(ctx, r.user, user, on)
}

func contactsOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	limit := f.limit(mostInPage)
	if f.err != nil {
		return nil, nil, f.err
	}
	all, err := r.service.Contacts(ctx, r.user, r.Fields["cursor"], limit)
	if err != nil {
		return nil, nil, err
	}
	wire := make([]protocol.Contact, len(all))
	for i, c := range all {
		wire[i] = protocol.Contact{UserID: c.UserID, State: c.State, Since: c.Since}
		if c.Blocked {
			wire[i].State |= protocol.ContactBlocked
		}
	}
	list, rest, err := system.AppendContacts(nil, wire)
	if err != nil {
		return nil, nil, err
	}
	fields := map[string]string{}
	if n := len(all) - len(rest); n > 0 && (len(rest) > 0 || len(all) == limit) {
		fields["next"] = all[n-1].UserID
	}
	return fields, list, nil
}

// Settings returns a user's settings; DefaultSettings for a user who has none.
func (s *Service) Settings(ctx context.Context, userID string) (Settings, error) {
	all, err := s.cfg.Store.Users(ctx, []string{userID})
	if err != nil {
		return Settings{}, s.failed("Users", err)
	}
	return all[0].Settings, nil
}

// SetSettings changes a user's settings and returns what they are now. The error is protocol.NoSuchUser for a user who was not created.
func (s *Service) SetSettings(ctx context.Context, userID string, change func(*Settings)) (now Settings, err error) {
	if err := s.users.await(ctx, userID); err != nil {
		return Settings{}, err
	}
	err = s.cfg.Store.UpdateUser(ctx, userID, func(u *User) error {
		if !u.Exists {
			return errNoSuchUser
		}
		change(&u.Settings)
		if u.Requests > Off {
			return errRequests
		}
		now = u.Settings
		return nil
	})
	if err != nil {
		return Settings{}, s.failed("UpdateUser", err)
	}
	return now, nil
}

var errRequests = errors.New("chat: Requests is none of Open, Ask and Off")

func settingsOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	set := flags(f, map[string]func(*Settings) *bool{
		"receive":   func(s *Settings) *bool { return &s.Receive },
		"send":      func(s *Settings) *bool { return &s.Send },
		"anonymous": func(s *Settings) *bool { return &s.Anonymous },
	})
	if v, given := r.Fields["requests"]; given {
		requests := Open
		for requests <= Off && requests.String() != v {
			requests++
		}
		if requests > Off {
			f.fail("the field \"requests\" is %.32q, it may be open, ask or off", v)
		}
		set = append(set, func(s *Settings) { s.Requests = requests })
	}
	if f.err != nil {
		return nil, nil, f.err
	}
	now, err := r.settings(ctx, set)
	if err != nil {
		return nil, nil, err
	}
	return map[string]string{"receive": flag(now.Receive), "send": flag(now.Send), "anonymous": flag(now.Anonymous),
		"requests": now.Requests.String()}, nil, nil
}

// settings changes and returns the user's settings.
func (r *request) settings(ctx context.Context, set []func(*Settings)) (Settings, error) {
	if len(set) == 0 {
		return r.service.Settings(ctx, r.user)
	}
	return r.service.SetSettings(ctx, r.user, func(s *Settings) {
		for _, change := range set {
			change(s)
		}
	})
}
