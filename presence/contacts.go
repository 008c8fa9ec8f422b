package presence

import "context"

// Contacts says who is concerned by a user's presence. An application brings its own, over its friends, groups or teams.
//
// The methods may block until ctx ends; they are called from several goroutines at a time. A call that fails, panics or does not
// return in Config.StoreTimeout is logged, counted and, for a notice, repeated later. After an answer has changed, the program calls
// Service.ContactsChanged.
type Contacts interface {
	// Watchers returns the users who are told about a user, if they watch: without those whom the user has blocked.
	Watchers(ctx context.Context, userID string) ([]string, error)
	// Watched returns the users about whom a user is told: without those who have blocked the user. A user is in Watched of another
	// when the other is in Watchers of the first.
	Watched(ctx context.Context, userID string) ([]string, error)
	// MaySee says whom of some users the asker may ask for. The asker is told the state of those in see. Those in blocked, who have blocked the
	// asker, are told as Offline, without times. The others are left out of the answer, unless Config.Public is set.
	MaySee(ctx context.Context, asker string, about []string) (see, blocked []string, err error)
}
