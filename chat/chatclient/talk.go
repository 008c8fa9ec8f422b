package chatclient

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

// talk is the state of a conversation. Only the worker uses it.
type talk struct {
	Conversation
	had   Mark // up to where it was handed out
	based bool // had counts; otherwise the conversation begins with the first message that is heard of
	gone  bool // the user is not in the group

	// loose says that had has jumped to a number of the list, from floor, and nothing was handed out since. Live messages from before the list
	// may still come: then the conversation begins with them.
	loose bool
	floor Mark

	// What follows is forgotten with the connection.
	first   uint64 // the lowest number that was heard of
	heard   uint64 // the highest
	last    uint64 // the highest that the list had
	since   uint64 // with a gap: the last ticket when it was found; otherwise 0
	asked   uint64 // heard when History was asked
	later   uint64 // the highest number that was heard of since then
	waiting []live // messages that cannot be handed out yet, by their numbers
	compare bool   // it is not certain that the message with number had.Seq is the one that was handed out
	queued  bool   // the talk is in worker.behind, or History is being read
}

// live is a message with the bytes that the mail counts for it; 0 for one of the reply to Join.
type live struct {
	*Message
	size int
}

const (
	mostFetching = 4 // conversations of which History is read at a time
	mostRecent   = 8 // conversations without news that are compared on each connection
)

func (w *worker) talk(of Conversation) *talk {
	t := w.talks[of]
	if t == nil {
		t = &talk{Conversation: of}
		w.talks[of] = t
	}
	return t
}

// touch has settle look at a conversation.
func (w *worker) touch(t *talk) { w.touched = append(w.touched, t) }

// live gets a live message.
func (w *worker) live(m *Message, size int) {
	t := w.talk(m.Conversation)
	t.note(span{m.Seq, m.Seq})
	w.add(t, m, size)
	w.touch(t)
}

// note is told of messages by their numbers.
func (t *talk) note(s span) {
	if t.first == 0 || s.first < t.first {
		t.first = s.first
	}
	t.heard, t.later = max(t.heard, s.last), max(t.later, s.last)
}

// add puts a message among those that wait.
func (w *worker) add(t *talk, m *Message, size int) {
	at, found := slices.BinarySearchFunc(t.waiting, m.Seq, func(l live, seq uint64) int {
		switch {
		case l.Seq < seq:
			return -1
		case l.Seq > seq:
			return 1
		}
		return 0
	})
	if found {
		w.c.mail.free(size)
		return
	}
	t.waiting = slices.Insert(t.waiting, at, live{m, size})
}

// forget forgets what was heard of on the last connection: History has it again.
func (w *worker) forget(t *talk) {
	for _, l := range t.waiting {
		w.c.mail.free(l.size)
	}
	t.waiting, t.first, t.heard, t.last, t.since, t.asked, t.later = nil, 0, 0, 0, 0, 0, 0
	t.compare, t.queued = false, false
}

// list gets the user's conversations, once for each connection.
func (w *worker) list(all []protocol.ChatConversation, err error) {
	if isLost(err) || w.ctx.Err() != nil {
		return // until the next connection
	}
	w.listed, w.listErr = true, err
	if err == nil {
		w.lists++
		w.compareWith(all)
	}
	for _, t := range w.talks {
		w.touch(t)
	}
	select {
	case w.c.ready <- err:
	default:
	}
}

