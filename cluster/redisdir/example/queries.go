package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// The application types of the queries. Each answer is JSON.
const (
	// typeKick throws a user out, on all nodes. The body is the user's ID. Every client may ask for that here, which a real server must not
	// allow.
	typeKick     = 0x0E01
	typeSessions = 0x0E02 // where a user's sessions are; the body is the user's ID
	typeCounts   = 0x0E03 // how many users and sessions there are
	typePage     = 0x0E04 // a page of all users; the body is "next" of the page before, empty for the first page
)

// queryTime is how long the store and the other nodes may take to answer.
const queryTime = 5 * time.Second

// answer is what each answer has: what is missing, and of when it is.
type answer struct {
	Missing []string  `json:"missing"` // the nodes that did not answer
	AsOf    time.Time `json:"as_of"`
}

// kickAnswer is the answer to typeKick.
type kickAnswer struct {
	Sessions []kicked `json:"sessions"`
	answer
}

type kicked struct {
	Node    string `json:"node"`
	Outcome string `json:"outcome"`
}

// sessionAnswer is the answer to typeSessions.
type sessionAnswer struct {
	Sessions []sessionPlace `json:"sessions"`
	answer
}

type sessionPlace struct {
	Node   string `json:"node"`
	Device uint16 `json:"device"`
}

// countAnswer is the answer to typeCounts.
type countAnswer struct {
	Users    int `json:"users"`
	Sessions int `json:"sessions"`
	answer
}

// pageAnswer is the answer to typePage.
type pageAnswer struct {
	Users []userPlace `json:"users"`
	Next  string      `json:"next"` // empty at the end
	answer
}

type userPlace struct {
	User  string   `json:"user"`
	Nodes []string `json:"nodes"`
}

// of is the answer of a cluster without its value.
func of[T any](a cluster.Answer[T]) answer { return answer{append([]string{}, a.Missing...), a.AsOf} }

func handleQueries(srv *rollcall.Server, node *cluster.Node) {
	srv.Handle(typeKick, query(func(ctx context.Context, user string) (any, error) {
		places, err := node.Where(ctx, user) // afterwards the sessions are nowhere
		if err != nil {
			return nil, err
		}
		outcome, err := node.Kick(ctx, user, nil)
		a := kickAnswer{Sessions: []kicked{}, answer: of(outcome)}
		for _, k := range outcome.Value {
			one := kicked{Outcome: k.Outcome.String()}
			for _, p := range places {
				if p.Generation == k.Session.Generation {
					one.Node = p.Node
				}
			}
			a.Sessions = append(a.Sessions, one)
		}
		if errors.Is(err, usermgr.ErrUnknownID) { // no session
			err = nil
		}
		return a, err
	}))
	srv.Handle(typeSessions, query(func(ctx context.Context, user string) (any, error) {
		sessions, err := node.Sessions(ctx, user)
		a := sessionAnswer{Sessions: []sessionPlace{}, answer: of(sessions)}
		for _, s := range sessions.Value {
			a.Sessions = append(a.Sessions, sessionPlace{s.Node, s.Device})
		}
		return a, err
	}))
	srv.Handle(typeCounts, query(func(ctx context.Context, _ string) (any, error) {
		counts, err := node.Count(ctx)
		return countAnswer{counts.Value.Users, counts.Value.Sessions, of(counts)}, err
	}))
	srv.Handle(typePage, query(func(ctx context.Context, from string) (any, error) {
		a := pageAnswer{Users: []userPlace{}, answer: answer{[]string{}, time.Now()}} // the store knows of all nodes' users
		page, err := node.UserPage(ctx, from, 0)
		for _, u := range page.Items {
			at := userPlace{u.UserID, []string{}}
			for _, p := range u.Places {
				at.Nodes = append(at.Nodes, p.Node)
			}
			a.Users = append(a.Users, at)
		}
		a.Next = page.Next
		return a, err
	}))
}

// query makes a handler of a question, which may wait for other servers.
func query(ask func(ctx context.Context, body string) (any, error)) engine.Handler {
	return engine.Async(func(c *engine.Conn, m *protocol.Message) error {
		ctx, cancel := context.WithTimeout(c.Context(), queryTime)
		defer cancel()
		a, err := ask(ctx, string(m.Body))
		if err != nil {
			return err
		}
		body, err := json.Marshal(a)
		if err != nil {
			return err
		}
		return c.Reply(m, body)
	})
}
