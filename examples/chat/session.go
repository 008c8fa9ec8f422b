package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// text is the message type of what people write.
const text = 1

// deviceNames are the device classes of this application. 0 is for a client that does not say.
var deviceNames = map[string]uint16{"other": 0, "phone": 1, "desktop": 2, "tablet": 3}

const (
	patience   = 10 * time.Second // for the answer to a command
	mostCaught = 200              // messages of a conversation that are shown after a lost connection; /history has those before them
)

// session is one run of the terminal.
type session struct {
	*screen
	me     string
	greet  func()             // says once, before anything else, who the user is
	client *chatclient.Client // for commands; functions of chatclient.Config have theirs
	rooms  rooms
	watcher
	reader

	mu       sync.Mutex
	to       chatclient.Conversation // where plain text goes
	waiting  bool                    // there is no connection
	own      []mine                  // messages that /recall may take back, the last one at the end
	older    map[chatclient.Conversation]uint64
	ownState protocol.PresenceState
}

// join runs a client until the input or ctx ends, or the server ends the session for good.
func join(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("chat client", flag.ExitOnError)
	addr := flags.String("server", "localhost:9000", "the server's TCP address")
	user := flags.String("user", "", "who you are")
	device := flags.String("device", "desktop", "what you are using: phone, desktop, tablet or other")
	_ = flags.Parse(args)
	class, known := deviceNames[*device]
	if *user == "" || !known {
		return errors.New("say who you are, with -user ann, and on what, with -device phone, desktop, tablet or other")
	}
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	screen, err := openScreen(os.Stdin, os.Stdout, leave)
	if err != nil {
		return err
	}
	defer screen.close()
	return newSession(screen, *user).run(ctx, *addr, class, *device)
}

func newSession(s *screen, me string) *session {
	return &session{screen: s, me: me, older: make(map[chatclient.Conversation]uint64)}
}

func (s *session) run(ctx context.Context, addr string, class uint16, device string) error {
	s.greet = sync.OnceFunc(func() { s.print("* you are %v on a %s; /help tells what you can do", s.name(s.me), device) })
	c, err := chatclient.Dial(ctx, addr, client.Config{
		UserID: s.me, Device: class,
		OnState: func(_ *client.Client, state client.State, err error) { s.state(state, err) },
		OnPush:  func(_ *client.Client, p *protocol.PushMessage) { s.print("* %v", p.Content) },
	}, chatclient.Config{
		OnMessage: s.message, OnPresence: s.presence, OnContact: s.contact, OnGroup: s.group, OnCaughtUp: s.caughtUp,
		OnReset: func(_ *chatclient.Client, of chatclient.Conversation) {
			s.print("* the server has lost messages of %v; what it has comes again", s.label(of))
		},
		Known: make(map[chatclient.Conversation]chatclient.Mark), MaxCatchUp: mostCaught, Watch: true,
	})
	if ctx.Err() != nil && err != nil {
		return nil // the person has left before the answer came
	}
	if err != nil {
		return fmt.Errorf("%s does not let you in: %w", addr, err)
	}
	defer c.Close()
	s.client = c
	s.greet()

	lines := make(chan string, 100) // a message may wait for a connection while others are typed
	go func() {                     // ends with the process: a read of a terminal cannot be interrupted
		defer close(lines)
		for {
			line, err := s.read()
			if err != nil {
				return
			}
			lines <- line
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-c.Done() // what waits for the connection waits no more
		cancel()
	}()
	for {
		select {
		case line, more := <-lines:
			if !more {
				return nil
			}
			if err := s.do(ctx, line); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil && ctx.Err() == nil {
				s.print("! %v", reason(err))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// do does what a line says.
func (s *session) do(ctx context.Context, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case line == "":
		return nil
	case strings.HasPrefix(word, "/"):
		return s.command(ctx, word, rest)
	case strings.HasPrefix(word, "#"), strings.HasPrefix(word, "@"):
		to, err := s.conversation(ctx, word)
		if err != nil {
			return err
		}
		s.turnTo(to)
		if rest == "" {
			return nil
		}
		return s.send(ctx, to, rest, false)
	}
	s.mu.Lock()
	to := s.to
	s.mu.Unlock()
	if to == (chatclient.Conversation{}) {
		return errors.New("to whom? #room hello, or @bob hello; after that what you type goes there")
	}
	return s.send(ctx, to, line, false)
}

// conversation returns what #climbing or @bob means.
func (s *session) conversation(ctx context.Context, word string) (chatclient.Conversation, error) {
	if userID, ok := strings.CutPrefix(word, "@"); ok {
		if userID == "" {
			return chatclient.Conversation{}, errors.New("who? @bob")
		}
		return chatclient.ToUser(userID), nil
	}
	r, err := s.room(ctx, word)
	return chatclient.ToGroup(r.id), err
}

// room returns the room that a person means.
func (s *session) room(ctx context.Context, word string) (room, error) {
	r, err := s.rooms.find(word)
	if err != nil || r.number != 0 {
		return r, err
	}
	return s.meet(ctx, s.client, r.id)
}

// meet takes in a room by its ID, and asks for its name if that is not known.
func (s *session) meet(ctx context.Context, c *chatclient.Client, id uint64) (room, error) {
	if r, ok := s.rooms.known(id); ok {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g, err := c.GroupInfo(ctx, id)
	if err != nil {
		return room{}, err
	}
	return s.rooms.learn(id, g.Name), nil
}

// label is a conversation as a person names it.
func (s *session) label(of chatclient.Conversation) string {
	if of.Group != 0 {
		return s.rooms.label(of.Group)
	}
	return "@" + of.With
}

// turnTo has plain text go to a conversation.
func (s *session) turnTo(to chatclient.Conversation) {
	s.mu.Lock()
	s.to = to
	s.mu.Unlock()
	s.setPrompt(s.label(to))
}

func (s *session) state(state client.State, err error) {
	var why *protocol.CloseError
	errors.As(err, &why)
	s.mu.Lock()
	was := s.waiting
	s.waiting = state == client.Reconnecting
	s.mu.Unlock()
	switch {
	case state == client.Reconnecting && was: // another attempt has failed
	case state == client.Reconnecting:
		s.print("* the connection is lost; trying again. What you write goes out when there is one")
	case state == client.Online && was:
		s.print("* there is a connection again")
	case state == client.Closed && why != nil && why.Code == protocol.PushedOut:
		s.print("* pushed out: you logged on somewhere else on the same kind of device")
	case state == client.Closed && why != nil:
		s.print("* the server has closed the connection: %s", strings.TrimPrefix(why.Error(), "rollcall: "))
	}
}

// reason is an error as a person may read it.
func reason(err error) string {
	var refused *protocol.CloseError
	switch {
	case errors.Is(err, client.ErrNotConnected), errors.Is(err, client.ErrDisconnected):
		return "there is no connection; try again when there is one"
	case errors.Is(err, context.DeadlineExceeded):
		return "the server does not answer"
	case !errors.As(err, &refused) || refused.Text == "":
		return strings.TrimPrefix(err.Error(), "rollcall: ")
	}
	if until := refused.Info["until-ms"]; until != "" {
		return refused.Text + ", until " + clockTime(milliseconds(until))
	}
	return refused.Text
}
