package chat

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/presence"
)

// Store keeps what must not be forgotten: users' settings, contacts, groups, messages, and the records of package presence. NewMemory returns one
// that forgets when the process ends, chat/sqlstore has others. Package chat/storetest has the tests that a store must pass.
//
// Each method is one transaction: it does all or, when it returns an error, nothing. Only a failed commit may leave open which of the two. The
// methods are called from several goroutines at a time and may block until ctx ends. What is allowed is decided by the functions that a
// method is given. The store calls them inside its transaction with what they need, loaded and locked. They are quick, do no I/O, and
// may be called again when the store repeats a transaction. When such a function returns an error the method returns it unchanged.
// A panic in a method counts as an error, but for the calls that the program makes by methods of Service.
// How many groups, friends and requests a user has is counted and not locked: other calls may change it meanwhile.
//
// User IDs are compared by their bytes and have at most 255. The IDs Server and Anonymous may stand in a pair and as a sender. Times have
// milliseconds; what is finer may be cut off. Limits are at least 1, unless a method says otherwise.
type Store interface {
	presence.Store

	// Writers is how many calls of Append and UpdateGroup at a time are of use.
	Writers() int

	// Users returns the users, one for each ID, in the order of the given IDs. A user that was never stored has DefaultSettings, and Exists is false.
	Users(ctx context.Context, userIDs []string) ([]User, error)
	// UpdateUser stores what change has made of a user. A user whose Exists is false afterwards is not stored: change may set Exists, and does not
	// clear it.
	UpdateUser(ctx context.Context, userID string, change func(u *User) error) error

	// UpdateContact stores what change has made of r.AB and r.BA. What two calls for the same two users change, in either order of the
	// two, and what Append reads of them, comes one after the other. It makes no conversation.
	UpdateContact(ctx context.Context, a, b string, change func(r *Relation) error) error
	// Contacts returns a user's contacts after an ID, in the order of their IDs, so many at most; limit 0 means all. Left out are those whose State is 0
	// and whose Blocked is false. BlockedBy is set.
	Contacts(ctx context.Context, userID, after string, limit int) ([]Contact, error)
	// ContactsWith returns a user's contacts with the others, one for each ID, in the order of the given IDs. One that was never stored has the
	// other's ID alone. BlockedBy is set.
	ContactsWith(ctx context.Context, userID string, others []string) ([]Contact, error)

	// CreateGroup stores a group with its owner as only member. allow gets the number of groups that the owner is in. The error is ErrTaken
	// if the ID belongs to a conversation already, also to a group that was dissolved.
	CreateGroup(ctx context.Context, g Group, allow func(groups int) error) error
	// UpdateGroup stores what change has made of a group and of some users, which come in the order of the given IDs, each once. Of a user who is
	// not In afterwards it stores BannedBy and MutedUntil alone. The calls for a group come one after the other, and after or before each call of Append with a
	// post to it. The store keeps Members, and Version, which grows by 1 if a user has come or gone; Joined of one that comes is LastSeq. A group
	// whose Dissolved is set loses its members and bans, and is no group any more for all methods. The error is protocol.NoSuchGroup if there is
	// no such group. The group is as it was stored.
	UpdateGroup(ctx context.Context, id GroupID, userIDs []string, change func(g *Group, users []Member) error) (Group, error)
	// Group returns a group and a user in it. The error is protocol.NoSuchGroup if there is no such group.
	Group(ctx context.Context, id GroupID, userID string) (Group, Member, error)
	// Members returns a group and its members after an ID, in the order of their IDs, so many at most; limit 0 means all. Both are of one
	// moment. The error is protocol.NoSuchGroup if there is no such group.
	Members(ctx context.Context, id GroupID, after string, limit int) (Group, []Member, error)
	// Groups returns the groups that a user is in, in the order of their IDs.
	Groups(ctx context.Context, userID string) ([]Group, error)
	// ShareGroup returns those of some users who are in a group that the asker is in too, and whose MaxMembers is most or less, in any order.
	ShareGroup(ctx context.Context, asker string, about []string, most int) ([]string, error)

	// Append numbers and stores posts in their order, or says in Err why not. It calls allow for each of them, but not for one whose ID its sender
	// has used in that conversation (Dup). allow refuses a post whose Standing has no Group, or no Message, that the post needs. A recall of a
	// message that was recalled before is Dup too, if allow lets it. In each conversation the numbers follow the last one without a gap. Posts
	// may be for several conversations, and more than one may have the same ID. The error wraps ErrBadPost if the posts can be stored but for
	// some of them, which a call with fewer may find.
	Append(ctx context.Context, posts []*Post, allow func(p *Post, s *Standing) error) error
	// History returns a page of a conversation. asker need not be in it. The error is protocol.NoSuchGroup for a group that does not exist; a pair that has
	// no messages has an empty page.
	History(ctx context.Context, of Key, asker string, r Range) (Page, error)
	// Conversations returns the conversations of a user whose number in the store is above after, in the order of those numbers, so many at most: the
	// groups that the user is in, also those without messages, whose number is their ID, and the pairs that have messages.
	Conversations(ctx context.Context, userID string, after uint64, limit int) ([]ConversationInfo, error)
	// Prune removes so many messages at most that were sent before a time, the oldest of each conversation first, but never the one with a
	// conversation's last number: numbers go on where they were. It returns how many it has removed.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
}

