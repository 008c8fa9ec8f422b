package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/protocol"
)

// inRoom is a command whose first argument is a room.
func inRoom(do func(s *session, ctx context.Context, r room, args []string) error) func(*session, context.Context, []string) error {
	return func(s *session, ctx context.Context, args []string) error {
		r, err := s.room(ctx, args[0])
		if err != nil {
			return err
		}
		return do(s, ctx, r, args[1:])
	}
}

func roomCommands() []command {
	return []command{
		{"/rooms", "", "your rooms: their numbers, names and IDs", (*session).listRooms},
		{"/room", "new name", "make a room. Who knows its ID may join it", (*session).newRoom},
		{"/join", "ID", "join a room: its last messages are shown, and you write there", (*session).joinRoom},
		{"/leave", "#climbing", "", inRoom((*session).leaveRoom)},
		{"/members", "#climbing", "who is in it, with states", inRoom((*session).members)},
		{"/add", "#climbing bob", "add a friend (this and what follows is for administrators)", inRoom((*session).add)},
		{"/kick", "#climbing bob", "remove bob, who may join again", inRoom((*session).kick)},
		{"/ban", "#climbing bob", "remove bob, who may not join again", inRoom(ban(true))},
		{"/unban", "#climbing bob", "", inRoom(ban(false))},
		{"/mute", "#climbing bob [10m]", "bob may not write for a time", inRoom((*session).mute)},
		{"/unmute", "#climbing bob", "", inRoom((*session).unmute)},
		{"/quiet", "#climbing [off]", "only administrators write", inRoom((*session).quiet)},
		{"/admin", "#climbing bob [off]", "make bob an administrator (for the owner)", inRoom((*session).admin)},
		{"/dissolve", "#climbing", "end a room and its messages (for the owner)", inRoom((*session).dissolve)},
	}
}

// learnRooms asks for the user's rooms.
func (s *session) learnRooms(ctx context.Context, c *chatclient.Client) (mine []room, err error) {
	for cursor := ""; ; {
		page, next, err := c.Conversations(ctx, cursor, 0)
		if err != nil {
			return nil, err
		}
		for _, one := range page {
			if one.Group == 0 {
				continue
			}
			r, err := s.meet(ctx, c, one.Group)
			if errors.Is(err, protocol.NoSuchGroup) {
				continue // it was dissolved meanwhile
			}
			if err != nil {
				return nil, err
			}
			mine = append(mine, r)
		}
		if next == "" {
			return mine, nil
		}
		cursor = next
	}
}

func (s *session) listRooms(ctx context.Context, _ []string) error {
	mine, err := s.learnRooms(ctx, s.client)
	if err != nil {
		return err
	}
	if len(mine) == 0 {
		s.print("* you are in no room; /room new climbing makes one")
	}
	slices.SortFunc(mine, func(a, b room) int { return a.number - b.number })
	for _, r := range mine {
		g, err := s.client.GroupInfo(ctx, r.id)
		if err != nil {
			return err
		}
		s.rooms.learn(g.ID, g.Name)
		more := ""
		if g.Muted {
			more += ", only administrators write"
		}
		if !g.MutedUntil.IsZero() {
			more += ", you are muted until " + clockTime(g.MutedUntil)
		}
		s.print("* #%v %v: %v in it, you are %s%s; ID %v", r.number, g.Name, g.Members, roleName(g.Role), more, g.ID)
	}
	return nil
}

func (s *session) newRoom(ctx context.Context, args []string) error {
	if args[0] != "new" {
		return errors.New("/room new climbing")
	}
	name := strings.Join(args[1:], " ")
	id, err := s.client.CreateGroup(ctx, chatclient.Group{Name: name, Open: true, Anonymous: true})
	if err != nil {
		return err
	}
	r := s.rooms.learn(id, name)
	s.print("* %v is your room, #%v here; others come in by /join %v, friends also by /add %v bob", name, r.number, id, s.rooms.label(id))
	s.turnTo(chatclient.ToGroup(id))
	return nil
}

func (s *session) joinRoom(ctx context.Context, args []string) error {
	r, err := s.room(ctx, args[0]) // asks for its name before its messages come
	if err != nil {
		return err
	}
	if _, err := s.client.Join(ctx, r.id); err != nil {
		return err
	}
	s.print("* you are in %v", s.rooms.label(r.id))
	s.turnTo(chatclient.ToGroup(r.id))
	return nil
}

