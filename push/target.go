package push

import (
	"errors"
	"slices"

	"github.com/rollcall-go/rollcall/usermgr"
)

// Target says who gets a message. Exactly one of its fields is set; make a Target with ToUsers, ToEveryone or ToSessions.
type Target struct {
	Users    []string        // these users, online or not
	Everyone bool            // all users who are online
	Sessions *usermgr.Filter // the sessions that match
}

// ToUsers targets these users, online or not. A user who is named twice gets the message once.
func ToUsers(userIDs ...string) Target { return Target{Users: userIDs} }

// ToEveryone targets all users who are online: every connection that has been let in. Sessions whose Connected handlers have not
// returned yet are not included.
func ToEveryone() Target { return Target{Everyone: true} }

// ToSessions targets the sessions that match the filter.
func ToSessions(f usermgr.Filter) Target { return Target{Sessions: &f} }

var errNoTarget = errors.New("rollcall: a push needs a target: ToUsers, ToEveryone or ToSessions")

func (t *Target) check() error {
	set := 0
	for _, is := range []bool{t.Users != nil, t.Everyone, t.Sessions != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return errNoTarget
	}
	if slices.Contains(t.Users, "") {
		return usermgr.ErrBlankID
	}
	if len(t.Users) > 1 {
		t.Users = unique(t.Users)
	}
	return nil
}

// unique returns the IDs in their order, each once.
func unique(ids []string) []string {
	seen := make(map[string]struct{}, len(ids))
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, again := seen[id]; !again {
			seen[id] = struct{}{}
			out = append(out, id)
		}
	}
	return out
}

// clone returns a copy that shares no memory with t.
func (t Target) clone() Target {
	t.Users = slices.Clone(t.Users)
	if t.Sessions != nil {
		filter := *t.Sessions
		filter.Devices = slices.Clone(filter.Devices)
		t.Sessions = &filter
	}
	return t
}
