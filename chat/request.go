package chat

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// operations are what a client may ask for with messages of one type, by their numbers.
type operations map[uint8]operation

// operation serves a request and returns the reply. With errLater it answers later by itself.
type operation func(ctx context.Context, r *request) (fields map[string]string, content []byte, err error)

var errLater = errors.New("chat: answered later")

// request is a client's request that is not answered yet.
type request struct {
	service *Service
	conn    *engine.Conn
	user    string
	message protocol.Message // without its body
	body    []byte           // a copy
	protocol.Operation
	do operation
}

// requested is the handler of the three types. It runs on an event loop: it reads the request and leaves the work to the user's lane.
func (s *Service) requested(c *engine.Conn, m *protocol.Message, all operations) error {
	r := &request{service: s, conn: c, user: c.UserID(), message: *m, body: slices.Clone(m.Body)}
	r.message.Body = nil
	var err error
	if r.Operation, err = protocol.ParseOperation(r.body); err != nil {
		return protocol.Errorf(protocol.Incomplete, "%v", err)
	}
	if r.do = all[r.Op]; r.do == nil {
		return protocol.Errorf(protocol.Refused, "this server does not know the operation")
	}
	return s.lanes.put(r)
}

// perform serves the request, on the user's lane. A panic in the store is an error.
func (r *request) perform() {
	s := r.service
	ctx, cancel := s.storeContext(s.ctx)
	defer cancel()
	if err := r.allowed(ctx); err != nil {
		r.refuse(err)
		return
	}
	var fields map[string]string
	var content []byte
	var err error
	contain.Apart(func() { fields, content, err = r.do(ctx, r) }, func(why any) { err = contain.Error("the store", why) })
	switch {
	case err == nil:
		r.answer(fields, content)
	case !errors.Is(err, errLater):
		r.refuse(s.failed("a request", err))
	}
}

// allowed asks Config.Allow.
func (r *request) allowed(ctx context.Context) (err error) {
	ask := r.service.cfg.Allow
	if ask == nil {
		return nil
	}
	err = protocol.Errorf(protocol.HandlerFailed, "the request could not be checked")
	contain.Apart(func() {
		err = ask(ctx, Action{UserID: r.user, Type: r.message.Type, Op: r.Op, Fields: r.Fields, Content: r.Content})
	}, func(why any) { r.service.log.Error("chat: Allow", zap.Error(contain.Error("Allow", why))) })
	if err == nil || isRefusal(err) {
		return err
	}
	return protocol.Errorf(protocol.Refused, "%v", err)
}

// answer answers with what the operation replies.
func (r *request) answer(fields map[string]string, content []byte) {
	defer r.service.lanes.answered(r)
	if r.message.ID == 0 { // the client expects no answer
		return
	}
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: r.Op, Fields: fields, Content: content})
	if err != nil {
		_ = r.conn.ReplyError(&r.message, err)
		return
	}
	_ = r.conn.Reply(&r.message, body) // it fails for a connection that ends
}

func (r *request) refuse(why error) {
	defer r.service.lanes.answered(r)
	var code protocol.CloseCode
	if errors.As(why, &code) {
		r.service.handlers.refused(Refusal{UserID: r.user, Type: r.message.Type, Op: r.Op, Code: code})
	}
	_ = r.conn.ReplyError(&r.message, why)
}

// isRefusal reports whether an error is an answer, and no failure.
func isRefusal(err error) bool {
	var code protocol.CloseCode
	return errors.As(err, &code)
}

// failed returns the error for a client or a caller: err itself if it is a refusal; otherwise the store has failed, which is logged and counted.
func (s *Service) failed(what string, err error) error {
	if isRefusal(err) {
		return err
	}
	s.failures.Add(1)
	s.log.Warn("chat: the store has failed", zap.String("at", what), zap.Error(err))
	return &protocol.CloseError{Code: protocol.HandlerFailed, Text: "the store has failed", Info: map[string]string{protocol.FieldRetryMS: "1000"}}
}
