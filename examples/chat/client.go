package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

const help = `@bob hello         to bob, on all of bob's devices
hello              to everyone
/who               who is online, a page at a time: /who again for the next
/devices           where you are logged on
/kick bob reason   throw bob out
/quit              leave
`

// chat is the client's side of a terminal.
type chat struct {
	out  io.Writer
	next string // page of /who
}

// terminal runs a client until the input or ctx ends, or the server ends the session for good.
func terminal(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("chat client", flag.ExitOnError)
	addr := flags.String("server", "localhost:9000", "the server's TCP address")
	user := flags.String("user", "", "who you are")
	device := flags.String("device", "desktop", "what you are using: phone, desktop, tablet or other")
	_ = flags.Parse(args)
	class, known := deviceNames[*device]
	if *user == "" || !known {
		return errors.New("say who you are, with -user alice, and on what, with -device phone, desktop, tablet or other")
	}

	t := &chat{out: out}
	c, err := client.Dial(ctx, *addr, client.Config{
		UserID: *user, Device: class,
		Handle: map[uint16]client.Handler{say: func(c *client.Client, m *protocol.Message) error {
			if m.ID == 0 {
				t.print("%s to all: %s", m.UserID, m.Body)
				return nil
			}
			t.print("%s: %s", m.UserID, m.Body)
			return c.Reply(m, nil)
		}},
		OnPush:  func(_ *client.Client, p *protocol.PushMessage) { t.pushed(p) },
		OnState: func(_ *client.Client, s client.State, err error) { t.state(s, err) },
	})
	if err != nil {
		return fmt.Errorf("%s does not let you in: %w", *addr, err)
	}
	defer c.Close()
	t.print("* you are %s on a %s; /help tells what you can do", *user, *device)

	lines := make(chan string)
	go func() { // ends with the process: a read of a terminal cannot be interrupted
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		select {
		case line, more := <-lines:
			if !more || line == "/quit" {
				return nil
			}
			if err := t.do(ctx, c, strings.TrimSpace(line)); err != nil {
				t.print("! %v", err)
			}
		case <-c.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// print writes a line. It escapes control characters, because text of other users could rewrite the terminal with them.
func (t *chat) print(format string, args ...any) {
	_, _ = io.WriteString(t.out, visible(fmt.Sprintf(format, args...))+"\n")
}

// visible returns text with its control characters escaped, also line feeds, with which a user could write a line as another,
// and those that change the direction of writing.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func (t *chat) state(s client.State, err error) {
	var why *protocol.CloseError
	errors.As(err, &why)
	switch {
	case s == client.Reconnecting:
		t.print("* the connection is lost; trying again")
	case s == client.Closed && why != nil && why.Code == protocol.PushedOut:
		t.print("* pushed out: you logged on somewhere else on the same kind of device")
	case s == client.Closed && why != nil:
		t.print("* the server has closed the connection: %s", strings.TrimPrefix(why.Error(), "rollcall: "))
	}
}

func (t *chat) pushed(p *protocol.PushMessage) {
	switch p.Kind {
	case protocol.PushKickOut:
		t.print("* you are thrown out: %s", p.Content)
	default:
		t.print("* %s", p.Content)
	}
}

// do runs the command of a line.
func (t *chat) do(ctx context.Context, c *client.Client, line string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "":
		return nil
	case word == "/help":
		for line := range strings.Lines(help) {
			t.print("%s", strings.TrimSuffix(line, "\n"))
		}
		return nil
	case word == "/who":
		var reply whoReply
		if err := ask(ctx, c, who, whoRequest{Next: t.next}, &reply); err != nil {
			t.next = ""
			return err
		}
		t.next = reply.Next
		more := ""
		if reply.Next != "" {
			more = "; /who for more"
		}
		t.print("* %d online: %s%s", reply.Online, strings.Join(reply.Users, " "), more)
		return nil
	case word == "/devices":
		var reply devicesReply
		if err := ask(ctx, c, devices, nothing{}, &reply); err != nil {
			return err
		}
		for _, d := range reply.Devices {
			t.print("* %s", d)
		}
		return nil
	case word == "/kick":
		user, reason, _ := strings.Cut(rest, " ")
		var reply kickReply
		if err := ask(ctx, c, kick, kickRequest{User: user, Reason: reason}, &reply); err != nil {
			return err
		}
		for _, s := range reply.Sessions {
			t.print("* %s", s)
		}
		return nil
	case strings.HasPrefix(word, "/"):
		return fmt.Errorf("%s? /help tells what you can do", word)
	case strings.HasPrefix(word, "@"):
		if word == "@" || strings.HasPrefix(word, "@_") {
			return errors.New("to whom? @bob hello")
		}
		_, err := c.RequestTo(ctx, word[1:], say, []byte(rest)) // answered by the client of the user
		return err
	}
	return c.Send(say, []byte(line))
}

// ask sends a request as JSON, and reads the reply.
func ask(ctx context.Context, c *client.Client, typ uint16, req, reply any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	m, err := c.Request(ctx, typ, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Body, reply)
}
