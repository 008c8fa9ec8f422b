package chat

import (
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// The functions of this file are pure: a store calls them inside its transactions. A acts.

var (
	errRequestsOff    = protocol.Errorf(protocol.RequestsOff, "this user takes no requests")
	errAlreadyFriends = protocol.Errorf(protocol.AlreadyFriends, "you are friends already")
	errAsked          = protocol.Errorf(protocol.AlreadyFriends, "you have asked already")
	errYouBlock       = protocol.Errorf(protocol.Blocked, "you have blocked this user: unblock the user first")
	errNotAsked       = protocol.Errorf(protocol.Refused, "this user does not ask to be friends")
	errManyContacts   = protocol.Errorf(protocol.Refused, "one of you has too many contacts")
	errManyRequests   = protocol.Errorf(protocol.Refused, "too many requests wait for an answer")
)

// declineHolds is how long a user who was declined may not ask again.
const declineHolds = 24 * time.Hour

// ask makes A's request to be B's friend (rule P39).
func (r *Relation) ask(text string, now time.Time, most int) error {
	switch {
	case !r.B.Exists:
		return errNoSuchUser
	case r.BA.Blocked:
		return errBlocked
	case r.AB.Blocked:
		return errYouBlock
	case r.AB.State == Friend:
		return errAlreadyFriends
	case r.AB.State == AskedByMe:
		return errAsked
	case r.AB.State == AsksMe, r.B.Requests == Open:
		return r.befriend(now, most)
	case r.B.Requests == Off:
		return errRequestsOff
	}
	if until := r.AB.Declined.Add(declineHolds); !r.AB.Declined.IsZero() && now.Before(until) {
		return &protocol.CloseError{Code: protocol.AlreadyFriends, Text: "this user has declined, and may be asked again later",
			Info: map[string]string{protocol.FieldRetryMS: strconv.FormatInt(until.Sub(now).Milliseconds(), 10)}}
	}
	if r.AskedA >= mostPending || r.AskB >= mostPending {
		return errManyRequests
	}
	r.set(AskedByMe, AsksMe, now)
	r.BA.Text = text
	return nil
}

// answer accepts or declines B's request.
func (r *Relation) answer(accept bool, now time.Time, most int) error {
	if r.AB.State != AsksMe {
		return errNotAsked
	}
	if accept {
		return r.befriend(now, most)
	}
	r.set(0, 0, now)
	r.BA.Declined = now
	return nil
}

func (r *Relation) befriend(now time.Time, most int) error {
	if r.FriendsA >= most || r.FriendsB >= most {
		return errManyContacts
	}
	r.set(Friend, Friend, now)
	r.AB.Declined, r.BA.Declined = time.Time{}, time.Time{}
	return nil
}

// remove ends a friendship, takes A's request back, or declines B's.
func (r *Relation) remove(now time.Time) {
	asks := r.AB.State == AsksMe
	if r.AB.State != 0 {
		r.set(0, 0, now)
	}
	if asks {
		r.BA.Declined = now
	}
}

// block has B blocked by A, or no more. What was between the two ends.
func (r *Relation) block(on bool, now time.Time) error {
	switch {
	case !on:
		r.AB.Blocked = false
		return nil
	case !r.B.Exists:
		return errNoSuchUser
	case r.AB.Blocked:
		return nil
	}
	r.set(0, 0, now)
	r.AB.Blocked, r.AB.Since = true, now
	return nil
}

// set keeps Declined, so that a user who was declined does not get round it by blocking.
func (r *Relation) set(ab, ba ContactState, now time.Time) {
	r.AB.State, r.AB.Since, r.AB.Text = ab, now, ""
	r.BA.State, r.BA.Text = ba, ""
	if !r.BA.Blocked { // then Since is the block's
		r.BA.Since = now
	}
}
