// Webchat is a chat for browsers: rooms, who is in them, and one tab a user. It serves the page and its WebSocket on one port:
//
//	go run ./examples/webchat -addr 127.0.0.1:8080
//
// Then open http://127.0.0.1:8080. The page is in the folder page: plain HTML, CSS and JavaScript, without a build step.
// page/rollcall.js is a small client for Rollcall, to be taken and changed.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// The types of messages; the bodies are JSON.
const (
	typeJoin uint16 = iota + 1 // a page goes to a room: {"room"}; the answer is a view
	typeSay                    // a page says something in its room: {"text"}; and the server tells all in it: a line
	typeHere                   // the server tells who is in a room
)

const (
	maxText = 2000 // characters
	maxRoom = 40
	kept    = 50 // lines that a room keeps for newcomers

	maxRooms = 100 // with more, one that everybody has left is forgotten with its lines
)

//go:embed page
var page embed.FS

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "webchat:", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:8080", "TCP address of the page")
	native := flag.String("native", "127.0.0.1:0", "TCP address for clients that are no browsers")
	flag.Parse()

	srv, err := rollcall.New(rollcall.Config{Addr: *native})
	if err != nil {
		return err
	}
	newChat(srv)
	files, err := fs.Sub(page, "page")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(files))
	mux.Handle("/ws", srv.Engine.WebSocketHandler(engine.WebSocket{PageTimeout: 3 * time.Minute}))
	pages := &http.Server{Handler: secured(mux), ReadHeaderTimeout: 10 * time.Second}

	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "listening on http://%s\n", ln.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- pages.Serve(ln)
		stop()
	}()
	err = srv.Run(ctx) // each page is told that the server stops, and comes back by itself
	_ = pages.Close()
	if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// secured forbids the page what it does not need.
func secured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		h.ServeHTTP(w, r)
	})
}

// chat knows which room each user is in, and what was said there.
type chat struct {
	srv *rollcall.Server

	mu    sync.Mutex
	rooms map[string]*room
	in    map[string]*room // by user
}

// room is a room with people, or with lines that were said in it.
type room struct {
	name   string
	group  *bridge.Group
	people []string // in order
	lines  []line
}

// line is something that was said.
type line struct {
	Room string `json:"room"`
	From string `json:"from"`
	Text string `json:"text"`
	At   int64  `json:"at"` // milliseconds of Unix time
}

// here is who is in a room.
type here struct {
	Room   string   `json:"room"`
	People []string `json:"people"`
}

// view is what a newcomer sees of a room.
type view struct {
	here
	Lines []line `json:"lines"`
}

func newChat(srv *rollcall.Server) *chat {
	c := &chat{srv: srv, rooms: make(map[string]*room), in: make(map[string]*room)}
	srv.Handle(typeJoin, engine.Typed(engine.JSON, c.join))
	srv.Handle(typeSay, engine.Typed(engine.JSON, c.say))
	srv.Users.Subscribe(rollcall.Events{Offline: func(u rollcall.UserData) { c.leave(u.UserID) }})
	return c
}

func (c *chat) join(_ *rollcall.Conn, m *rollcall.Message, to struct {
	Room string `json:"room"`
}) (view, error) {
	name := strings.TrimSpace(to.Room)
	if name == "" || utf8.RuneCountInString(name) > maxRoom {
		return view{}, protocol.Errorf(protocol.Refused, "the name of a room has 1 to %d characters", maxRoom)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[name]
	if r == nil {
		r = &room{name: name, group: c.srv.Group(name)}
	}
	if c.in[m.UserID] != r {
		c.out(m.UserID)
		if err := r.group.Join(bridge.Member{UserID: m.UserID}); err != nil {
			return view{}, err
		}
		at, _ := slices.BinarySearch(r.people, m.UserID)
		r.people = slices.Insert(r.people, at, m.UserID)
		c.rooms[name], c.in[m.UserID] = r, r
		tell(r, typeHere, here{r.name, r.people})
	}
	return view{here{r.name, slices.Clone(r.people)}, append([]line{}, r.lines...)}, nil
}

func (c *chat) say(_ *rollcall.Conn, m *rollcall.Message, what struct {
	Text string `json:"text"`
}) (struct{}, error) {
	var done struct{}
	text := strings.TrimSpace(what.Text)
	if text == "" || utf8.RuneCountInString(text) > maxText {
		return done, protocol.Errorf(protocol.Refused, "a message has 1 to %d characters", maxText)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.in[m.UserID]
	if r == nil {
		return done, protocol.Errorf(protocol.Refused, "join a room before you say something")
	}
	l := line{r.name, m.UserID, text, time.Now().UnixMilli()}
	if len(r.lines) == kept {
		r.lines = slices.Delete(r.lines, 0, 1)
	}
	r.lines = append(r.lines, l)
	tell(r, typeSay, l)
	return done, nil
}

func (c *chat) leave(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out(user)
}

// out takes a user out of the room. c.mu is held on entry.
func (c *chat) out(user string) {
	r := c.in[user]
	if r == nil {
		return
	}
	delete(c.in, user)
	r.group.Leave(bridge.Member{UserID: user})
	if at, ok := slices.BinarySearch(r.people, user); ok {
		r.people = slices.Delete(r.people, at, at+1)
	}
	if len(r.people) == 0 && (len(r.lines) == 0 || len(c.rooms) > maxRooms) {
		delete(c.rooms, r.name)
		return
	}
	tell(r, typeHere, here{r.name, r.people})
}

// tell sends something to all in a room. It does not block, so that what is told is in the order in which it happened.
func tell(r *room, typ uint16, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // what is told is made here
	}
	_, _ = r.group.Send(typ, body) // an error concerns a member that is about to go
}
