// Offline is a server that keeps texts for users who are away, even when it restarts:
//
//	go run ./examples/recipes/offline -addr 127.0.0.1:9000 -file letters.jsonl
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
)

const (
	write     = 1 // a request, with a destination; the reply says that the letter is on disk
	maxLetter = 2 << 10
	maxUnread = 1000 // of one user; Go clients remember the last 1,024 that they have handled
)

// send pushes a letter until a client of the user has handled it.
func send(pushes *push.Service, s *store, l letter) {
	m := push.Binary(l.Body)
	m.ID, m.Metadata = l.ID, map[string]string{"from": l.From} // always the same ID: a client that has handled it drops it
	o := &push.Options{Keep: 30 * 24 * time.Hour, Confirm: true, First: true}
	pushes.Go(push.ToUsers(l.To), m, o, func(r push.Result, _ error) {
		for _, d := range r.Deliveries {
			if d.Confirmed || errors.Is(d.Err, protocol.TimedOut) {
				s.remove(l)
			}
		}
	})
}

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "TCP address to listen on")
	file := flag.String("file", "letters.jsonl", "where letters are kept")
	flag.Parse()
	s, unread, err := openStore(*file)
	if err != nil {
		log.Fatal(err)
	}
	srv, err := rollcall.New(rollcall.Config{Addr: *addr, Engine: engine.Config{Workers: 16}}) // handlers write to a disk
	if err != nil {
		log.Fatal(err)
	}
	pushes := push.New(srv.Bridge, push.Config{MaxMessages: maxUnread, MaxBytes: 4 << 20, MaxTotalBytes: -1})
	for _, l := range unread { // before Run, so that nothing newer overtakes them
		send(pushes, s, l)
	}
	srv.Handle(write, func(c *engine.Conn, m *protocol.Message) error {
		l := letter{ID: uuid.New(), From: m.UserID, To: m.DestUserID, Body: m.Body}
		if err := s.add(l, func() { send(pushes, s, l) }); err != nil {
			return err
		}
		return c.Reply(m, nil)
	})

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", srv.Addrs()[0])
	err = srv.Run(ctx)
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err = errors.Join(err, pushes.Close(closing), s.file.Close()); err != nil {
		log.Fatal(err)
	}
}
