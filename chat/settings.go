package chat

import (
	"strconv"
	"time"
)

// Settings are what a user lets others do.
type Settings struct {
	Receive   bool // users may write to the user
	Send      bool // the user may write; for the program to take away as well
	Anonymous bool // users may write to the user without their names
	Requests  Requests
}

// DefaultSettings are those of a user that has not chosen others: Receive and Send, no Anonymous, and Ask.
func DefaultSettings() Settings { return Settings{Receive: true, Send: true, Requests: Ask} }

// Requests says what becomes of a request to be a user's friend.
type Requests uint8

const (
	// Open: who asks is a friend at once.
	Open Requests = iota
	// Ask: the user accepts or declines.
	Ask
	// Off: requests are refused.
	Off
)

// String returns the name that the wire has: open, ask or off.
func (r Requests) String() string {
	switch r {
	case Open:
		return "open"
	case Ask:
		return "ask"
	case Off:
		return "off"
	}
	return "requests " + strconv.Itoa(int(r))
}

// User is what is stored of a user.
type User struct {
	UserID  string
	Exists  bool      // the user was created; one that was not has DefaultSettings
	SetUp   bool      // Config.SetUp has returned nil for the user
	Created time.Time // the zero Time where Exists is false
	Settings
}
