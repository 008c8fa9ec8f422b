package protocol_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// operationBody is the body of a Presence, Contacts, Group or Chat. Of its content exactly one is set, or none.
type operationBody struct {
	Op            uint8               `json:"op"`
	Fields        map[string]string   `json:"fields,omitempty"`
	IDs           []string            `json:"id_list,omitempty"`
	Presences     *[]presenceBody     `json:"presence_list,omitempty"`
	Contacts      *[]contactBody      `json:"contact_list,omitempty"`
	Members       *[]memberBody       `json:"member_list,omitempty"`
	Conversations *[]conversationBody `json:"conversation_list,omitempty"`
	Post          *postBody           `json:"post,omitempty"` // the content of a Send
	Message       *storedBody         `json:"message,omitempty"`
	Messages      *[]storedBody       `json:"message_list,omitempty"`
}

type presenceBody struct {
	UserID       string                 `json:"user_id"`
	State        protocol.PresenceState `json:"state"`
	LastOnlineMS int64                  `json:"last_online_ms"` // 0 is unknown or hidden
	LastSeenMS   int64                  `json:"last_seen_ms"`   //
}

type contactBody struct {
	UserID  string                `json:"user_id"`
	State   protocol.ContactState `json:"state"`
	SinceMS int64                 `json:"since_ms"`
}

type memberBody struct {
	UserID       string                 `json:"user_id"`
	Role         protocol.GroupRole     `json:"role"`
	MutedUntilMS int64                  `json:"muted_until_ms"` // 0 is not muted
	State        protocol.PresenceState `json:"state"`
}

type conversationBody struct {
	Group uint64 `json:"group,string,omitempty"`
	User  string `json:"user,omitempty"`
	Last  uint64 `json:"last,string"`
}

type postBody struct {
	ID         string `json:"id"`
	Type       uint16 `json:"type"`
	ContentHex string `json:"content_hex"`
}

type storedBody struct {
	Seq        uint64 `json:"seq,string"`
	ID         string `json:"id"`
	TimeMS     int64  `json:"time_ms"`
	Anonymous  bool   `json:"anonymous,omitempty"`
	Recalled   bool   `json:"recalled,omitempty"`
	Recalls    uint64 `json:"recalls,string,omitempty"`
	Type       uint16 `json:"type"`
	From       string `json:"from,omitempty"`
	ContentHex string `json:"content_hex"`
}

// operationNames are the operations of each type, from 1 on.
var operationNames = map[uint16][]string{
	protocol.TypePresence: {"Set", "Watch", "Query", "Notice"},
	protocol.TypeContacts: {"Request", "Answer", "Remove", "Block", "List", "Settings", "Notice"},
	protocol.TypeGroup: {"Create", "Change", "Dissolve", "Join", "Leave", "Add", "Remove", "SetRole", "Mute", "Ban", "Info", "Members",
		"Notice"},
	protocol.TypeChat: {"Send", "Message", "History", "Recall", "Conversations"},
}

// contents say what the content of an operation is, as the document's tables do. A key is the type, the operation, and whether it is in a reply.
var contents = map[contentKey]func(b *operationBody, content []byte) (again []byte, err error){
	{protocol.TypePresence, protocol.PresenceWatch, true}:   presenceList,
	{protocol.TypePresence, protocol.PresenceQuery, false}:  idList,
	{protocol.TypePresence, protocol.PresenceQuery, true}:   presenceList,
	{protocol.TypePresence, protocol.PresenceNotice, false}: presenceList,
	{protocol.TypeContacts, protocol.ContactList, true}:     contactList,
	{protocol.TypeGroup, protocol.GroupJoin, true}:          messageList,
	{protocol.TypeGroup, protocol.GroupAdd, false}:          idList,
	{protocol.TypeGroup, protocol.GroupRemove, false}:       idList,
	{protocol.TypeGroup, protocol.GroupMembers, true}:       memberList,
	{protocol.TypeChat, protocol.ChatSend, false}:           post,
	{protocol.TypeChat, protocol.ChatMessage, false}:        oneMessage,
	{protocol.TypeChat, protocol.ChatHistory, true}:         messageList,
	{protocol.TypeChat, protocol.ChatConversations, true}:   conversationList,
}

type contentKey struct {
	typ   uint16
	op    uint8
	reply bool
}

// operationOf returns what the body of m means, and what this package would have written.
func operationOf(m *protocol.Message) (got body, again []byte, err error) {
	o, err := protocol.ParseOperation(m.Body)
	if err != nil {
		return body{}, nil, err
	}
	b := operationBody{Op: o.Op, Fields: o.Fields}
	var content []byte
	if read := contents[contentKey{m.Type, o.Op, m.IsReply()}]; read != nil {
		if content, err = read(&b, o.Content); err != nil {
			return body{}, nil, err
		}
	}
	again, err = protocol.AppendOperation(nil, &protocol.Operation{Op: o.Op, Fields: o.Fields, Content: content})
	return body{Op: &b}, again, err
}

// readList reads a list, makes vectors' bodies of its entries, and writes it again.
func readList[T, B any](content []byte, parse func([]byte) ([]T, error), write func([]byte, []T) ([]byte, []T, error), bodyOf func(*T) B) (*[]B, []byte, error) {
	all, err := parse(content)
	if err != nil {
		return nil, nil, err
	}
	list := make([]B, 0, len(all))
	for i := range all {
		list = append(list, bodyOf(&all[i]))
	}
	again, _, err := write(nil, all)
	return &list, again, err
}

