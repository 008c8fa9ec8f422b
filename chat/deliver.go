package chat

import (
	"context"
	"strconv"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// told says what was delivered here of a conversation. A conversation that is not kept counts as delivered up to the next message that is stored.
type told struct {
	last   uint64  // the last number
	from   uint64  // nothing was delivered up to this number since the conversation is kept
	roster *roster // of a group, as of the last message or change; nil for none yet
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
	if p.Err != nil {
		return
	}
	at, found := w.told.get(t.key)
	if !found {
		at.last = p.Seq
		if !p.Dup || t.unknown {
			at.last--
		}
		at.from = at.last
	}
	// What was stored without being delivered here comes first: after a transaction whose outcome was not known, or from another node.
	upTo := p.Seq
	if !p.Dup {
		upTo--
	}
	if at.last < upTo && !w.catchUp(t, &at, upTo) {
		w.keep(t.key, at)
		return
	}
	if at.last < p.Seq {
		m := p.message()
		if !w.deliverMessage(&at, &m, p.Version, true, t.but) {
			w.keep(t.key, at)
			return
		}
	}
	w.keep(t.key, at)
}

// keep notes what was delivered.
func (w *writer) keep(k Key, at told) {
	weight := 1
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
			page, err = s.cfg.Store.History(ctx, t.key, "", Range{After: at.last, FromStart: true, Limit: mostInBatch, Bytes: 4 << 20})
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
			var but *engine.Conn
			own := w.findOwn(t.key, m)
			if own != nil { // it waits to be delivered
				but = own.but
			}
			if !w.deliverMessage(at, m, p.Version, s.elsewhere == nil || own != nil, but) {
				return false
			}
		}
	}
	return true
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
