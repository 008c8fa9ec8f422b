package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/protocol"
)

// command is what a person may type after /.
type command struct {
	name string
	args string // as /help shows them; in […] those that may be missing
	help string
	run  func(s *session, ctx context.Context, args []string) error
}

// least is how many arguments the command needs.
func (c *command) least() int {
	must, _, _ := strings.Cut(c.args, "[")
	return len(strings.Fields(must))
}

const helpBegins = `#climbing hello             to a room: by its name, its number in /rooms (#1), or its long ID, which is the same on all terminals
@bob hello                  to a friend, who may be away
hello                       to where you wrote last; #climbing or @bob alone turns there`

// commands are all of them. They are filled in by init, because /help reads them.
var commands []command

func init() {
	commands = append([]command{
		{"/friends", "", "your friends: their states, and who asks to be one", (*session).friends},
		{"/friend", "bob [text]", "ask bob to be your friend", (*session).friend},
		{"/accept", "bob", "say yes", answer(true)},
		{"/decline", "bob", "say no", answer(false)},
		{"/unfriend", "bob", "end a friendship, or take your question back", (*session).unfriend},
		{"/block", "bob", "bob can neither write to you nor see you", block(true)},
		{"/unblock", "bob", "", block(false)},
		{"/busy", "", "others see that you are busy", choose(protocol.PresenceBusy)},
		{"/invisible", "", "others see you go", choose(protocol.PresenceStealth)},
		{"/back", "", "others see you online again", choose(protocol.PresenceOnline)},
	}, append(roomCommands(), []command{
		{"/history", "[#climbing]", "the last messages of a room, or of @bob; again for older ones", (*session).showHistory},
		{"/recall", "", "take your last message back, for 2 minutes; again, the one before it", func(s *session, ctx context.Context, _ []string) error { return s.recall(ctx) }},
		{"/anon", "#climbing text", "write without your name to a room, or to @bob", (*session).anonymous},
		{"/settings", "[name value]", "receive, send, anonymous: on or off; requests: open, ask or off", (*session).settings},
		{"/help", "", "this", (*session).help},
		{"/quit", "", "leave; so do Ctrl-C and Ctrl-D", func(*session, context.Context, []string) error { return io.EOF }},
	}...)...)
}

// command runs a command.
func (s *session) command(ctx context.Context, word, rest string) error {
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == word })
	if i < 0 {
		return fmt.Errorf("%s? /help tells what you can do", word)
	}
	c := &commands[i]
	args := strings.Fields(rest)
	if len(args) < c.least() {
		return fmt.Errorf("%s %s", c.name, c.args)
	}
	if word != "/anon" { // which waits for a connection, as messages do
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	return c.run(s, ctx, args)
}

func (s *session) help(context.Context, []string) error {
	for line := range strings.Lines(helpBegins) {
		s.print("%v", strings.TrimSuffix(line, "\n"))
	}
	for _, c := range commands {
		s.print("%v", strings.TrimRight(fmt.Sprintf("%-27s %s", c.name+" "+c.args, c.help), " "))
	}
	return nil
}

// user is the user that a person means, with @ or without.
func user(word string) string { return strings.TrimPrefix(word, "@") }

// contacts returns all contacts.
func (s *session) contacts(ctx context.Context, c *chatclient.Client) (all []protocol.Contact, err error) {
	for cursor := ""; ; {
		page, next, err := c.Contacts(ctx, cursor, 0)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); next == "" {
			return all, nil
		}
		cursor = next
	}
}

func (s *session) friends(ctx context.Context, _ []string) error {
	contacts, err := s.contacts(ctx, s.client)
	if err != nil {
		return err
	}
	if len(contacts) == 0 {
		s.print("* you have no friends here yet; /friend bob asks bob to be one")
	}
	for part := range slices.Chunk(contacts, 1000) {
		var ids []string
		for _, one := range part {
			if one.State&protocol.ContactFriend != 0 {
				ids = append(ids, one.UserID)
			}
		}
		states := make(map[string]protocol.Presence)
		if len(ids) > 0 {
			list, err := s.client.Query(ctx, ids...)
			if err != nil {
				return err
			}
			for _, p := range list {
				states[p.UserID] = p
			}
		}
		for _, one := range part {
			s.print("* %v: %v", s.name(one.UserID), standing(one, states))
		}
	}
	return nil
}