func (s *session) leaveRoom(ctx context.Context, r room, _ []string) error {
	if err := s.client.Leave(ctx, r.id); err != nil {
		return err
	}
	s.print("* you have left %v", s.rooms.label(r.id))
	return nil
}

func (s *session) members(ctx context.Context, r room, _ []string) error {
	for cursor := ""; ; {
		page, next, err := s.client.Members(ctx, r.id, cursor, 0)
		if err != nil {
			return err
		}
		for _, m := range page {
			words := []string{stateNames[m.State]}
			if m.Role != protocol.RoleMember {
				words = append(words, roleName(m.Role))
			}
			if m.MutedUntil.After(time.Now()) {
				words = append(words, "muted until "+clockTime(m.MutedUntil))
			}
			s.print("* %v: %v", s.name(m.UserID), strings.Join(words, ", "))
		}
		if next == "" {
			return nil
		}
		cursor = next
	}
}

func (s *session) add(ctx context.Context, r room, args []string) error {
	done, err := s.client.AddMembers(ctx, r.id, user(args[0]))
	switch {
	case err != nil:
		return err
	case done == 0:
		return fmt.Errorf("%s is not added: you can add friends who are not in the room and not banned", user(args[0]))
	}
	s.print("* %v is in %v now", s.name(user(args[0])), s.rooms.label(r.id))
	return nil
}

func (s *session) kick(ctx context.Context, r room, args []string) error {
	done, err := s.client.RemoveMembers(ctx, r.id, user(args[0]))
	switch {
	case err != nil:
		return err
	case done == 0:
		return fmt.Errorf("%s is not removed: is not in the room, or an administrator", user(args[0]))
	}
	s.print("* %v is in %v no more", s.name(user(args[0])), s.rooms.label(r.id))
	return nil
}

func ban(on bool) func(*session, context.Context, room, []string) error {
	return func(s *session, ctx context.Context, r room, args []string) error {
		if err := s.client.Ban(ctx, r.id, user(args[0]), on, on); err != nil {
			return err
		}
		what := map[bool]string{true: "is banned from", false: "may come back to"}[on]
		s.print("* %v %s %v", s.name(user(args[0])), what, s.rooms.label(r.id))
		return nil
	}
}

const defaultMute = 10 * time.Minute

func (s *session) mute(ctx context.Context, r room, args []string) error {
	d := defaultMute
	if len(args) > 1 {
		var err error
		if d, err = length(args[1]); err != nil {
			return err
		}
	}
	until := time.Now().Add(d)
	if err := s.client.Mute(ctx, r.id, user(args[0]), until); err != nil {
		return err
	}
	s.print("* %v may not write in %v until %s", s.name(user(args[0])), s.rooms.label(r.id), clockTime(until))
	return nil
}

func (s *session) unmute(ctx context.Context, r room, args []string) error {
	if err := s.client.Mute(ctx, r.id, user(args[0]), time.Time{}); err != nil {
		return err
	}
	s.print("* %v may write in %v", s.name(user(args[0])), s.rooms.label(r.id))
	return nil
}

// isOff reads the last argument of commands that turn something on.
func isOff(args []string) (bool, error) {
	switch {
	case len(args) == 0 || args[0] == "on":
		return false, nil
	case args[0] == "off":
		return true, nil
	}
	return false, fmt.Errorf("%s? say on or off", args[0])
}

func (s *session) quiet(ctx context.Context, r room, args []string) error {
	off, err := isOff(args)
	if err != nil {
		return err
	}
	if err := s.client.ChangeGroup(ctx, r.id, func(g *chatclient.Group) { g.Muted = !off }); err != nil {
		return err
	}
	who := map[bool]string{true: "everybody writes", false: "only administrators write"}[off]
	s.print("* %s in %v", who, s.rooms.label(r.id))
	return nil
}

func (s *session) admin(ctx context.Context, r room, args []string) error {
	off, err := isOff(args[1:])
	if err != nil {
		return err
	}
	role := protocol.RoleAdministrator
	if off {
		role = protocol.RoleMember
	}
	if err := s.client.SetRole(ctx, r.id, user(args[0]), role); err != nil {
		return err
	}
	s.print("* %v is %s of %v", s.name(user(args[0])), roleName(role), s.rooms.label(r.id))
	return nil
}

func (s *session) dissolve(ctx context.Context, r room, _ []string) error {
	label := s.rooms.label(r.id)
	if err := s.client.Dissolve(ctx, r.id); err != nil {
		return err
	}
	s.print("* %v is dissolved", label)
	return nil
}
