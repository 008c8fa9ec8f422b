package chat

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// elsewhere tells the services on other servers of a cluster what was stored here, and hears the same of them. What is told names a conversation and
// numbers; the service that hears it reads the messages from the store and delivers them to the sessions there. All methods do nothing
// where there are no other servers.
type elsewhere struct {
	service *Service
	teller  seam.Teller
	stop    func()

	every time.Duration // againAfter

	mu     sync.Mutex
	recent map[Key]news // told since the last beat; it is told once more, because frames may be lost
	ended  bool
}

// news says that the messages of a conversation with these numbers are stored.
type news struct {
	first, last uint64
	version     uint64 // of the group, at the last one
}

// add is what both say.
func (n news) add(o news) news {
	if n.last == 0 {
		return o
	}
	return news{min(n.first, o.first), max(n.last, o.last), max(n.version, o.version)}
}

// againAfter is how often what was told is told once more.
var againAfter = 5 * time.Second // a variable for the tests alone

const (
	serviceName = "chat"
	mostRecent  = 10_000
)

// The kinds of what services tell each other. The numbers are on the wire: a new kind goes to the end, and kinds that are not known are
// ignored.
const (
	saidStored uint8 = iota + 1 // conversations, with numbers that are stored
	saidNotice                  // a notice for all sessions of some users
)

func (s *Service) joinOthers() {
	t := seam.TellerOf(s.bridge)
	if t == nil {
		return
	}
	e := &elsewhere{service: s, teller: t, every: againAfter, recent: make(map[Key]news)}
	s.elsewhere = e
	e.stop = t.Hear(serviceName, e.heard, func([]uint32) {})
	time.AfterFunc(e.every, e.again)
}

func (e *elsewhere) end() {
	if e == nil {
		return
	}
	e.stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
}

// stored tells the other servers what of a batch was stored.
func (e *elsewhere) stored(batch []*task) {
	if e == nil {
		return
	}
	all := make(map[Key]news)
	for _, t := range batch {
		if p := t.post; p != nil && p.Err == nil && (!p.Dup || t.unknown) {
			all[t.key] = all[t.key].add(news{p.Seq, p.Seq, p.Version})
		}
	}
	if len(all) == 0 {
		return
	}
	e.tell(all)
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, n := range all {
		if old, known := e.recent[k]; known || len(e.recent) < mostRecent {
			e.recent[k] = old.add(n)
		}
	}
}

// again tells once more what was told since the last time.
func (e *elsewhere) again() {
	e.mu.Lock()
	all, ended := e.recent, e.ended
	e.recent = make(map[Key]news)
	e.mu.Unlock()
	if ended {
		return
	}
	e.tell(all)
	time.AfterFunc(e.every, e.again)
}

func (e *elsewhere) tell(all map[Key]news) {
	b := []byte{saidStored}
	for k, n := range all {
		b = binary.AppendUvarint(b, uint64(k.Group))
		b = appendString(appendString(b, k.A), k.B)
		for _, v := range []uint64{n.first, n.last, n.version} {
			b = binary.AppendUvarint(b, v)
		}
		if len(b) > seam.MaxTold-1024 { // an item has less
			e.teller.Tell(serviceName, 0, b)
			b = []byte{saidStored}
		}
	}
	if len(b) > 1 {
		e.teller.Tell(serviceName, 0, b)
	}
}

// notice has the other servers send a notice to the sessions of some users there.
func (e *elsewhere) notice(users []string, m *protocol.Message) {
	if e == nil {
		return
	}
	head := binary.BigEndian.AppendUint16([]byte{saidNotice}, m.Type)
	head = appendString(head, string(m.Body))
	b := slices.Clone(head)
	for _, id := range users {
		b = appendString(b, id)
		if len(b) > seam.MaxTold-1024 {
			e.teller.Tell(serviceName, 0, b)
			b = slices.Clone(head)
		}
	}
	if len(b) > len(head) {
		e.teller.Tell(serviceName, 0, b)
	}
}

