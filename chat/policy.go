package chat

import (
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// policy decides who may do what. Its methods are pure: a store calls them inside its transactions.
type policy struct {
	strangers    bool
	recallWindow time.Duration // negative: no message may be recalled
}

var (
	errSendingOff       = protocol.Errorf(protocol.SendingOff, "your setting \"send\" is off")
	errNoSuchGroup      = protocol.Errorf(protocol.NoSuchGroup, "there is no such group")
	errBanned           = protocol.Errorf(protocol.Banned, "you are banned from this group")
	errNotMember        = protocol.Errorf(protocol.NotMember, "you are not a member of this group")
	errGroupMuted       = protocol.Errorf(protocol.GroupMuted, "only administrators may write in this group now")
	errGroupNoAnonymous = protocol.Errorf(protocol.GroupNoAnonymous, "this group takes no anonymous messages")
	errNoSuchUser       = protocol.Errorf(protocol.NoSuchUser, "there is no such user")
	errBlocked          = protocol.Errorf(protocol.Blocked, "this user has blocked you")
	errReceivingOff     = protocol.Errorf(protocol.ReceivingOff, "this user takes no messages")
	errUserNoAnonymous  = protocol.Errorf(protocol.UserNoAnonymous, "this user takes no anonymous messages")
	errNotFriends       = protocol.Errorf(protocol.NotFriends, "you and this user are not friends")
	errNoSuchMessage    = protocol.Errorf(protocol.NoSuchMessage, "there is no such message")
	errNotYours         = protocol.Errorf(protocol.NotYours, "the message is another user's")
	errRecallNamed      = protocol.Errorf(protocol.Incomplete, "an anonymous message is recalled anonymously, and no other is")
	errRecallExpired    = protocol.Errorf(protocol.RecallExpired, "it is too late to recall this message")
)

// allow says why a post is refused, or nil (rules P32, P36 and P38).
func (y *policy) allow(p *Post, s *Standing) error {
	switch {
	case p.Recalls != 0:
		return y.allowRecall(p, s)
	case p.Group != 0:
		return y.allowInGroup(p, s)
	}
	return y.allowToUser(p, s)
}

func (y *policy) allowInGroup(p *Post, s *Standing) error {
	server := p.From == Server
	switch {
	case !server && !s.From.Send:
		return errSendingOff
	case s.Group == nil:
		return errNoSuchGroup
	case server:
		return nil
	case s.Member.Banned():
		return errBanned
	case !s.Member.In:
		return errNotMember
	case s.Member.MutedUntil.After(p.Time):
		return memberMuted(s.Member.MutedUntil, p.Time)
	case s.Group.Muted && s.Member.Role == Ordinary:
		return errGroupMuted
	case p.Anonymous && !s.Group.Anonymous:
		return errGroupNoAnonymous
	}
	return nil
}

func memberMuted(until, now time.Time) error {
	return &protocol.CloseError{Code: protocol.MemberMuted, Text: "an administrator has muted you in this group", Info: map[string]string{
		"until-ms":            unixMS(until),
		protocol.FieldRetryMS: strconv.FormatInt(until.Sub(now).Milliseconds(), 10),
	}}
}

func (y *policy) allowToUser(p *Post, s *Standing) error {
	server := p.From == Server
	switch {
	case !server && !s.From.Send:
		return errSendingOff
	case !s.To.Exists:
		return errNoSuchUser
	case server:
		return nil
	case s.Contact.BlockedBy, p.Anonymous && s.Contact.BlockedByAnonymous:
		return errBlocked
	case !s.To.Receive:
		return errReceivingOff
	case p.Anonymous && !s.To.Anonymous:
		return errUserNoAnonymous
	case !p.Anonymous && !y.strangers && s.Contact.State != Friend:
		return errNotFriends
	}
	return nil
}

func (y *policy) allowRecall(p *Post, s *Standing) error {
	server := p.From == Server
	switch {
	case p.Group != 0 && s.Group == nil:
		return errNoSuchGroup
	case p.Group != 0 && !server && !s.Member.In:
		return errNotMember
	case s.Message == nil, s.Message.Recalls != 0:
		return errNoSuchMessage
	case server:
		return nil
	case s.Message.From != p.From:
		return errNotYours
	case s.Message.Anonymous != p.Anonymous: // the recall would name its sender
		return errRecallNamed
	case s.Message.Recalled: // twice is once
		return nil
	case y.recallWindow < 0, p.Time.Sub(s.Message.Time) > y.recallWindow:
		return errRecallExpired
	}
	return nil
}
