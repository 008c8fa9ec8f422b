package presence

import "context"

// Contacts says which users see each other's states. An application brings its own, over its friends, groups or teams.
//
// The methods may block until ctx ends; they are called from several goroutines at a time. A call that fails, panics or does not
// return in Config.StoreTimeout is logged, counted and, for a notice, repeated later. After an answer has changed, the program calls
// Service.ContactsChanged.
type Contacts interface {
	// Watchers returns the users who are told about a user if they watch. Users that the user has blocked are not among them.
	Watchers(ctx context.Context, userID string) ([]string, error)
	// Watched returns the users that a user is told about. Users who have blocked the user are not among them. Ann is in the Watched of Bob when
	// Bob is in the Watchers of Ann.
	Watched(ctx context.Context, userID string) ([]string, error)
	// MaySee says which of some users the asker may ask for. The answer has the states of the users in see. Users in blocked have blocked the
	// asker: the answer has them as Offline, without times. All other users are left out of the answer, unless Config.Public is set.
	MaySee(ctx context.Context, asker string, about []string) (see, blocked []string, err error)
}