func idList(b *operationBody, content []byte) (again []byte, err error) {
	if b.IDs, err = system.ParseIDList(content); err != nil {
		return nil, err
	}
	return system.AppendIDList(nil, b.IDs)
}

func presenceList(b *operationBody, content []byte) (again []byte, err error) {
	b.Presences, again, err = readList(content, protocol.ParsePresences, system.AppendPresences, func(p *protocol.Presence) presenceBody {
		return presenceBody{p.UserID, p.State, msOf(p.LastOnline), msOf(p.LastSeen)}
	})
	return again, err
}

func contactList(b *operationBody, content []byte) (again []byte, err error) {
	b.Contacts, again, err = readList(content, protocol.ParseContacts, system.AppendContacts, func(c *protocol.Contact) contactBody {
		return contactBody{c.UserID, c.State, msOf(c.Since)}
	})
	return again, err
}

func memberList(b *operationBody, content []byte) (again []byte, err error) {
	b.Members, again, err = readList(content, protocol.ParseGroupMembers, system.AppendGroupMembers, func(m *protocol.GroupMember) memberBody {
		return memberBody{m.UserID, m.Role, msOf(m.MutedUntil), m.State}
	})
	return again, err
}

func conversationList(b *operationBody, content []byte) (again []byte, err error) {
	b.Conversations, again, err = readList(content, protocol.ParseConversations, system.AppendConversations, func(c *protocol.ChatConversation) conversationBody {
		return conversationBody{c.Group, c.With, c.Last}
	})
	return again, err
}

func messageList(b *operationBody, content []byte) (again []byte, err error) {
	b.Messages, again, err = readList(content, protocol.ParseStoredMessages, system.AppendStoredMessages, storedBodyOf)
	return again, err
}

func oneMessage(b *operationBody, content []byte) (again []byte, err error) {
	m, err := protocol.ParseStoredMessage(content)
	if err != nil {
		return nil, err
	}
	one := storedBodyOf(&m)
	b.Message = &one
	return system.AppendStoredMessage(nil, &m)
}

func storedBodyOf(m *protocol.StoredMessage) storedBody {
	return storedBody{m.Seq, m.ID.String(), msOf(m.Time), m.Anonymous, m.Recalled, m.Recalls, m.Type, m.From, hex.EncodeToString(m.Content)}
}

func post(b *operationBody, content []byte) (again []byte, err error) {
	id, typ, content, err := system.ParsePost(content)
	if err != nil {
		return nil, err
	}
	b.Post = &postBody{id.String(), typ, hex.EncodeToString(content)}
	return system.AppendPost(nil, id, typ, content), nil
}

func msOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// describeOperation says what an operation is: its name, its fields, and what its content has.
func describeOperation(m *protocol.Message) string {
	got, _, err := operationOf(m)
	if err != nil {
		return badBody(err)
	}
	b, names := got.Op, operationNames[m.Type]
	if b.Op == 0 || int(b.Op) > len(names) {
		return fmt.Sprintf("operation %d %s", b.Op, describeFields(b.Fields))
	}
	s := names[b.Op-1] + " " + describeFields(b.Fields)
	switch {
	case b.IDs != nil:
		s += fmt.Sprintf(" %q", b.IDs)
	case b.Presences != nil:
		for _, p := range *b.Presences {
			s += fmt.Sprintf(" %s %v", p.UserID, p.State) + timeIn(" since ", p.LastOnlineMS) + timeIn(" seen ", p.LastSeenMS)
		}
	case b.Contacts != nil:
		for _, c := range *b.Contacts {
			s += fmt.Sprintf(" [%s: %v%s]", c.UserID, c.State, timeIn(" since ", c.SinceMS))
		}
	case b.Members != nil:
		for _, m := range *b.Members {
			s += fmt.Sprintf(" [%s: %v, %v%s]", m.UserID, m.Role, m.State, timeIn(", muted until ", m.MutedUntilMS))
		}
	case b.Conversations != nil:
		for _, c := range *b.Conversations {
			with := c.User
			if c.Group != 0 {
				with = fmt.Sprint("group ", c.Group)
			}
			s += fmt.Sprintf(" [%s: %d]", with, c.Last)
		}
	case b.Post != nil:
		s += fmt.Sprintf(" %s, type %d, %s", b.Post.ID, b.Post.Type, quoted(b.Post.ContentHex))
	case b.Message != nil:
		s += " " + b.Message.String()
	case b.Messages != nil:
		for _, m := range *b.Messages {
			s += fmt.Sprintf(" [%v]", m)
		}
	}
	return s
}

// String says what a message is. The ID is told by its last four digits.
func (m storedBody) String() string {
	words := []string{fmt.Sprintf("%d, ID …%s", m.Seq, m.ID[len(uuid.Nil.String())-4:]) + timeIn(", at ", m.TimeMS)}
	if m.Anonymous {
		words = append(words, "anonymous")
	} else {
		words = append(words, "from "+m.From)
	}
	switch {
	case m.Recalled:
		words = append(words, fmt.Sprintf("type %d", m.Type), "recalled")
	case m.Recalls != 0:
		words = append(words, fmt.Sprint("recalls ", m.Recalls))
	default:
		words = append(words, fmt.Sprintf("type %d", m.Type), quoted(m.ContentHex))
	}
	return strings.Join(words, ", ")
}

func timeIn(word string, ms int64) string {
	if ms == 0 {
		return ""
	}
	return word + time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
}

func quoted(digits string) string { return fmt.Sprintf("%q", bytesOfHex(digits)) }
