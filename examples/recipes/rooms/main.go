// Rooms is a server with rooms. A client joins one, and all its members hear what one of them says, in one order:
//
//	go run ./examples/recipes/rooms -addr 127.0.0.1:9000
package main

import (
	"context"
	"flag"
	"log"
	"maps"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	join = 1 // the body is the room's name
	say  = 2 // to the sender's room; the reply says to how many connections it went
)

// rooms has the members: connections, each in one room.
type rooms struct {
	mu      sync.Mutex
	members map[string]map[uint64]*engine.Conn // by room, then by the connection's number
	roomOf  map[uint64]string
	moving  map[string]string // by user ID: the room of a session that gives way to another
}

func (r *rooms) join(c *engine.Conn, room string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(c.ID())
	if r.members[room] == nil {
		r.members[room] = make(map[uint64]*engine.Conn)
	}
	r.members[room][c.ID()], r.roomOf[c.ID()] = c, room
}

// remove takes a connection out of its room. r.mu is held on entry.
func (r *rooms) remove(conn uint64) (room string, found bool) {
	room, found = r.roomOf[conn]
	delete(r.roomOf, conn)
	delete(r.members[room], conn)
	if len(r.members[room]) == 0 {
		delete(r.members, room)
	}
	return room, found
}

// say sends to all in the sender's room. The lock is held so that all of them get one order.
func (r *rooms) say(srv *engine.Engine, from *engine.Conn, m *protocol.Message) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room, found := r.roomOf[from.ID()]
	if !found {
		return 0, protocol.Errorf(protocol.Refused, "join a room first")
	}
	return srv.Broadcast(maps.Values(r.members[room]), m)
}

// events moves a user whose new session replaces the old, and forgets connections that end.
func (r *rooms) events(srv *engine.Engine) usermgr.Events {
	return usermgr.Events{
		PushedOut: func(old usermgr.SessionInfo, _ usermgr.Address) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if room, found := r.remove(old.Address.Conn); found {
				r.moving[old.UserID] = room // until Connected of the new session, which always follows
			}
		},
		Connected: func(s usermgr.SessionInfo) {
			r.mu.Lock()
			room, found := r.moving[s.UserID]
			delete(r.moving, s.UserID)
			r.mu.Unlock()
			if c := srv.Conn(s.Address.Conn); found && c != nil {
				r.join(c, room)
			}
		},
		Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.remove(s.Address.Conn)
		},
	}
}

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "TCP address to listen on")
	flag.Parse()
	srv, err := rollcall.New(rollcall.Config{Addr: *addr})
	if err != nil {
		log.Fatal(err)
	}
	r := &rooms{members: make(map[string]map[uint64]*engine.Conn), roomOf: make(map[uint64]string), moving: make(map[string]string)}
	srv.Users.Subscribe(r.events(srv.Engine))
	srv.Handle(join, func(c *engine.Conn, m *protocol.Message) {
		r.join(c, string(m.Body)) // string copies: m's memory is lent
		_ = c.Reply(m, nil)
	})
	srv.Handle(say, func(c *engine.Conn, m *protocol.Message) {
		n, err := r.say(srv.Engine, c, &protocol.Message{Type: say, UserID: m.UserID, Body: m.Body})
		if err != nil {
			_ = c.ReplyError(m, err)
			return
		}
		_ = c.Reply(m, strconv.AppendInt(nil, int64(n), 10))
	})

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", srv.Addrs()[0])
	if err := srv.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
