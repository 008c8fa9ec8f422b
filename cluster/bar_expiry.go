package cluster

import (
	"context"
	"time"
)

// lonelyBars are records that had bars and no entries when this node wrote them: no session's end writes them again. The node takes bars that are over
// out of them; where it has died, or has too many to keep in mind, an audit does.
type lonelyBars struct {
	ends map[string]int64 // by user: when the record's last bar is over, in Unix milliseconds; the node's lock protects it
}

// barsEvery is how often a node looks for bars that are over.
const barsEvery = time.Minute

// noteBars keeps in mind when the bars of a record without entries are over.
func (n *Node) noteBars(user string, marks []mark) {
	last := int64(0)
	for _, m := range marks {
		if m.isBar() {
			last = max(last, m.end)
		}
	}
	if last == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	x := &n.lonelyBars
	if x.ends == nil {
		x.ends = make(map[string]int64)
	}
	if _, ok := x.ends[user]; ok || len(x.ends) < maxRefusals {
		x.ends[user] = last
	}
}

// removeOldBars takes bars that are over out of the store, until ctx ends.
func (n *Node) removeOldBars(ctx context.Context) {
	for {
		sleep(ctx, barsEvery)
		if ctx.Err() != nil {
			return
		}
		for n.removeSomeBars(ctx) {
		}
	}
}

// removeSomeBars looks at the records of some users whose bars are over. It reports whether there may be more.
func (n *Node) removeSomeBars(ctx context.Context) (more bool) {
	n.mu.Lock()
	epoch, number := n.epoch, n.audits.count
	ends := make(map[string]int64)
	var users []string
	for user, end := range n.lonelyBars.ends {
		if len(users) == auditStep {
			more = true
			break
		}
		if (mark{end: end}).isPast() {
			ends[user] = end
			users = append(users, user)
		}
	}
	n.mu.Unlock()
	if epoch == "" || len(users) == 0 {
		return false
	}
	call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
	defer cancel()
	records, err := n.dir.Look(call, users...)
	if err != nil {
		return false
	}
	for i := range records {
		r := &records[i]
		if r.Version != 0 && !n.auditRecord(ctx, epoch, r, number) {
			return false
		}
		n.mu.Lock()
		if n.lonelyBars.ends[r.User] == ends[r.User] {
			delete(n.lonelyBars.ends, r.User)
		}
		n.mu.Unlock()
	}
	return more
}
