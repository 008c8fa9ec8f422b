package cluster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// bar refuses logons, as JSON.
type bar struct {
	What []byte // a digest: of a session's ID, of a token, or of a user who is banned
	Code protocol.CloseCode
	Text string        `json:",omitempty"`
	For  time.Duration // from now on
}

// refuseOrder has a node refuse logons, or end a ban, as JSON.
type refuseOrder struct {
	Refused []bar
	Unban   string // the user
}

const (
	// refuseFor is how long a client that was kicked is refused on other nodes, if it comes back by itself.
	refuseFor = 10 * time.Minute
	// maxRefusals limits what is refused. Each refusal takes some 200 bytes.
	maxRefusals = 100_000
	// keptRefusals is how many are kept of too many, so that not each further one goes through all.
	keptRefusals = maxRefusals / 8 * 7
	// tellAfter is how long it takes until other nodes are told of sessions that were kicked by their user manager.
	tellAfter = 20 * time.Millisecond
	// toldRefusals limits what a newcomer is told, so that it fits in a frame.
	toldRefusals = 2_000
)

// refusals are the logons that the node refuses because of what has happened on any node. The node's lock protects it.
//
// The same stands as bars in the users' records. A bar holds also on a node that was not told, has joined later, or has forgotten. What
// nodes tell each other holds where a record does not: while a node acts without the store (StoreLost), and when the store has lost it. It
// has the notice's text too, and a logon that it refuses asks no store.
type refusals struct {
	by      map[string]barred // by the digest
	clean   int               // at this size what is over is looked for
	untold  []bar             // what the other nodes are to hear
	telling bool              // a goroutine tells them
}

type barred struct {
	why   *protocol.CloseError
	until time.Duration
}

// isRefused reports whether other nodes refuse a client that comes back by itself after this code.
func isRefused(code protocol.CloseCode) bool {
	return code == protocol.KickedOut || code == protocol.Unauthorized || code >= 4000 && code < 5000
}

func secretOf(user, secret string) []byte {
	d := seam.LoginDigest(user, secret)
	return d[:]
}

func banOf(user string) []byte {
	sum := sha256.Sum256([]byte("b" + user))
	return sum[:16]
}

// refuse has this node refuse a logon.
func (n *Node) refuse(r bar) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	until := now + min(max(r.For, 0), 1<<62-now)
	x := &n.refusals
	if x.by == nil {
		x.by = make(map[string]barred)
	}
	if len(x.by) >= max(x.clean, 1024) {
		full := len(x.by) >= maxRefusals
		for what, old := range x.by {
			if old.until <= now || full && len(x.by) > keptRefusals {
				delete(x.by, what)
			}
		}
		x.clean = min(2*len(x.by), maxRefusals)
	}
	why := &protocol.CloseError{Code: r.Code, Text: r.Text}
	if old, ok := x.by[string(r.What)]; ok && old.until > now {
		if old.until > until {
			return
		}
		if r.Text == "" && old.why.Code == r.Code {
			why = old.why
		}
	}
	x.by[string(r.What)] = barred{why, until}
}

// refuses returns why a logon is refused; nil if it is not. n.mu is held on entry.
func (n *Node) refuses(l *usermgr.Logon) *protocol.CloseError {
	if len(n.refusals.by) == 0 {
		return nil
	}
	for _, what := range barsTo(l) {
		if r, ok := n.refusals.by[string(what)]; ok && r.until > n.now() {
			return r.why
		}
	}
	return nil
}

// barsTo returns the digests by which a logon is refused: first that of a ban of the user.
func barsTo(l *usermgr.Logon) [][]byte {
	whats := [][]byte{banOf(l.UserID)}
	for _, secret := range []string{l.Token, l.Session} {
		if secret != "" {
			whats = append(whats, secretOf(l.UserID, secret))
		}
	}
	return whats
}

// refuseHere carries out a refuseOrder. It reports whether a user was banned.
func (n *Node) refuseHere(o *refuseOrder) (banned bool) {
	for _, r := range o.Refused {
		n.refuse(r)
	}
	if o.Unban == "" {
		return false
	}
	what := string(banOf(o.Unban))
	n.mu.Lock()
	r, ok := n.refusals.by[what]
	delete(n.refusals.by, what)
	n.liftBans(o.Unban)
	banned = ok && r.until > n.now()
	n.mu.Unlock()
	return n.users.Load().Unban(o.Unban) || banned
}

func (n *Node) answerRefuse(_ context.Context, body []byte) []byte {
	var o refuseOrder
	return toJSON(n, fromJSON(n, body, &o) && n.refuseHere(&o))
}

// answerRefusals tells a newcomer what is refused: what lasts longest, where that is much.
func (n *Node) answerRefusals(context.Context, []byte) []byte {
	var o refuseOrder
	n.mu.Lock()
	for what, r := range n.refusals.by {
		if left := r.until - n.now(); left > 0 {
			o.Refused = append(o.Refused, bar{[]byte(what), r.why.Code, r.why.Text, left})
		}
	}
	n.mu.Unlock()
	slices.SortFunc(o.Refused, func(a, b bar) int { return cmp.Compare(b.For, a.For) })
	o.Refused = o.Refused[:min(len(o.Refused), toldRefusals)]
	return toJSON(n, &o)
}

// learnRefusals asks the other nodes what is refused. n.mu is held on entry.
func (n *Node) learnRefusals(life context.Context) {
	n.work.Go(func() {
		n.askAll(life, queryRefusals, nil, func(body []byte) {
			var o refuseOrder
			if fromJSON(n, body, &o) {
				n.refuseHere(&o)
			}
		})
	})
}

// sessionEnded is called for each session of the user manager that ends. Where its client must not come back by itself, all nodes refuse it,
// and the removal of the session's entry leaves a bar in the user's record.
func (n *Node) sessionEnded(s usermgr.SessionInfo, code protocol.CloseCode) {
	if !isRefused(code) {
		return
	}
	o := refuseOrder{Refused: []bar{{What: secretOf(s.UserID, s.ID), Code: code, For: refuseFor}}}
	n.refuseHere(&o)
	id, err := uuid.Parse(s.ID)
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.claims[id]; err == nil && c != nil {
		c.needMore().bars = []mark{o.Refused[0].inRecord()}
	}
	if !n.maySend() {
		return
	}
	x := &n.refusals
	x.untold = append(x.untold, o.Refused...)
	if !x.telling {
		x.telling = true
		life := n.life
		n.work.Go(func() { n.tellRefusals(life) })
	}
}

// tellRefusals tells the other nodes what is refused, until there is no more. What comes within tellAfter, or while it waits for their answers,
// is told in one question. Meanwhile the bars in the users' records hold.
func (n *Node) tellRefusals(life context.Context) {
	x := &n.refusals
	for {
		sleep(life, tellAfter)
		n.mu.Lock()
		most := min(len(x.untold), toldRefusals)
		o := refuseOrder{Refused: x.untold[:most:most]}
		x.untold = x.untold[most:]
		if most == 0 || life.Err() != nil {
			x.untold, x.telling = nil, false
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		n.askAll(life, queryRefuse, toJSON(n, &o), nil)
	}
}