// heard takes what another server has told.
func (e *elsewhere) heard(_ uint32, b []byte) {
	if len(b) == 0 {
		return
	}
	r := reading{b: b[1:]}
	switch b[0] {
	case saidStored:
		for len(r.b) > 0 && !r.bad {
			k := Key{Group: GroupID(r.number()), A: r.string(), B: r.string()}
			n := news{r.number(), r.number(), r.number()}
			if !r.bad && n.first > 0 {
				e.service.writerOf(k).hear(k, n)
			}
		}
	case saidNotice:
		if len(r.b) < 2 {
			r.bad = true
			break
		}
		m := &protocol.Message{Type: binary.BigEndian.Uint16(r.b)}
		r.b = r.b[2:]
		m.Body = []byte(r.string())
		var users []string
		for len(r.b) > 0 && !r.bad {
			users = append(users, r.string())
		}
		if !r.bad {
			e.service.fanout(users, m, nil)
		}
	}
	if r.bad {
		e.service.log.Warn("chat: another server has told something malformed", zap.Int("bytes", len(b)))
	}
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reading reads what another server has told.
type reading struct {
	b   []byte
	bad bool
}

func (r *reading) number() uint64 {
	n, used := binary.Uvarint(r.b)
	if used <= 0 {
		r.bad, used = true, 0
	}
	r.b = r.b[used:]
	return n
}

func (r *reading) string() string {
	n := r.number()
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// hear queues what another server has stored of a conversation, for the deliverer.
func (w *writer) hear(k Key, n news) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heard == nil {
		w.heard = make(map[Key]news)
	}
	old, waits := w.heard[k]
	if !waits {
		w.hearing = append(w.hearing, k)
	}
	w.heard[k] = old.add(n)
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// sent is what tells a post from others.
type sent struct {
	key  Key
	from string
	id   uuid.UUID
}

// noteOwn notes a post that is to be stored and delivered. w.mu is held on entry.
func (w *writer) noteOwn(t *task) {
	if w.service.elsewhere == nil || t.post == nil {
		return
	}
	if w.own == nil {
		w.own = make(map[sent]*task)
	}
	if s := (sent{t.key, t.post.From, t.post.ID}); w.own[s] == nil {
		w.own[s] = t
	}
}

func (w *writer) forgetOwn(t *task) {
	if w.service.elsewhere == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := (sent{t.key, t.post.From, t.post.ID}); w.own[s] == t {
		delete(w.own, s)
	}
}

// findOwn returns the post that a message was here and that is not delivered; nil for another server's.
func (w *writer) findOwn(k Key, m *Message) *task {
	if w.service.elsewhere == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.own[sent{k, m.From, m.ID}]
}

// hasOwn reports whether posts of a conversation are not delivered.
func (w *writer) hasOwn(k Key) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for of := range w.own {
		if of.key == k {
			return true
		}
	}
	return false
}

// withOwn has the messages right before the first one that is delivered delivered too, if they are this server's: they are stored, and their
// transaction has not returned. A repeat of an older message is none of them.
func (w *writer) withOwn(k Key, at *told) {
	if at.last == 0 || !w.hasOwn(k) {
		return
	}
	var page Page
	err := w.service.withStore(func(ctx context.Context) (err error) {
		page, err = w.service.cfg.Store.History(ctx, k, "", Range{Before: at.last + 1, Limit: mostInBatch, Bytes: mostCaughtUp})
		return err
	})
	if err != nil {
		w.service.failed("History", err)
		return
	}
	for i := range slices.Backward(page.Messages) {
		if m := &page.Messages[i]; m.Seq != at.last || w.findOwn(k, m) == nil {
			return
		}
		at.last--
		at.from--
	}
}

// deliverHeard delivers what other servers have stored.
func (w *writer) deliverHeard() {
	w.mu.Lock()
	keys, all := w.hearing, w.heard
	w.hearing, w.heard = nil, nil
	w.mu.Unlock()
	for _, k := range keys {
		n := all[k]
		t := &task{key: k, post: &Post{Group: k.Group, Version: n.version}}
		at, _ := w.told.get(k)
		switch {
		case !at.begun:
			if !w.begin(k, &at, n.first-1, n.first) {
				continue // it is told once more
			}
			w.withOwn(k, &at)
		case n.first <= at.from: // stored before the first one that was delivered here, and told later
			late := at
			late.last = n.first - 1
			w.catchUp(t, &late, min(n.last, at.from))
			at.roster, at.from = late.roster, n.first-1
		}
		if at.last < n.last {
			w.catchUp(t, &at, n.last)
		}
		w.keep(k, at)
	}
}

// receiver is the user who a message from a user is for, in a conversation of two.
func (k Key) receiver(from string) string {
	switch {
	case k.B == Anonymous, k.B == Server:
		return k.A
	case k.A == Anonymous, k.A == Server, k.A == from:
		return k.B
	}
	return k.A
}