// compareWith compares the conversations that are known with those that there are.
func (w *worker) compareWith(all []protocol.ChatConversation) {
	firstRun := w.lists == 1 && w.c.cfg.Known == nil
	listed := make(map[*talk]bool, len(all))
	for _, one := range all {
		t := w.talk(Conversation{Group: one.Group, With: one.With})
		listed[t], t.gone, t.last, t.heard = true, false, one.Last, max(t.heard, one.Last)
		switch {
		case !t.based && firstRun:
			t.based = true
			w.jump(t, one.Last)
		case !t.based: // it is new
			t.based = true
			w.limit(t)
		case one.Last < t.had.Seq:
			w.reset(t)
		case one.Last == t.had.Seq:
			w.equal = append(w.equal, t)
		case t.had.ID == uuid.Nil || w.c.cfg.MaxCatchUp < 0:
			w.limit(t)
		default:
			t.compare = true
		}
	}
	for _, t := range w.talks {
		switch {
		case listed[t] || !t.based:
		case t.Group != 0:
			t.gone = true
		case t.had.Seq > 0:
			w.reset(t)
		}
	}
	slices.SortFunc(w.equal, func(a, b *talk) int { return cmp.Compare(sentAt(b.had.ID), sentAt(a.had.ID)) })
	for _, t := range w.equal[:min(mostRecent, len(w.equal))] {
		t.compare = t.had.ID != uuid.Nil
	}
}

// sentAt returns the time that an ID has in it; 0 if it has none.
func sentAt(id uuid.UUID) uuid.Time {
	if id.Version() != 7 {
		return 0
	}
	return id.Time()
}

// jump leaves messages up to a number to History.
func (w *worker) jump(t *talk, to uint64) {
	if !t.loose {
		t.floor = t.had
	}
	t.loose = true
	w.setHad(t, Mark{Seq: to})
}

// limit leaves to History what MaxCatchUp does not let be handed out of the messages that the list has.
func (w *worker) limit(t *talk) {
	most := uint64(max(w.c.cfg.MaxCatchUp, 0))
	if t.last > t.had.Seq && t.last-t.had.Seq > most {
		w.jump(t, t.last-most)
	}
}

// reset begins a conversation anew, because the store has gone back.
func (w *worker) reset(t *talk) {
	t.compare, t.loose, t.floor = false, false, Mark{}
	w.setHad(t, Mark{})
	w.limit(t)
	for _, other := range w.equal { // all are in doubt now
		if other.had.ID != uuid.Nil && other != t {
			other.compare = true
			w.touch(other)
		}
	}
	w.equal = nil
	w.touch(t)
	if f := w.c.cfg.OnReset; f != nil {
		w.call(func() { f(w.c, t.Conversation) })
	}
}

// joined gets the reply to Join, or that a group was made.
func (w *worker) joined(of Conversation, last uint64, recent []*Message) {
	t := w.talk(of)
	base := last
	if len(recent) > 0 {
		base = recent[0].Seq - 1
	}
	if !t.based || t.gone {
		t.based, t.gone, t.loose = true, false, false
		if base > t.had.Seq {
			w.setHad(t, Mark{Seq: base})
		}
	}
	if last > 0 {
		t.note(span{min(base+1, last), last})
	}
	for _, m := range recent {
		w.add(t, m, 0)
	}
	w.touch(t)
}

// left is told that the user is in a group no more.
func (w *worker) left(of Conversation) {
	if t := w.talks[of]; t != nil {
		t.gone = true
	}
}

func (w *worker) setHad(t *talk, m Mark) {
	t.had = m
	w.c.setMark(t.Conversation, m)
}

// settle hands out what can be handed out, and begins to read what is missing.
func (w *worker) settle() {
	for len(w.touched) > 0 && !w.ended {
		t := w.touched[0]
		w.touched = w.touched[1:]
		w.advance(t)
	}
	w.touched = nil
	for w.fetching < mostFetching && len(w.behind) > 0 && !w.ended {
		t := w.behind[0]
		w.behind = w.behind[1:]
		w.fetch(t)
	}
	if w.listed && !w.caughtUp && w.fetching == 0 && !w.ended {
		w.caughtUp = true
		if f := w.c.cfg.OnCaughtUp; f != nil {
			w.call(func() { f(w.c, w.listErr) })
		}
	}
}

