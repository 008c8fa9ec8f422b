package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/protocol"
)

// watcher is what the functions of chatclient.Config remember of presence. They run one at a time, and alone use it.
type watcher struct {
	states map[string]protocol.PresenceState // of contacts who are not offline; nil before the first are told
}

var stateNames = map[protocol.PresenceState]string{
	protocol.PresenceOnline: "online", protocol.PresenceBusy: "busy", protocol.PresenceOffline: "offline", protocol.PresenceStealth: "invisible",
}

// presence is called with all contacts who are visible, once for each connection, and with what changes.
func (s *session) presence(_ *chatclient.Client, list []protocol.Presence, all bool) {
	s.greet()
	first := s.states == nil
	now := make(map[string]protocol.PresenceState)
	if !all {
		maps.Copy(now, s.states)
	}
	for _, p := range list {
		switch {
		case p.UserID == s.me:
			if s.setOwnState(p.State) != p.State {
				s.print("* you are %s now", stateNames[p.State])
			}
		case p.State == protocol.PresenceOffline:
			delete(now, p.UserID)
		default:
			now[p.UserID] = p.State
		}
	}
	before := s.states
	s.states = now
	if first {
		s.printPresent()
		return
	}
	both := maps.Clone(before)
	maps.Copy(both, now)
	for _, id := range slices.Sorted(maps.Keys(both)) {
		old, was := before[id]
		state, is := now[id]
		switch {
		case !is:
			s.print("* %v is gone", s.name(id))
		case !was || state != old:
			s.print("* %v is %s", s.name(id), stateNames[state])
		}
	}
}

func (s *session) printPresent() {
	var who []string
	for _, id := range slices.Sorted(maps.Keys(s.states)) {
		one := string(s.name(id))
		if s.states[id] == protocol.PresenceBusy {
			one += " (busy)"
		}
		who = append(who, one)
	}
	if len(who) > 0 {
		s.print("* online: %v", safe(strings.Join(who, ", ")))
	}
}

// setOwnState notes the user's own state, and returns what it was.
func (s *session) setOwnState(state protocol.PresenceState) (before protocol.PresenceState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.ownState = s.ownState, state
	return before
}

func (s *session) contact(_ *chatclient.Client, n chatclient.ContactNotice) {
	s.greet()
	switch n.Event {
	case "asked":
		s.asks(n.User, n.Text)
	case "friends":
		s.print("* you and %v are friends; @%v hello", s.name(n.User), n.User)
	case "removed":
		s.print("* %v is your friend no more", s.name(n.User))
	}
}

func (s *session) asks(userID, words string) {
	if words != "" {
		words = ": " + words
	}
	s.print("* %v asks to be your friend%v (/accept %v or /decline %v)", s.name(userID), words, userID, userID)
}

// group tells what has happened in a group. What the user has done on this device a command has told.
func (s *session) group(c *chatclient.Client, n chatclient.GroupNotice) {
	s.greet()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if n.Event != "dissolved" && (n.Event != "removed" || n.User != s.me) {
		_, _ = s.meet(ctx, c, n.Group)
	}
	if n.By == s.me {
		return
	}
	label, me := s.rooms.label(n.Group), n.User == s.me
	who, by := s.name(n.User), s.name(n.By)
	switch n.Event {
	case "joined":
		switch {
		case me:
			s.print("* %v has added you to %v", by, label)
		case n.By != n.User:
			s.print("* %v has added %v to %v", by, who, label)
		default:
			s.print("* %v has joined %v", who, label)
		}
	case "left":
		s.print("* %v has left %v", who, label)
	case "removed":
		if me {
			who = "you"
		}
		s.print("* %v has removed %v from %v", by, who, label)
	case "dissolved":
		s.print("* %v has dissolved %v", by, label)
	case "muted", "role":
		s.standing(ctx, c, n, label)
	case "banned":
		if me {
			who = "you"
		}
		s.print("* %v has banned %v from %v, or lifted the ban", by, who, label)
	case "changed":
		s.changed(ctx, c, n, label)
	}
}

// standing tells what a member is and may do now. The notice does not say it.
func (s *session) standing(ctx context.Context, c *chatclient.Client, n chatclient.GroupNotice, label string) {
	by := s.name(n.By)
	if n.User != s.me {
		what := map[string]string{"muted": "how long %v may not write in %v", "role": "what %v is in %v"}[n.Event]
		s.print("* %v has changed "+what+"; /members tells", by, s.name(n.User), label)
		return
	}
	g, err := c.GroupInfo(ctx, n.Group)
	switch {
	case err != nil:
		s.print("! %v: %v", label, reason(err))
	case n.Event == "role":
		s.print("* %v has made you %s of %v", by, roleName(g.Role), label)
	case g.MutedUntil.IsZero():
		s.print("* %v lets you write in %v again", by, label)
	default:
		s.print("* %v has muted you in %v until %s", by, label, clockTime(g.MutedUntil))
	}
}

// changed tells what a group is now.
func (s *session) changed(ctx context.Context, c *chatclient.Client, n chatclient.GroupNotice, label string) {
	g, err := c.GroupInfo(ctx, n.Group)
	if err != nil {
		return
	}
	s.rooms.learn(n.Group, g.Name)
	who := "everybody writes"
	if g.Muted {
		who = "only administrators write"
	}
	s.print("* %v has changed %v: it is called %v, and %s", s.name(n.By), label, g.Name, who)
}

func roleName(r protocol.GroupRole) string {
	switch r {
	case protocol.RoleOwner:
		return "the owner"
	case protocol.RoleAdministrator:
		return "an administrator"
	}
	return "a member"
}
