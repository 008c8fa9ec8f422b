package server

import (
	"encoding/json"
	"os"
	"sync"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// printEvents prints each event as a line of JSON.
func printEvents(users *usermgr.Manager, messages *chat.Service) {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	show := func(event string, fields map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		fields["event"] = event
		_ = out.Encode(fields)
	}
	session := func(s *usermgr.SessionInfo) map[string]any {
		return map[string]any{"user": s.UserID, "connection": s.Conn, "address": s.Address.String()}
	}
	users.Subscribe(usermgr.Events{
		Online:    func(u usermgr.UserData) { show("online", map[string]any{"user": u.UserID}) },
		Offline:   func(u usermgr.UserData) { show("offline", map[string]any{"user": u.UserID}) },
		Connected: func(s usermgr.SessionInfo) { show("connected", session(&s)) },
		PushedOut: func(s usermgr.SessionInfo, by usermgr.Address) {
			fields := session(&s)
			fields["by"] = by.String()
			show("pushed_out", fields)
		},
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			fields := session(&s)
			fields["cause"] = why
			show("disconnected", fields)
		},
	})
	messages.Subscribe(chat.Handlers{
		UserCreated: func(user string) { show("user_created", map[string]any{"user": user}) },
		Stored: func(m *chat.Message) {
			show("stored", map[string]any{"group": m.Group, "with": m.With, "from": m.From, "seq": m.Seq})
		},
		Recalled: func(m *chat.Message) {
			show("recalled", map[string]any{"group": m.Group, "with": m.With, "from": m.From, "seq": m.Recalls})
		},
		Group: func(e chat.GroupEvent) {
			show("group_"+e.Event, map[string]any{"group": e.Group, "user": e.UserID, "by": e.By})
		},
		Contact: func(e chat.ContactEvent) { show("contact_"+e.Event, map[string]any{"user": e.With, "by": e.By}) },
		Refused: func(r chat.Refusal) {
			show("refused", map[string]any{"user": r.UserID, "type": r.Type, "op": r.Op, "code": r.Code})
		},
	})
}