// standing says how a contact is to the user.
func standing(one protocol.Contact, states map[string]protocol.Presence) string {
	var words []string
	switch {
	case one.State&protocol.ContactFriend != 0:
		p, known := states[one.UserID]
		if !known {
			p.State = protocol.PresenceOffline
		}
		words = append(words, stateNames[p.State])
		if p.State == protocol.PresenceOffline && !p.LastOnline.IsZero() {
			words = append(words, "last online "+clockTime(p.LastOnline))
		}
	case one.State&protocol.ContactAsksMe != 0:
		words = append(words, "asks to be your friend (/accept or /decline)")
	case one.State&protocol.ContactAskedByMe != 0:
		words = append(words, "you have asked")
	}
	if one.State&protocol.ContactBlocked != 0 {
		words = append(words, "blocked")
	}
	return strings.Join(words, ", ")
}

func (s *session) friend(ctx context.Context, args []string) error {
	friends, err := s.client.RequestFriend(ctx, user(args[0]), strings.Join(args[1:], " "))
	switch {
	case err != nil:
		return err
	case !friends:
		s.print("* %v is asked", s.name(user(args[0])))
	}
	return nil // a notice tells that they are friends
}

func answer(accept bool) func(*session, context.Context, []string) error {
	return func(s *session, ctx context.Context, args []string) error {
		err := s.client.AnswerFriend(ctx, user(args[0]), accept)
		if err == nil && !accept {
			s.print("* declined")
		}
		return err
	}
}

func (s *session) unfriend(ctx context.Context, args []string) error {
	if err := s.client.RemoveFriend(ctx, user(args[0])); err != nil {
		return err
	}
	s.print("* %v is your friend no more", s.name(user(args[0])))
	return nil
}

func block(on bool) func(*session, context.Context, []string) error {
	return func(s *session, ctx context.Context, args []string) error {
		if err := s.client.Block(ctx, user(args[0]), on); err != nil {
			return err
		}
		what := map[bool]string{true: "is blocked", false: "is not blocked any more"}[on]
		s.print("* %v %s", s.name(user(args[0])), what)
		return nil
	}
}

func choose(state protocol.PresenceState) func(*session, context.Context, []string) error {
	return func(s *session, ctx context.Context, _ []string) error {
		before := s.setOwnState(state) // first: the notice of it may come before the answer
		if err := s.client.SetState(ctx, state); err != nil {
			s.setOwnState(before)
			return err
		}
		s.print("* you are %s", stateNames[state])
		return nil
	}
}

func (s *session) showHistory(ctx context.Context, args []string) error {
	s.mu.Lock()
	of := s.to
	s.mu.Unlock()
	if len(args) > 0 {
		var err error
		if of, err = s.meant(ctx, args[0]); err != nil {
			return err
		}
	}
	if of == (chatclient.Conversation{}) {
		return errors.New("whose history? /history #climbing, or /history @bob")
	}
	return s.history(ctx, of)
}

// meant returns the conversation that a command's argument means: @bob, or a room with # or without.
func (s *session) meant(ctx context.Context, word string) (chatclient.Conversation, error) {
	if !strings.HasPrefix(word, "@") && !strings.HasPrefix(word, "#") {
		word = "#" + word
	}
	return s.conversation(ctx, word)
}

func (s *session) anonymous(ctx context.Context, args []string) error {
	to, err := s.meant(ctx, args[0])
	if err != nil {
		return err
	}
	return s.send(ctx, to, strings.Join(args[1:], " "), true)
}

func (s *session) settings(ctx context.Context, args []string) error {
	change := func(*chatclient.Settings) {}
	if len(args) > 0 {
		if len(args) != 2 {
			return errors.New("/settings anonymous on")
		}
		on := args[1] == "on"
		flags := map[string]func(*chatclient.Settings) *bool{
			"receive":   func(o *chatclient.Settings) *bool { return &o.Receive },
			"send":      func(o *chatclient.Settings) *bool { return &o.Send },
			"anonymous": func(o *chatclient.Settings) *bool { return &o.Anonymous },
		}
		flag := flags[args[0]]
		switch {
		case args[0] == "requests" && slices.Contains([]string{"open", "ask", "off"}, args[1]):
			change = func(o *chatclient.Settings) { o.Requests = args[1] }
		case flag != nil && (on || args[1] == "off"):
			change = func(o *chatclient.Settings) { *flag(o) = on }
		default:
			return errors.New("receive, send and anonymous are on or off; requests is open, ask or off")
		}
	}
	o, err := s.client.SetSettings(ctx, change)
	if err != nil {
		return err
	}
	word := map[bool]string{true: "on", false: "off"}
	s.print("* receive %s (users may write to you), send %s (you may write), anonymous %s (users may write to you without their names), requests %s (to be your friend)",
		word[o.Receive], word[o.Send], word[o.Anonymous], o.Requests)
	return nil
}

// length reads how long a mute lasts.
func length(word string) (time.Duration, error) {
	d, err := time.ParseDuration(word)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s is no time; say 30s, 10m or 24h", word)
	}
	return d, nil
}