var (
	// ErrTaken is Store.CreateGroup's for an ID that is in use.
	ErrTaken = errors.New("chat: the ID belongs to another conversation")
	// ErrBadPost is wrapped by the error of Store.Append when single posts cannot be stored, because of what they contain. The others can.
	ErrBadPost = errors.New("chat: a message cannot be stored")
)

// Key names a conversation in a store: a group's, or that of two users.
type Key struct {
	Group GroupID // 0 for two users
	A, B  string  // the two, A before B by bytes; empty for a group
}

// PairKey is the key of the conversation of two users.
func PairKey(one, other string) Key {
	if other < one {
		one, other = other, one
	}
	return Key{A: one, B: other}
}

// KeyOf is the key of a conversation as a user names it.
func KeyOf(userID string, c Conversation) Key {
	if c.Group != 0 {
		return Key{Group: c.Group}
	}
	return PairKey(userID, c.With)
}

// Post is a message that is to be stored, or the recall of one.
type Post struct {
	Group     GroupID // 0 for a message to a user
	To        string  // the user; empty for a group
	From      string  // who sends it, or recalls one, also where Anonymous is set; Server for the program
	Anonymous bool
	ID        uuid.UUID
	Type      uint16
	Content   []byte
	Recalls   uint64 // the number of the message that this one recalls; 0 for a message. A recall has neither Type nor Content

	// Time is now, by the clock of the writer. Append makes it the time of the conversation's last message if that is later, or what it is if
	// Dup is set.
	Time time.Time

	Seq     uint64 // set by Append: the number
	Dup     bool   // set by Append: the sender has used the ID in this conversation, or the message was recalled already; Seq is that number
	Err     error  // set by Append: what allow has returned
	Version uint64 // set by Append: the group's Version; 0 for two users
}

// Key is the conversation of the post. An anonymous message to a user stands in the conversation of that user with Anonymous.
func (p *Post) Key() Key {
	switch {
	case p.Group != 0:
		return Key{Group: p.Group}
	case p.Anonymous:
		return PairKey(p.To, Anonymous)
	}
	return PairKey(p.From, p.To)
}

// Standing is what a store has found about a post, and keeps as it is until the post is stored.
type Standing struct {
	Group  *Group // nil for two users, and where there is no such group
	Member Member // From in the group

	From, To User    // To for two users alone
	Contact  Contact // From's with To, with BlockedBy and BlockedByAnonymous

	Message *Message // the message to recall, which may be one of an earlier post of the call; nil for none. One that is a recall has Recalls.
	// It has no Conversation, and need not have Content. From is set also where Anonymous is
}

// Relation is what there is between two users.
type Relation struct {
	A, B   User    // as they are stored; what change makes of them is not
	AB, BA Contact // A's with B, and B's with A; without BlockedBy
	// FriendsA and FriendsB are how many friends the two have. AskedA is how many requests of A wait for others, and AskB how many wait for B.
	FriendsA, FriendsB, AskedA, AskB int
}

// Page is a part of a conversation.
type Page struct {
	Group    *Group    // nil for two users
	Member   Member    // the asker in the group
	Messages []Message // in the order of their numbers. Conversation is not set, From is also where Anonymous is set
	First    uint64    // the first number that is kept; 0 for none
	Last     uint64    // the last number of the conversation
	More     bool      // the range goes on beyond Messages
}

// Range says which part of a conversation is asked for. With the zero values of After and Before it is the last messages.
type Range struct {
	After     uint64 // the first ones with a greater number
	Before    uint64 // the last ones with a lesser number; it does not count where After does
	FromStart bool   // After counts also where it is 0
	Limit     int    // so many at most
	// Bytes ends a page before the message with which Content would exceed it in all, but not before the first one. 0 means no limit. The last
	// messages of a range are counted from its end.
	Bytes int
}

// ConversationInfo is a conversation in a list.
type ConversationInfo struct {
	Conversation
	ID      uint64 // the conversation's number in the store
	LastSeq uint64
}
