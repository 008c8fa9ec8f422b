package chat_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// P42, P43: whatever a client asks, it is answered once, and the connection stays.
func FuzzRequests(f *testing.F) {
	operation := func(op uint8, content []byte, fields ...string) []byte {
		o := protocol.Operation{Op: op, Content: content, Fields: map[string]string{}}
		for i := 0; i < len(fields); i += 2 {
			o.Fields[fields[i]] = fields[i+1]
		}
		return testkit.Must(protocol.AppendOperation(nil, &o))
	}
	f.Add(uint8(2), operation(protocol.ChatSend, chattest.Post(uuid.Max, "hello"), "user", "bob", "anonymous", "1"))
	f.Add(uint8(2), operation(protocol.ChatSend, chattest.Post(uuid.Max, "hello"), "group", "7"))
	f.Add(uint8(2), operation(protocol.ChatHistory, nil, "user", "bob", "before", "9", "limit", "3"))
	f.Add(uint8(2), operation(protocol.ChatRecall, nil, "user", "bob", "seq", "1"))
	f.Add(uint8(2), operation(protocol.ChatConversations, nil, "cursor", "1", "limit", "2"))
	f.Add(uint8(1), operation(protocol.GroupCreate, nil, "name", "climbing", "max", "3", "open", "1"))
	f.Add(uint8(1), operation(protocol.GroupChange, nil, "group", "7", "name", "x", "muted", "1"))
	f.Add(uint8(1), operation(protocol.GroupAdd, chattest.IDs("bob"), "group", "7"))
	f.Add(uint8(1), operation(protocol.GroupSetRole, nil, "group", "7", "user", "bob", "role", "2"))
	f.Add(uint8(1), operation(protocol.GroupMute, nil, "group", "7", "user", "bob", "until-ms", "99"))
	f.Add(uint8(1), operation(protocol.GroupBan, nil, "group", "7", "seq", "1", "on", "0"))
	f.Add(uint8(0), operation(protocol.ContactRequest, nil, "user", "bob", "text", "it is me"))
	f.Add(uint8(0), operation(protocol.ContactBlock, nil, "seq", "1"))
	f.Add(uint8(0), operation(protocol.ContactSettings, nil, "requests", "open", "send", "0"))
	f.Add(uint8(3), operation(protocol.PresenceSet, nil, "state", "stealth"))
	f.Add(uint8(3), operation(protocol.PresenceWatch, nil, "on", "0"))
	f.Add(uint8(3), operation(protocol.PresenceQuery, chattest.IDs("bob", "ann")))
	f.Add(uint8(0), []byte{1})

	var w *chattest.World
	var ann *chattest.Peer
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		if w == nil || w.T.Context().Err() != nil {
			w = chattest.NewWorld(t, chat.Config{Limits: chat.Limits{NewGroups: -1, NewRequests: -1, Groups: 1 << 30}, Strangers: true})
			w.LogOn("bob")
			ann = w.LogOn("ann")
		}
		ann.T = t
		ann.ID++
		typ := []uint16{protocol.TypeContacts, protocol.TypeGroup, protocol.TypeChat, protocol.TypePresence}[kind%4]
		ann.Send(&protocol.Message{Type: typ, ID: ann.ID, Body: body})
		_, _ = ann.Answer(ann.ID)
		ann.Must(protocol.TypeChat, protocol.ChatConversations, nil, "limit", "1")
	})
}
