package chat

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// SendOptions are what Service.Send does besides.
type SendOptions struct {
	// ID makes a repeated Send the same message: a message with an ID that its sender has used in the conversation is stored and delivered once.
	// The zero value means a new ID.
	ID uuid.UUID
	// Anonymous hides the sender from the readers.
	Anonymous bool
}

var chatOperations = operations{
	protocol.ChatSend:          sendOp,
	protocol.ChatHistory:       historyOp,
	protocol.ChatRecall:        recallOp,
	protocol.ChatConversations: conversationsOp,
}

// Send stores a message, delivers it, and returns it with its number and time. It copies the content. When the error is protocol.NotStored, or ctx's
// own, the message may be stored or not: another Send with the same ID finds out, and stores it if it was not.
func (s *Service) Send(ctx context.Context, from string, to Conversation, typ uint16, content []byte, o SendOptions) (Message, error) {
	p := &Post{Group: to.Group, To: to.With, From: from, Anonymous: o.Anonymous, ID: o.ID, Type: typ, Content: append([]byte(nil), content...)}
	if p.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return Message{}, fmt.Errorf("rollcall: an ID for a message: %w", err)
		}
		p.ID = id
	}
	if err := s.checkPost(p); err != nil {
		return Message{}, err
	}
	stored, err := s.post(ctx, p)
	if err != nil {
		return Message{}, err
	}
	return stored.message(), nil
}

// Recall takes a message back: its content leaves the store, and a recall is delivered. by has sent the message, or is Server, which may recall
// each message of a group, and its own to users, at any time. The conversation is as by names it; of o Anonymous counts alone. The result
// is the number of the recall.
func (s *Service) Recall(ctx context.Context, by string, of Conversation, seq uint64, o SendOptions) (uint64, error) {
	p := &Post{Group: of.Group, To: of.With, From: by, Anonymous: o.Anonymous, Recalls: seq, ID: uuid.New()}
	if err := s.checkPost(p); err != nil {
		return 0, err
	}
	stored, err := s.post(ctx, p)
	return stored.Seq, err
}

// post has a post stored, and returns it with its outcome.
func (s *Service) post(ctx context.Context, p *Post) (stored Post, err error) {
	if err := s.users.await(ctx, p.To); err != nil {
		return Post{}, err
	}
	done := make(chan Post, 1)
	if err := s.submit(p, nil, func(p *Post) { done <- *p }); err != nil {
		return Post{}, err
	}
	select {
	case stored = <-done:
		return stored, stored.Err
	case <-ctx.Done():
		return Post{}, ctx.Err()
	}
}

// submit hands a post to its writer. answered is called when the outcome is known.
func (s *Service) submit(p *Post, but *engine.Conn, answered func(*Post)) error {
	t := &task{key: p.Key(), post: p, but: but, answered: answered}
	return s.writerOf(t.key).put(t)
}

// checkPost says what is wrong with a post, as far as no store needs to be asked.
func (s *Service) checkPost(p *Post) error {
	switch {
	case (p.Group == 0) == (p.To == ""):
		return protocol.Errorf(protocol.Incomplete, "a message is for a group or for a user")
	case p.Group >= 1<<63:
		return errNoSuchGroup
	case p.To == p.From && !p.Anonymous:
		return protocol.Errorf(protocol.Incomplete, "a message to oneself")
	case p.Recalls >= 1<<63:
		return errNoSuchMessage
	case p.Recalls != 0 && len(p.Content) == 0: // Type and ID are not the client's
	case p.Recalls != 0, p.ID == uuid.Nil:
		return protocol.Errorf(protocol.Incomplete, "a message needs an ID, and a recall has no content")
	case p.Type == 0 || p.Type >= protocol.FirstSystemType:
		return protocol.Errorf(protocol.Incomplete, "the message type 0x%04x is not the application's", p.Type)
	case len(p.Content) > s.cfg.Limits.Content:
		return protocol.Errorf(protocol.Refused, "a message of %d bytes, %d is the most", len(p.Content), s.cfg.Limits.Content)
	}
	for _, id := range []string{p.From, p.To} {
		if id != "" && id != Server {
			if err := protocol.CheckUserID(id); err != nil {
				return protocol.Errorf(protocol.Incomplete, "%v", err)
			}
		}
	}
	return nil
}

func sendOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	to, anonymous := f.conversation(false), f.flag("anonymous", false)
	id, typ, content, err := system.ParsePost(r.Content)
	if err != nil {
		f.fail("%v", err)
	}
	if f.err != nil {
		return nil, nil, f.err
	}
	return r.post(ctx, &Post{Group: to.Group, To: to.With, From: r.user, Anonymous: anonymous, ID: id, Type: typ, Content: content},
		func(p *Post) map[string]string {
			return map[string]string{"seq": decimal(p.Seq), "time-ms": unixMS(p.Time)}
		})
}

func recallOp(ctx context.Context, r *request) (map[string]string, []byte, error) {
	f := r.read()
	of, anonymous := f.conversation(false), f.flag("anonymous", false)
	seq, _ := f.number("seq")
	if seq == 0 {
		f.fail("the field \"seq\" is missing or 0")
	}
	if f.err != nil {
		return nil, nil, f.err
	}
	return r.post(ctx, &Post{Group: of.Group, To: of.With, From: r.user, Anonymous: anonymous, ID: uuid.New(), Recalls: seq},
		func(p *Post) map[string]string { return map[string]string{"seq": decimal(p.Seq)} })
}

// post has a client's post stored; the deliverer answers.
func (r *request) post(ctx context.Context, p *Post, reply func(*Post) map[string]string) (map[string]string, []byte, error) {
	s := r.service
	if err := s.checkPost(p); err != nil {
		return nil, nil, err
	}
	if err := s.users.await(ctx, p.To); err != nil {
		return nil, nil, err
	}
	err := s.submit(p, r.conn, func(p *Post) {
		if p.Err != nil {
			r.refuse(p.Err)
			return
		}
		r.answer(reply(p), nil)
	})
	if err != nil {
		return nil, nil, err
	}
	return nil, nil, errLater
}
