package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	maxKicked   = 1000             // users of one request
	maxText     = 1000             // bytes
	maxBan      = 10 * 366 * 86400 // seconds
	actPatience = 15 * time.Second // more than engine.Timeouts.Close's default
)

// kickOptions are in the body of each request that throws out.
type kickOptions struct {
	Text       string `json:"text"`
	BanSeconds int    `json:"banSeconds"` // how long the user stays out; 0 for no ban
}

// check answers a request whose options make no sense, and returns false.
func (o *kickOptions) check(c *call) bool {
	switch {
	case len(o.Text) > maxText || !utf8.ValidString(o.Text):
		c.fail(http.StatusBadRequest, fmt.Sprintf("text must have at most %d bytes", maxText))
	case o.BanSeconds < 0 || o.BanSeconds > maxBan:
		c.fail(http.StatusBadRequest, fmt.Sprintf("banSeconds must be a number from 0 to %d", maxBan))
	default:
		return true
	}
	return false
}

func (o *kickOptions) banFor() time.Duration { return time.Duration(o.BanSeconds) * time.Second }

// kicked is what became of one user, or one connection.
type kicked struct {
	User     string      `json:"user"`
	Sessions []kickedOne `json:"sessions"`
	Error    string      `json:"error,omitempty"`
	Until    *time.Time  `json:"until,omitempty"` // the end of the ban
	status   int
	wait     usermgr.Wait
	action   Action
}

// kickedOne is what became of one session.
type kickedOne struct {
	Conn    uint64 `json:"conn"`
	Device  uint16 `json:"device"`
	Address string `json:"address"`
	Outcome string `json:"outcome"`
}

// act takes one of the places for acts; if none is free, it answers so and returns nil.
func (a *Admin) act(c *call) (done func()) {
	select {
	case a.acts <- struct{}{}:
		return func() { <-a.acts }
	default:
		c.ResponseWriter.Header().Set("Retry-After", "1")
		c.fail(http.StatusTooManyRequests, "too many acts are under way; ask again in a second")
		return nil
	}
}

// begin begins to throw a user out, or the session on a connection, and has it in the audit.
func (a *Admin) begin(c *call, user string, conn uint64, o *kickOptions) *kicked {
	k := &kicked{User: user, Sessions: []kickedOne{}}
	k.action = Action{Who: c.who, From: c.RemoteAddr, Do: "kick", User: user, Conn: conn, Text: o.Text, BanFor: o.banFor()}
	if o.BanSeconds > 0 {
		k.action.Do = "kick and ban"
	}
	opts := &usermgr.KickOptions{Text: o.Text, BanFor: o.banFor()}
	var session string
	var err error
	if conn != 0 {
		s, ok := a.cfg.Users.SessionAt(conn)
		if !ok {
			err = usermgr.ErrUnknownID
		}
		session, k.User, k.action.User = s.ID, s.UserID, s.UserID
	}
	k.action.Stage = Begun
	a.cfg.Audit(k.action)
	switch {
	case err != nil:
	case conn != 0:
		k.wait, err = a.cfg.Users.KickSession(session, opts)
	default:
		k.wait, err = a.cfg.Users.Kick(user, opts)
	}
	if err != nil {
		k.Error, k.status = strings.TrimPrefix(err.Error(), "rollcall: "), http.StatusNotFound
		if errors.Is(err, usermgr.ErrBlankID) {
			k.status = http.StatusBadRequest
		}
		return k
	}
	if o.BanSeconds > 0 {
		until := time.Now().Add(o.banFor())
		k.Until = &until
	}
	return k
}

// finish waits for the outcomes until ctx ends, and has them in the audit.
func (a *Admin) finish(ctx context.Context, k *kicked) {
	k.action.Stage, k.action.Outcome = Done, k.Error
	if k.wait != nil {
		ends, _ := k.wait(ctx) // with an error it has those that are known
		var told []string
		for _, e := range ends {
			k.Sessions = append(k.Sessions, kickedOne{e.Session.Conn, e.Session.Device, e.Session.Address.String(), e.Outcome.String()})
			told = append(told, fmt.Sprintf("connection %d: %s", e.Session.Conn, e.Outcome))
		}
		if k.action.Outcome = strings.Join(told, ", "); len(told) == 0 {
			k.action.Outcome = "no session has ended by it yet"
		}
	}
	a.cfg.Audit(k.action)
}

// patience is how long a request waits for outcomes, also when its client does not: the audit has them in any case.
func patience(c *call) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.Context()), actPatience)
}

// one throws out one user, or one connection.
func (a *Admin) one(c *call, user string, conn uint64, o *kickOptions) {
	if !o.check(c) {
		return
	}
	done := a.act(c)
	if done == nil {
		return
	}
	defer done()
	k := a.begin(c, user, conn, o)
	ctx, cancel := patience(c)
	defer cancel()
	if a.finish(ctx, k); k.status != 0 {
		c.fail(k.status, k.Error)
		return
	}
	c.answer(k)
}

func (a *Admin) kickUser(c *call) {
	var body struct {
		User string `json:"user"`
		kickOptions
	}
	if c.read(&body) {
		a.one(c, body.User, 0, &body.kickOptions)
	}
}

func (a *Admin) kickConn(c *call) {
	var body kickOptions
	if c.read(&body) {
		a.one(c, "", c.conn, &body)
	}
}

// kickMany throws out many users, and answers with what became of each.
func (a *Admin) kickMany(c *call) {
	var body struct {
		Users []string `json:"users"`
		kickOptions
	}
	if !c.read(&body) || !body.check(c) {
		return
	}
	if len(body.Users) == 0 || len(body.Users) > maxKicked {
		c.fail(http.StatusBadRequest, fmt.Sprintf("users must have 1 to %d IDs", maxKicked))
		return
	}
	done := a.act(c)
	if done == nil {
		return
	}
	defer done()
	all := make([]*kicked, len(body.Users))
	for i, id := range body.Users { // all begin before the first is waited for
		all[i] = a.begin(c, id, 0, &body.kickOptions)
	}
	ctx, cancel := patience(c)
	defer cancel()
	for _, k := range all {
		a.finish(ctx, k)
	}
	c.answer(struct {
		Kicked []*kicked `json:"kicked"`
	}{all})
}

// unban ends a user's ban.
func (a *Admin) unban(c *call) {
	var body struct {
		User string `json:"user"`
	}
	if !c.read(&body) {
		return
	}
	if body.User == "" {
		c.fail(http.StatusBadRequest, "user is missing: the user's ID")
		return
	}
	act := Action{Who: c.who, From: c.RemoteAddr, Do: "unban", User: body.User, Stage: Begun}
	a.cfg.Audit(act)
	was := a.cfg.Users.Unban(body.User)
	if act.Stage, act.Outcome = Done, "the user was not banned"; was {
		act.Outcome = "the user may come back"
	}
	a.cfg.Audit(act)
	c.answer(struct {
		User   string `json:"user"`
		Banned bool   `json:"banned"` // whether the user was
	}{body.User, was})
}
