package cluster

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"
)

// Answer is what the nodes of a cluster have answered.
type Answer[T any] struct {
	Value T
	// Missing has the names of the nodes that live and have not answered, or not in time; a node without a name is told by its number.
	// Value is without what they know.
	Missing []string
	// AsOf is when the nodes were asked.
	AsOf time.Time
}

// query says what a frameAsk asks for. A node does not answer one that it does not know.
type query uint8

// The numbers are on the wire: a new query goes to the end.
const (
	queryKick      query = iota + 1 // end sessions; see kickOrder
	queryRefuse                     // refuse logons; see refuseOrder
	queryRefusals                   // which logons are refused?
	querySessions                   // the sessions of a user
	queryStats                      // how many sessions there are
	queryPage                       // a page of sessions; see pageOrder
	queryBroadcast                  // send a message to everyone; see broadcastOrder
	queryPush                       // push a message; see pushOrder
	queryKept                       // hand kept messages to a session; see keptOrder
	queryMend                       // what belongs into a user's malformed record; see mendOrder
	queryInfo                       // what a node tells of itself: a NodeInfo
)

// answerer returns the function that answers a query, within ctx; nil for a query that is not known. A table would have every program that names
// a type of this package carry the functions.
func (q query) answerer() func(n *Node, ctx context.Context, body []byte) []byte {
	switch q {
	case queryKick:
		return (*Node).answerKick
	case queryRefuse:
		return (*Node).answerRefuse
	case queryRefusals:
		return (*Node).answerRefusals
	case querySessions:
		return (*Node).answerSessions
	case queryStats:
		return (*Node).answerStats
	case queryPage:
		return (*Node).answerPage
	case queryBroadcast:
		return (*Node).answerBroadcast
	case queryPush:
		return (*Node).answerPush
	case queryKept:
		return (*Node).answerKept
	case queryMend:
		return (*Node).answerMend
	case queryInfo:
		return (*Node).answerInfo
	}
	return nil
}

// reply is a frameAnswer.
type reply struct {
	from Incarnation
	busy bool // the node works on it
	body []byte
}

// asked is a node that was asked.
type asked struct {
	name  string
	heard time.Duration // when the node was asked, or has last said that it works on the answer
}

// askAll asks all other nodes that live, and calls add with each answer, one call at a time; nil does nothing. It returns the names of those
// that have not answered when ctx ends, or that were silent for Config.QueryTimeout.
func (n *Node) askAll(ctx context.Context, q query, body []byte, add func(body []byte)) (missing []string) {
	return n.askSome(ctx, q, body, func(Incarnation) bool { return true }, add)
}

// askSome is askAll for the nodes that are meant.
func (n *Node) askSome(ctx context.Context, q query, body []byte, meant func(Incarnation) bool, add func(body []byte)) (missing []string) {
	n.mu.Lock()
	open := make(map[Incarnation]*asked)
	for _, m := range n.view.Members {
		if !m.Dead && m.Incarnation != n.me && meant(m.Incarnation) {
			open[m.Incarnation] = &asked{nameOf(&m), n.now()}
		}
	}
	n.lastQuestion++
	f := frame{kind: frameAsk, from: n.me, query: q, numbers: numbers{ticket: n.lastQuestion}}
	f.message.Body = body
	replies := make(chan reply, 2*len(open)+8) // one for which there is no room comes again
	n.questions[f.ticket] = replies
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.questions, f.ticket)
	}()
	again := time.NewTicker(max(n.cfg.QueryTimeout/4, time.Millisecond))
	defer again.Stop()
	for len(open) > 0 {
		changed := n.askAgain(&f, open, &missing)
		for waiting := len(open) > 0; waiting; {
			select {
			case r := <-replies:
				switch a := open[r.from]; {
				case a == nil: // it has answered before
				case r.busy:
					a.heard = n.now()
				default:
					delete(open, r.from)
					if add != nil {
						add(r.body)
					}
				}
				waiting = len(open) > 0
			case <-changed:
				waiting = false
			case <-again.C:
				waiting = false
			case <-ctx.Done():
				for to, a := range open {
					missing = append(missing, a.name)
					delete(open, to)
				}
				waiting = false
			}
		}
	}
	n.tallies.missing.Add(uint64(len(missing)))
	slices.Sort(missing)
	return missing
}

// askAgain asks the nodes that have not answered, and gives up those that are silent. What a dead node knows is gone, so it is not missing.
// It returns what is closed when the table changes.
func (n *Node) askAgain(f *frame, open map[Incarnation]*asked, missing *[]string) (changed <-chan struct{}) {
	n.mu.Lock()
	changed = n.changed
	for to := range open {
		if n.isDead(to) {
			delete(open, to)
		}
	}
	n.mu.Unlock()
	for to, a := range open {
		if n.now()-a.heard >= n.cfg.QueryTimeout {
			*missing = append(*missing, a.name)
			delete(open, to)
			continue
		}
		f.to = to
		n.send(f)
	}
	return changed
}

// nameOf returns the name by which people know a node.
func nameOf(m *MemberState) string {
	if m.Member.Name == "" {
		return fmt.Sprint("node ", m.Incarnation)
	}
	return m.Member.Name
}

// gotAnswer passes an answer on to the question.
func (n *Node) gotAnswer(f *frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.to != n.me {
		return
	}
	select {
	case n.questions[f.ticket] <- reply{f.from, f.flags&flagBusy != 0, bytes.Clone(f.message.Body)}:
	default: // none waits for it, or there is no room
	}
}

// answering has the questions of other nodes that this one works on, or has answered in the last answerFor: a question that comes again is
// answered again, and not carried out twice. The node's lock protects it.
type answering struct {
	by    map[question]*answerOf
	order []question // the oldest first
}

type question struct {
	from   Incarnation
	ticket uint64
}

type answerOf struct {
	since time.Duration
	done  bool
	body  []byte
}

// answerFor is how long an answer is kept in mind.
const answerFor = 30 * time.Second

// begin returns the answer to a question, and whether the question is new.
func (a *answering) begin(q question, now time.Duration) (x *answerOf, first bool) {
	if x := a.by[q]; x != nil {
		return x, false
	}
	for len(a.order) > 0 {
		old := a.order[0]
		x := a.by[old]
		if now-x.since < answerFor {
			break
		}
		a.order = a.order[1:]
		if x.done {
			delete(a.by, old)
			continue
		}
		x.since = now // a question that takes long does not keep the answers to later ones
		a.order = append(a.order, old)
	}
	if a.by == nil {
		a.by = make(map[question]*answerOf)
	}
	x = &answerOf{since: now}
	a.by[q] = x
	a.order = append(a.order, q)
	return x, true
}

// answer answers another node's question, on a goroutine of its own.
func (n *Node) answer(f *frame) {
	run := f.query.answerer()
	if run == nil {
		return
	}
	back := frame{kind: frameAnswer, from: f.to, to: f.from, numbers: numbers{ticket: f.ticket}}
	n.mu.Lock()
	if n.isDead(f.from) || f.to != n.me || !n.maySend() {
		n.mu.Unlock()
		return
	}
	x, first := n.answering.begin(question{f.from, f.ticket}, n.now())
	if first {
		body, life := bytes.Clone(f.message.Body), n.life
		n.work.Go(func() {
			answer := run(n, life, body)
			n.mu.Lock()
			x.done, x.body = true, answer
			n.mu.Unlock()
			back.message.Body = answer
			n.send(&back)
		})
		n.mu.Unlock()
		return
	}
	if back.message.Body = x.body; !x.done {
		back.flags = flagBusy
	}
	n.mu.Unlock()
	n.send(&back)
}
