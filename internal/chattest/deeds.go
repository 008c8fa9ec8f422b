package chattest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// To is the fields that name a conversation: a group's number, or a user.
func To(conversation string) []string {
	if _, err := strconv.ParseUint(conversation, 10, 63); err == nil {
		return []string{"group", conversation}
	}
	return []string{"user", conversation}
}

// Post is the content of a Send.
func Post(id uuid.UUID, text string) []byte {
	b := binary.BigEndian.AppendUint16(id[:], 1)
	return append(slices.Clone(b), text...)
}

// Say sends a message and returns its number.
func (p *Peer) Say(conversation, text string, fields ...string) uint64 {
	p.T.Helper()
	o := p.Must(protocol.TypeChat, protocol.ChatSend, Post(uuid.New(), text), append(To(conversation), fields...)...)
	return testkit.Must(strconv.ParseUint(o.Fields["seq"], 10, 64))
}

// MayNotSay wants a message to be refused.
func (p *Peer) MayNotSay(rule string, want protocol.CloseCode, conversation string, fields ...string) *protocol.CloseError {
	p.T.Helper()
	return p.Refused(rule, want, protocol.TypeChat, protocol.ChatSend, Post(uuid.New(), "no"), append(To(conversation), fields...)...)
}

// History returns messages as line has them.
func (p *Peer) History(conversation string, fields ...string) []string {
	p.T.Helper()
	o := p.Must(protocol.TypeChat, protocol.ChatHistory, nil, append(To(conversation), fields...)...)
	return Lines(testkit.Must(protocol.ParseStoredMessages(o.Content)))
}

// Lines writes messages as Line does.
func Lines(all []protocol.StoredMessage) (texts []string) {
	for _, m := range all {
		texts = append(texts, Line(m))
	}
	return texts
}

// Befriend makes friends of two users.
func Befriend(a, b *Peer) {
	a.T.Helper()
	a.Must(protocol.TypeContacts, protocol.ContactRequest, nil, "user", b.User)
	b.Must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", a.User, "accept", "1")
	a.Forget()
	b.Forget()
}

// Create makes a group and returns its number.
func (p *Peer) Create(fields ...string) string {
	p.T.Helper()
	return p.Must(protocol.TypeGroup, protocol.GroupCreate, nil, fields...).Fields["group"]
}

// Join joins a group and returns the messages in the answer.
func (p *Peer) Join(group string) []string {
	p.T.Helper()
	o := p.Must(protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	return Lines(testkit.Must(protocol.ParseStoredMessages(o.Content)))
}

// Group sends a request about a group that is served.
func (p *Peer) Group(op uint8, group string, fields ...string) protocol.Operation {
	p.T.Helper()
	return p.Must(protocol.TypeGroup, op, nil, append([]string{"group", group}, fields...)...)
}

// IDs is the content that names users.
func IDs(users ...string) []byte { return testkit.Must(system.AppendIDList(nil, users)) }

// RequestFriend asks to be a friend and returns the state in the answer.
func (p *Peer) RequestFriend(user string) string {
	p.T.Helper()
	return p.Must(protocol.TypeContacts, protocol.ContactRequest, nil, "user", user, "text", "it is me").Fields["state"]
}

// ListContacts lists contacts as "bob friend, eve asked".
func (p *Peer) ListContacts() string {
	p.T.Helper()
	var all []string
	o := p.Must(protocol.TypeContacts, protocol.ContactList, nil)
	for _, c := range testkit.Must(protocol.ParseContacts(o.Content)) {
		var words []string
		for state, word := range map[protocol.ContactState]string{protocol.ContactAskedByMe: "asked", protocol.ContactAsksMe: "asks",
			protocol.ContactFriend: "friend", protocol.ContactBlocked: "blocked"} {
			if c.State&state != 0 {
				words = append(words, word)
			}
		}
		slices.Sort(words)
		all = append(all, c.UserID+" "+strings.Join(words, "+"))
	}
	return strings.Join(all, ", ")
}

// Watch begins to watch, and returns the users in the answer as "bob online".
func (p *Peer) Watch() []string {
	p.T.Helper()
	o := p.Must(protocol.TypePresence, protocol.PresenceWatch, nil)
	var all []string
	for _, e := range testkit.Must(protocol.ParsePresences(o.Content)) {
		all = append(all, e.UserID+" "+e.State.String())
	}
	slices.Sort(all)
	return all
}

// Sees waits until the peer was told this last of a user.
func (p *Peer) Sees(rule, user, state string) {
	p.T.Helper()
	testkit.Eventually(p.T, fmt.Sprintf("rule %s: %s sees %s %s", rule, p.User, user, state), func() bool {
		p.Sync()
		last := ""
		for _, s := range p.Seen {
			if u, _, _ := strings.Cut(s, " "); u == user {
				last = s
			}
		}
		return last == user+" "+state
	})
}

// Query asks for one user's state and times. A user who is not in the answer is Offline without times.
func (p *Peer) Query(user string) protocol.Presence {
	p.T.Helper()
	o := p.Must(protocol.TypePresence, protocol.PresenceQuery, IDs(user))
	for _, e := range testkit.Must(protocol.ParsePresences(o.Content)) {
		return e
	}
	return protocol.Presence{UserID: user, State: protocol.PresenceOffline}
}

// WhoIsOnline asks the server which of some users are online.
func (p *Peer) WhoIsOnline(users ...string) []string {
	p.T.Helper()
	p.ID++
	p.Send(&protocol.Message{Type: protocol.TypeWhoIsOnline, ID: p.ID, Body: IDs(users...)})
	for {
		m := p.Receive()
		if m.IsReply() {
			if m.ID != p.ID || m.Flags&protocol.FlagError != 0 {
				p.T.Fatalf("%s, who asks who is online, is answered %+v", p.User, m)
			}
			return testkit.Must(system.ParseIDList(m.Body))
		}
		p.note(m)
	}
}

// CodeOf is the code of an answer's error: 0 for none, 1 for an error without a code.
func CodeOf(err error) protocol.CloseCode {
	if err == nil {
		return 0
	}
	if e, is := err.(*protocol.CloseError); is {
		return e.Code
	}
	return 1
}

// JoinTogether has so many users join a group with a maximum at once, and returns how many are in, and how many were told that it is full.
func JoinTogether(t testing.TB, users int, join func(i int) error) (in, full int) {
	t.Helper()
	outcomes := make(chan error, users)
	for i := range users {
		go func() { outcomes <- join(i) }()
	}
	for range users {
		switch err := <-outcomes; CodeOf(err) {
		case 0:
			in++
		case protocol.GroupFull:
			full++
		default:
			t.Errorf("rule P35: %v", err)
		}
	}
	return in, full
}
