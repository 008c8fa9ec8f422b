package chat

import (
	"context"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// told says what was delivered here of a conversation. A conversation that is not kept, or has not begun, counts as delivered up to the next
// message that is stored, but for what is late.
type told struct {
	begun  bool    // last and from are set
	last   uint64  // the last number
	from   uint64  // nothing was delivered up to this number since the conversation is kept
	roster *roster // of a group, as of the last message or change; nil for none yet
	late   []late  // posts of this server that are not delivered, mostInBatch of them at most

	doubted []string // users of a group, while roster is nil: see doubt
}

// late is a post that was not delivered in its turn: because the store could not be read, or because its transaction has failed, and has
// perhaps stored it.
type late struct {
	from    string
	id      uuid.UUID
	recalls uint64
	but     *engine.Conn // the session that has its number, and gets no copy; nil for none
}

// put notes a post that is not delivered.
func (at *told) put(p *Post, but *engine.Conn) {
	if len(at.late) == mostInBatch {
		at.late = slices.Delete(at.late, 0, 1)
	}
	at.late = append(at.late, late{p.From, p.ID, p.Recalls, but})
}

// find returns the late post that a message or a repeated post is, or nil. A recall that is repeated has a new ID.
func (at *told) find(from string, id uuid.UUID, recalls uint64) *late {
	for i := range at.late {
		if l := &at.late[i]; l.from == from && (l.id == id || recalls != 0 && l.recalls == recalls) {
			return l
		}
	}
	return nil
}

// A message is never dropped: a client that does not keep up is closed, and reads what it has missed when it is back.
var deliverOptions = &engine.SendOptions{Policy: engine.SlowClose}

// deliver answers the sender of a post, and delivers what was stored.
func (w *writer) deliver(t *task) {
	s, p := w.service, t.post
	switch {
	case p.Err != nil:
		s.refusedPosts.Add(1)
	case p.Dup && !t.unknown:
		s.repeated.Add(1)
	default:
		s.stored.Add(1)
		if p.Recalls != 0 {
			s.recalled.Add(1)
		}
	}
	t.answered(p)
	if p.Err != nil && p.Err != errNotStored {
		return
	}
	at, _ := w.told.get(t.key)
	switch {
	case p.Err != nil:
		at.put(p, nil)
	case w.deliverUpTo(t, &at):
		at.late = nil // all that was stored before is delivered
	default:
		at.put(p, t.but)
	}
	w.keep(t.key, at)
}

// deliverUpTo delivers a post that was stored. What was stored before, and is not delivered here, comes first: after a transaction whose outcome
// was not known, or from another node. It returns false if the store could not be read.
func (w *writer) deliverUpTo(t *task, at *told) bool {
	p := t.post
	before, upTo := p.Seq-1, p.Seq-1
	if p.Dup {
		upTo = p.Seq
		if !t.unknown {
			before = p.Seq
		}
	}
	if !w.begin(t.key, at, before, p.Seq+1) {
		return false
	}
	if at.last < upTo && !w.catchUp(t, at, upTo) {
		return false
	}
	if at.last < p.Seq {
		m := p.message()
		return w.deliverMessage(at, &m, p.Version, true, t.but)
	}
	return true
}

// begin sets what counts as delivered of a conversation that has not begun: all up to a number, but not the late posts that are stored below
// another one. It returns false if the store could not be read.
func (w *writer) begin(k Key, at *told, last, below uint64) bool {
	if at.begun {
		return true
	}
	if len(at.late) > 0 {
		var page Page
		err := w.service.withStore(func(ctx context.Context) (err error) {
			page, err = w.service.cfg.Store.History(ctx, k, "", Range{Before: below, Limit: mostInBatch, Bytes: mostCaughtUp})
			return err
		})
		if err != nil {
			w.service.failed("History", err)
			return false
		}
		for i := range page.Messages {
			if m := &page.Messages[i]; at.find(m.From, m.ID, m.Recalls) != nil {
				last = min(last, m.Seq-1)
			}
		}
	}
	at.begun, at.last, at.from = true, last, last
	return true
}

// mostCaughtUp is how many bytes are read at a time of what was not delivered.
const mostCaughtUp = 4 << 20

// keep notes what was delivered.
func (w *writer) keep(k Key, at told) {
	weight := 1 + len(at.late)
	if at.roster != nil {
		weight += len(at.roster.ids)
	}
	w.told.put(k, at, weight)
}

// catchUp delivers what is stored after at.last, up to a number. It returns false if the store has failed: the next message tries again.
func (w *writer) catchUp(t *task, at *told, upTo uint64) bool {
	s, p := w.service, t.post
	for at.last < upTo {
		var page Page
		err := s.withStore(func(ctx context.Context) (err error) {
			page, err = s.cfg.Store.History(ctx, t.key, "", Range{After: at.last, FromStart: true, Limit: mostInBatch, Bytes: mostCaughtUp})
			return err
		})
		if err != nil {
			s.failed("History", err)
			return false
		}
		if len(page.Messages) == 0 { // it is not kept any more
			at.last = upTo
		}
		for i := range page.Messages {
			m := &page.Messages[i]
			if m.Seq > upTo {
				break
			}
			m.Conversation = Conversation{Group: t.key.Group}
			if t.key.Group == 0 {
				m.With = t.key.receiver(m.From)
			}
			but, mine := w.sentHere(t, at, m)
			if !w.deliverMessage(at, m, p.Version, s.elsewhere == nil || mine, but) {
				return false
			}
		}
	}
	return true
}

// sentHere reports whether a message was a post of this server that is not delivered, and which session gets no copy.
func (w *writer) sentHere(t *task, at *told, m *Message) (but *engine.Conn, is bool) {
	if t.post.Seq == m.Seq {
		return t.but, true
	}
	if l := at.find(m.From, m.ID, m.Recalls); l != nil {
		return l.but, true
	}
	if own := w.findOwn(t.key, m); own != nil {
		return own.but, true
	}
	return nil, false
}

// deliverMessage delivers one message. mine says that it was stored here: the program is told of it. It returns false if the group's members
// could not be read.
func (w *writer) deliverMessage(at *told, m *Message, version uint64, mine bool, but *engine.Conn) bool {
	s := w.service
	var to []string
	switch {
	case m.Group != 0:
		if at.roster == nil || at.roster.version < version {
			err := s.withStore(func(ctx context.Context) (err error) {
				at.roster, err = s.rosters.get(ctx, m.Group, version)
				return err
			})
			if err != nil {
				s.failed("Members", err)
				return false
			}
		}
		to = at.roster.readers(m.Seq)
	case m.Anonymous, m.From == Server:
		to = []string{m.With}
	default:
		to = []string{m.With, m.From}
	}
	at.last = m.Seq
	if mine {
		s.handlers.stored(m)
	}
	s.fanout(to, s.frameOf(m), but)
	if mine && m.Recalls == 0 && s.handlers.wantOffline() {
		s.tellOffline(to, m)
	}
	return true
}

// fanout sends a frame to all sessions of some users but one.
func (s *Service) fanout(users []string, m *protocol.Message, but *engine.Conn) {
	n, err := s.bridge.Engine().Broadcast(func(yield func(*engine.Conn) bool) {
		for c := range s.bridge.ConnsOf(users...) {
			if c != but && !yield(c) {
				return
			}
		}
	}, m, deliverOptions)
	s.delivered.Add(uint64(n))
	if err != nil { // a wire format that cannot have it, such as one of the application's
		s.log.Warn("chat: a message was not delivered to all sessions", zap.Error(err))
	}
}

// frameOf is the frame that delivers a message; m.With is the receiver of a message to a user.
func (s *Service) frameOf(m *Message) *protocol.Message {
	wire := m.wire()
	fields := map[string]string{"from": m.From, "to": m.With}
	switch {
	case m.Group != 0:
		fields = map[string]string{"group": strconv.FormatUint(uint64(m.Group), 10)}
	case m.Anonymous:
		fields["from"] = Anonymous
	}
	content, err := system.AppendStoredMessage(nil, &wire)
	if err != nil {
		panic("rollcall: chat: " + err.Error()) // IDs are checked before
	}
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: protocol.ChatMessage, Fields: fields, Content: content})
	if err != nil {
		panic("rollcall: chat: " + err.Error())
	}
	return &protocol.Message{Type: protocol.TypeChat, Body: body}
}

// tellOffline tells the program which receivers have no session.
func (s *Service) tellOffline(to []string, m *Message) {
	var offline []string
	for _, id := range to {
		if id != m.From && len(s.bridge.Users().Links(id)) == 0 && !(s.elsewhere != nil && seam.IsElsewhere(s.presence, id)) {
			offline = append(offline, id)
		}
	}
	if len(offline) > 0 {
		s.handlers.offline(m, offline)
	}
}

// message is the post as it is stored.
func (p *Post) message() Message {
	m := Message{
		Conversation: Conversation{Group: p.Group, With: p.To}, Seq: p.Seq, ID: p.ID, From: p.From, Time: p.Time, Type: p.Type,
		Anonymous: p.Anonymous, Recalls: p.Recalls, Content: p.Content,
	}
	return m
}
