package main

import (
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// event is a line that -events prints.
type event struct {
	Event      string             `json:"event"`
	At         int64              `json:"at"` // Unix microseconds
	Node       string             `json:"node"`
	User       string             `json:"user,omitempty"`
	Generation uint64             `json:"generation,omitempty"`
	Connection uint64             `json:"connection,omitempty"`
	Address    string             `json:"address,omitempty"`
	By         string             `json:"by,omitempty"`
	Cause      protocol.CloseCode `json:"cause,omitempty"`
	Count      *int               `json:"count,omitempty"`
}

// eventPrinter subscribes to every event, and prints them when asked to.
func eventPrinter(enabled bool, node string) usermgr.Events {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	show := func(e event) {
		if !enabled {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		e.At, e.Node = time.Now().UnixMicro(), node
		_ = out.Encode(e)
	}
	of := func(what string, s *usermgr.SessionInfo) event {
		return event{Event: what, User: s.UserID, Generation: s.Generation, Connection: s.Conn, Address: s.Address.String()}
	}
	return usermgr.Events{
		Connected: func(s usermgr.SessionInfo) { show(of("connected", &s)) },
		PushedOut: func(s usermgr.SessionInfo, by usermgr.Address) {
			e := of("pushed_out", &s)
			e.By = by.String()
			show(e)
		},
		Ignored:  func(user string, by usermgr.Address) { show(event{Event: "ignored", User: user, By: by.String()}) },
		TimedOut: func(s usermgr.SessionInfo) { show(of("timed_out", &s)) },
		Expired:  func(s usermgr.SessionInfo) { show(of("expired", &s)) },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			e := of("disconnected", &s)
			e.Cause = why
			show(e)
		},
		UserCountChanged: func(n int) { show(event{Event: "user_count", Count: &n}) },
	}
}
