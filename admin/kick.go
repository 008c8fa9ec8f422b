package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollcall-go/rollcall/cluster"
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
	Until    *time.Time  `json:"until,omitempty"`   // the end of the ban
	Missing  []string    `json:"missing,omitempty"` // in a cluster: nodes that have not answered
	status   int
	wait     usermgr.Wait // returns the outcomes; nil where nothing was done
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

// begin begins to throw a user out, or the session on a connection, and has it in the audit. In a cluster a user is thrown out of all nodes,
// which ctx ends.
func (a *Admin) begin(ctx context.Context, c *call, user string, conn uint64, o *kickOptions) *kicked {
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
	case a.cfg.Cluster != nil:
		k.wait = a.kickAll(ctx, k, opts)
	default:
		k.wait, err = a.cfg.Users.Kick(user, opts)
	}
	if err != nil {
		k.failed(err)
		return k
	}
	if o.BanSeconds > 0 {
		until := time.Now().Add(o.banFor())
		k.Until = &until
	}
	return k
}

// failed says that nothing was done.
func (k *kicked) failed(err error) {
	k.Error, k.Until, k.status = strings.TrimPrefix(err.Error(), "rollcall: "), nil, http.StatusBadGateway
	switch {
	case errors.Is(err, usermgr.ErrBlankID):
		k.status = http.StatusBadRequest
	case errors.Is(err, usermgr.ErrUnknownID):
		k.status = http.StatusNotFound
	}
}

// maxAsked is how many users are thrown out of a cluster at a time: each is a question to all nodes.
const maxAsked = 64

// kickAll begins to throw a user out of all nodes.
func (a *Admin) kickAll(ctx context.Context, k *kicked, o *usermgr.KickOptions) usermgr.Wait {
	type outcome struct {
		cluster.Answer[[]usermgr.Kicked]
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		select {
		case a.asked <- struct{}{}:
			defer func() { <-a.asked }()
			all, err := a.cfg.Cluster.Kick(ctx, k.action.User, o)
			done <- outcome{all, err}
		case <-ctx.Done():
			done <- outcome{err: ctx.Err()}
		}
	}()
	return func(context.Context) ([]usermgr.Kicked, error) {
		all := <-done
		if k.Missing = all.Missing; all.err != nil && len(all.Value) == 0 {
			k.failed(all.err)
		}
		return all.Value, all.err
	}
}

// finish waits for the outcomes until ctx ends, and has them in the audit.
func (a *Admin) finish(ctx context.Context, k *kicked) {
	k.action.Stage = Done
	var told []string
	if k.wait != nil {
		ends, _ := k.wait(ctx) // with an error it has those that are known
		for _, e := range ends {
			k.Sessions = append(k.Sessions, kickedOne{e.Session.Conn, e.Session.Device, e.Session.Address.String(), e.Outcome.String()})
			told = append(told, fmt.Sprintf("connection %d: %s", e.Session.Conn, e.Outcome))
		}
	}
	if k.action.Outcome = cmp.Or(k.Error, strings.Join(told, ", "), "no session has ended by it yet"); len(k.Missing) > 0 {
		k.action.Outcome += "; nodes that have not answered: " + strings.Join(k.Missing, ", ")
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
	ctx, cancel := patience(c)
	defer cancel()
	k := a.begin(ctx, c, user, conn, o)
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
	ctx, cancel := patience(c)
	defer cancel()
	all := make([]*kicked, len(body.Users))
	for i, id := range body.Users { // all begin before the first is waited for
		all[i] = a.begin(ctx, c, id, 0, &body.kickOptions)
	}
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
	was, missing, err := a.unbanAll(c, body.User)
	act.Stage, act.Outcome = Done, "the user was not banned"
	switch {
	case err != nil:
		act.Outcome = err.Error()
	case was:
		act.Outcome = "the user may come back"
	}
	if len(missing) > 0 {
		act.Outcome += "; nodes that have not answered: " + strings.Join(missing, ", ")
	}
	a.cfg.Audit(act)
	if err != nil {
		c.fail(http.StatusBadGateway, "the cluster: "+err.Error())
		return
	}
	c.answer(struct {
		User    string   `json:"user"`
		Banned  bool     `json:"banned"`            // whether the user was
		Missing []string `json:"missing,omitempty"` // in a cluster: nodes that have not answered
	}{body.User, was, missing})
}

// unbanAll ends a user's ban, in a cluster on all nodes.
func (a *Admin) unbanAll(c *call, user string) (was bool, missing []string, err error) {
	if a.cfg.Cluster == nil {
		return a.cfg.Users.Unban(user), nil, nil
	}
	ctx, cancel := patience(c)
	defer cancel()
	all, err := a.cfg.Cluster.Unban(ctx, user)
	return all.Value, all.Missing, err
}
