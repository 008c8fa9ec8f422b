// Presence is a server whose users see which of their friends are there, and a client that shows it:
//
//	go run ./examples/presence
//	go run ./examples/presence -user ann
//	go run ./examples/presence -user bob
//
// A client prints what it is told. Type busy, stealth or online to choose what others see.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

// friends has the friends of each user. Each friendship is in it twice, once for each of the two.
type friends map[string][]string

// Watchers implements presence.Contacts.
func (f friends) Watchers(_ context.Context, userID string) ([]string, error) { return f[userID], nil }

// Watched implements presence.Contacts.
func (f friends) Watched(_ context.Context, userID string) ([]string, error) { return f[userID], nil }

// MaySee implements presence.Contacts.
func (f friends) MaySee(_ context.Context, asker string, about []string) (see, blocked []string, err error) {
	for _, id := range about {
		if slices.Contains(f[asker], id) {
			see = append(see, id)
		}
	}
	return see, nil, nil
}

var ours = friends{"ann": {"bob", "carol"}, "bob": {"ann"}, "carol": {"ann"}}

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "the server's address")
	user := flag.String("user", "", "be the client of this user; empty for the server")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := serve
	if *user != "" {
		run = func(ctx context.Context, addr string) error { return show(ctx, addr, *user) }
	}
	if err := run(ctx, *addr); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, addr string) error {
	srv, err := rollcall.New(rollcall.Config{Addr: addr})
	if err != nil {
		return err
	}
	states := presence.New(srv.Bridge, presence.Config{Contacts: ours})
	if err := srv.Listen(); err != nil {
		return err
	}
	log.Print("listening on ", srv.Addrs()[0])
	if err := srv.Run(ctx); err != nil {
		return err
	}
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return states.Close(closing) // what is not stored yet is stored
}

func show(ctx context.Context, addr, user string) error {
	var shown screen
	c, err := client.Dial(ctx, addr, client.Config{
		UserID:  user,
		Handle:  map[uint16]client.Handler{protocol.TypePresence: shown.told},
		OnState: shown.watch,
	})
	if ctx.Err() != nil && err != nil {
		return nil // the person has left before the answer came
	}
	if err != nil {
		return err
	}
	defer c.Close()
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if _, err := ask(ctx, c, protocol.PresenceSet, map[string]string{"state": lines.Text()}); err != nil {
				fmt.Println(err)
			}
		}
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-c.Done():
		return c.Err()
	}
}

// screen shows who is there. A notice comes after the answer to Watch, but on another goroutine, and may be shown first.
type screen struct {
	mu    sync.Mutex
	newer map[string]bool // users in notices that have come since Watch was sent
}

// watch asks who is there, on each new connection, and to be told from then on.
func (s *screen) watch(c *client.Client, state client.State, _ error) {
	if state != client.Online {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newer = make(map[string]bool)
	go func() { // OnState must not wait for what comes after it
		if o, err := ask(context.Background(), c, protocol.PresenceWatch, nil); err == nil {
			s.show(o)
		}
	}()
}

// told is the handler of notices.
func (s *screen) told(_ *client.Client, m *protocol.Message) error {
	o, err := protocol.ParseOperation(m.Body)
	if err == nil {
		s.show(o)
	}
	return err
}

func (s *screen) show(o protocol.Operation) {
	all, err := protocol.ParsePresences(o.Content)
	if err != nil {
		log.Print(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range all {
		notice := o.Op == protocol.PresenceNotice
		if notice || !s.newer[p.UserID] {
			fmt.Println(p.UserID, "is", p.State)
		}
		s.newer[p.UserID] = s.newer[p.UserID] || notice
	}
}

func ask(ctx context.Context, c *client.Client, op uint8, fields map[string]string) (protocol.Operation, error) {
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: op, Fields: fields})
	if err != nil {
		return protocol.Operation{}, err
	}
	m, err := c.Request(ctx, protocol.TypePresence, body)
	if err != nil {
		return protocol.Operation{}, err
	}
	return protocol.ParseOperation(m.Body)
}
