package cluster

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/usermgr"
)

// UserPlaces is a user who is online, and where.
type UserPlaces struct {
	UserID string
	Places []Place // the oldest first
}

const (
	defaultPage = 100
	mostPage    = 1000
)

// UserPage returns a page of the users of the whole cluster, as the store knows them, from a place on: "" for the first page, then
// Page.Next. limit is about how many: 1 to 1,000; 0 for 100. A page may have a few more, or fewer, and Total is -1.
//
// Users who are online for the whole listing appear exactly once, unless the store loses what it has meanwhile: then the error is
// ErrRecovering, with the users who are known. Users of dead nodes are left out, and so are users whose record is malformed. Other errors are usermgr.ErrBadQuery, for a limit that is
// out of range, and those of the store.
func (n *Node) UserPage(ctx context.Context, from string, limit int) (page usermgr.Page[UserPlaces], err error) {
	if limit, err = pageLimit(limit); err != nil {
		return page, err
	}
	page.Total = -1
	for {
		l, err := n.dir.Walk(ctx, from, limit-len(page.Items))
		if err != nil {
			return page, err
		}
		users := make([][]entry, len(l.Records))
		for i, r := range l.Records {
			if users[i], err = decodeRecord(r.Body, r.Version); err != nil {
				n.malformed(r.User)
			}
		}
		n.mu.Lock()
		for i, r := range l.Records {
			if places := n.visible(users[i]); len(places) > 0 {
				page.Items = append(page.Items, UserPlaces{r.User, places})
			}
		}
		recovering := n.epoch == ""
		n.mu.Unlock()
		from = l.Next
		page.Next = l.Next
		switch {
		case recovering:
			return page, ErrRecovering
		case from == "" || len(page.Items) >= limit:
			return page, nil
		}
	}
}

func pageLimit(limit int) (int, error) {
	switch {
	case limit == 0:
		return defaultPage, nil
	case limit < 0 || limit > mostPage:
		return 0, fmt.Errorf("%w: a page of %d items", usermgr.ErrBadQuery, limit)
	}
	return limit, nil
}

// SessionPage returns a page of the sessions of the whole cluster that match, node by node. A query goes by its Cursor; Page must be 0, and
// Total is -1. A page may have fewer items than Limit, although others follow. A Cursor of a node's Incarnation, in digits, and a space begins
// with the sessions of that node.
//
// Sessions that live and match for the whole listing appear exactly once. The sessions of a node in Missing are left out; the next page
// goes on behind that node. The error is usermgr.ErrBadQuery, or a protocol.InternalError while the node is not in the cluster.
func (n *Node) SessionPage(ctx context.Context, q usermgr.PageQuery) (Answer[usermgr.Page[SessionAt]], error) {
	a := Answer[usermgr.Page[SessionAt]]{AsOf: time.Now()}
	a.Value.Total = -1
	limit, err := pageLimit(q.Limit)
	node, cursor, ok := splitCursor(q.Cursor)
	switch {
	case err != nil:
		return a, err
	case q.Page != 0 || !ok:
		return a, fmt.Errorf("%w: a page of a cluster goes by the cursor of the one before", usermgr.ErrBadQuery)
	case !n.inCluster():
		return a, errLost
	}
	for {
		node, ok = n.livesFrom(node, &cursor)
		if !ok {
			return a, ctx.Err()
		}
		order := pageOrder{Filter: q.Filter, Cursor: cursor, Limit: min(limit-len(a.Value.Items), pagePart)}
		page, missing := n.pageAt(ctx, node, &order)
		if page.Bad {
			return a, fmt.Errorf("%w: the cursor is not one of this listing", usermgr.ErrBadQuery)
		}
		a.Missing = append(a.Missing, missing...)
		a.Value.Items = append(a.Value.Items, page.Items...)
		cursor = page.Next
		if cursor == "" {
			if node == math.MaxUint32 {
				return a, ctx.Err()
			}
			node++
		}
		if len(missing) > 0 || len(a.Value.Items) >= limit { // one node that does not answer takes all the time that there is
			if node, ok = n.livesFrom(node, &cursor); ok {
				a.Value.Next = strconv.FormatUint(uint64(node), 10) + " " + cursor
			}
			return a, ctx.Err()
		}
	}
}

// pagePart is how many sessions a node sends at a time, so that no frame is too large.
const pagePart = 250

// splitCursor returns the node and the place on it.
func splitCursor(cursor string) (node Incarnation, rest string, ok bool) {
	if cursor == "" {
		return 0, "", true
	}
	number, rest, ok := strings.Cut(cursor, " ")
	inc, err := strconv.ParseUint(number, 10, 32)
	return Incarnation(inc), rest, ok && err == nil
}

// livesFrom returns the first node that lives, from one on. Where that is another one its listing begins anew.
func (n *Node) livesFrom(from Incarnation, cursor *string) (node Incarnation, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.view.Members {
		if !m.Dead && m.Incarnation >= from && (!ok || m.Incarnation < node) {
			node, ok = m.Incarnation, true
		}
	}
	if node != from {
		*cursor = ""
	}
	return node, ok
}

// pageOrder asks for sessions of one node.
type pageOrder struct {
	Filter usermgr.Filter
	Cursor string
	Limit  int
}

// pageReply is the answer.
type pageReply struct {
	Items []SessionAt
	Next  string
	Bad   bool // the cursor is none of the node's
}

// pageAt returns a page of one node.
func (n *Node) pageAt(ctx context.Context, node Incarnation, order *pageOrder) (page pageReply, missing []string) {
	n.mu.Lock()
	here := node == n.me
	n.mu.Unlock()
	if here {
		return n.pageHere(order), nil
	}
	missing = n.askSome(ctx, queryPage, toJSON(n, order), func(inc Incarnation) bool { return inc == node }, func(body []byte) {
		fromJSON(n, body, &page)
	})
	return page, missing
}

func (n *Node) answerPage(_ context.Context, body []byte) []byte {
	var order pageOrder
	if !fromJSON(n, body, &order) {
		return nil
	}
	return toJSON(n, n.pageHere(&order))
}

func (n *Node) pageHere(order *pageOrder) pageReply {
	p, err := n.users.Load().SessionPage(usermgr.PageQuery{Filter: order.Filter, Cursor: order.Cursor, Limit: order.Limit})
	return pageReply{n.at(p.Items), p.Next, err != nil}
}