// advance hands out the messages of a conversation that follow the last one, and asks for History where some are missing.
func (w *worker) advance(t *talk) {
	if !w.listed || t.queued || !w.begin(t) {
		return
	}
	if t.loose && t.first > t.floor.Seq && t.first <= t.had.Seq {
		base := Mark{Seq: t.first - 1}
		if base.Seq == t.floor.Seq {
			base = t.floor
		}
		w.setHad(t, base)
	}
	for len(t.waiting) > 0 && !t.compare && t.waiting[0].Seq <= t.had.Seq+1 {
		l := t.waiting[0]
		t.waiting[0] = live{}
		if t.waiting = t.waiting[1:]; len(t.waiting) == 0 {
			t.waiting = nil
		}
		w.c.mail.free(l.size)
		if l.Seq > t.had.Seq && !w.handOut(t, l.Message) {
			return
		}
	}
	switch {
	case t.compare || t.heard > t.had.Seq && !w.comes(t):
		t.queued = true
		w.behind = append(w.behind, t)
	case t.heard <= t.had.Seq:
		t.since = 0
	}
}

// begin begins a conversation that neither Known nor a list has, with the first message that was heard of. It returns false if there is none yet.
func (w *worker) begin(t *talk) bool {
	if t.based && !t.gone {
		return true
	}
	if t.first == 0 || w.comes(t) {
		return false
	}
	if t.Group != 0 && t.first-1 > t.had.Seq { // otherwise the two have begun to write since the list
		w.setHad(t, Mark{Seq: t.first - 1})
	}
	t.based, t.gone = true, false
	return true
}

// comes reports whether what is missing may be the number that a request brings which is under way.
func (w *worker) comes(t *talk) bool {
	if t.since == 0 {
		t.since = w.c.mail.lastTicket()
	}
	return w.c.mail.isUnderWay(t.Conversation, t.since)
}

func (w *worker) handOut(t *talk, m *Message) bool {
	if f := w.c.cfg.OnMessage; f != nil && !w.call(func() { f(w.c, m) }) {
		return false
	}
	t.loose, t.since = false, 0
	w.setHad(t, Mark{m.Seq, m.ID})
	return true
}

// fetch reads a page of what is missing. With compare it begins with the message that was handed out last.
func (w *worker) fetch(t *talk) {
	r := Range{After: t.had.Seq, FromStart: true}
	if t.compare {
		r.After--
		if t.last-min(t.last, t.had.Seq) > uint64(max(w.c.cfg.MaxCatchUp, 0)) {
			r.Limit = 1
		}
	}
	t.asked, t.later = t.heard, 0
	w.fetching++
	job(w, func(ctx context.Context) (Page, error) { return w.c.History(ctx, t.Conversation, r) }, func(p Page, err error) {
		w.fetching--
		t.queued = false
		if isLost(err) || w.ctx.Err() != nil {
			w.listed = false // until the next connection
			return
		}
		w.page(t, p, err)
		w.touch(t)
	})
}

// page hands out a page of History.
func (w *worker) page(t *talk, p Page, err error) {
	all := p.Messages
	if t.compare {
		t.compare = false
		if len(all) > 0 && all[0].Seq == t.had.Seq {
			if all[0].ID != t.had.ID {
				w.reset(t)
				return
			}
			all = all[1:]
		}
		if before := t.had; err == nil {
			if w.limit(t); t.had != before {
				return
			}
		}
	}
	for _, m := range all {
		if m.Seq > t.had.Seq && !w.handOut(t, m) {
			return
		}
	}
	if p.More && len(p.Messages) > 0 {
		return
	}
	// The rest of what was known to be missing is not there, or not for the user.
	t.heard = max(t.had.Seq, t.later)
	if len(t.waiting) > 0 {
		t.heard = max(t.heard, t.waiting[len(t.waiting)-1].Seq)
		if next := t.waiting[0].Seq; next > t.had.Seq+1 && next <= t.asked {
			w.setHad(t, Mark{Seq: next - 1})
		}
	}
	if errors.Is(err, protocol.NotMember) || errors.Is(err, protocol.NoSuchGroup) {
		t.gone, t.first = len(t.waiting) == 0, 0
	}
}
