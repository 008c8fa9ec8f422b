package presence

import (
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// mostWaiting is how many requests may wait for their answers. More are refused.
const mostWaiting = 10_000

var (
	errBusy = error(&protocol.CloseError{Code: protocol.HandlerFailed, Text: "too many requests wait",
		Info: map[string]string{protocol.FieldRetryMS: "1000"}})
	errOp    = protocol.Errorf(protocol.Refused, "this server does not know the operation")
	errField = protocol.Errorf(protocol.Refused, "a field has a value that it cannot have")
)

// request is a client's request that is not answered yet.
type request struct {
	service *Service
	conn    *engine.Conn
	message protocol.Message // without its body
	op      uint8
}

// requested is the handler of protocol.TypePresence. It runs on the event loop, and leaves the work to the presence goroutine. Only a choice of
// Stealth acts here.
func (s *Service) requested(c *engine.Conn, m *protocol.Message) error {
	o, err := protocol.ParseOperation(m.Body)
	if err != nil {
		return protocol.Errorf(protocol.Refused, "%v", err)
	}
	var do func(*request)
	switch o.Op {
	case protocol.PresenceSet:
		state, ok := stateNamed(o.Fields["state"])
		if !ok {
			return errField
		}
		do = func(r *request) {
			s.table.choose(c.UserID(), state, func(err error) {
				if err != nil {
					r.refuse(err)
					return
				}
				r.answer(nil)
			})
		}
	case protocol.PresenceWatch:
		on, given := o.Fields["on"]
		switch {
		case !given || on == "1":
			do = func(r *request) { s.inbox.put(func() { s.watch(r) }) }
		case on == "0":
			do = func(r *request) { s.inbox.put(func() { s.unwatch(r) }) }
		default:
			return errField
		}
	case protocol.PresenceQuery:
		ids, err := system.ParseIDList(o.Content)
		if err != nil {
			return protocol.Errorf(protocol.Refused, "%v", err)
		}
		do = func(r *request) {
			s.inbox.put(func() {
				s.query(c.UserID(), ids, func(all []Presence, err error) {
					if err != nil {
						r.refuse(err)
						return
					}
					r.answerList(all)
				})
			})
		}
	default:
		return errOp
	}
	if s.waiting.Add(1) > mostWaiting {
		s.waiting.Add(-1)
		s.busy.Add(1)
		return errBusy
	}
	r := &request{service: s, conn: c, message: *m, op: o.Op}
	r.message.Body = nil
	do(r)
	return nil
}

// answer answers with the operation's content.
func (r *request) answer(content []byte) {
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: r.op, Content: content})
	if err != nil {
		r.refuse(err)
		return
	}
	r.reply(body)
}

// answerList answers with a presence list. What does not fit follows in notices.
func (r *request) answerList(all []Presence) {
	body, rest := r.service.encode(&protocol.Operation{Op: r.op}, all)
	r.reply(body)
	var by [Stealth + 1][]Presence
	for _, p := range rest {
		by[p.State] = append(by[p.State], p)
	}
	for state, all := range by {
		for _, m := range r.service.notices(State(state), all) {
			r.service.sendOne(r.conn, m)
		}
	}
}

func (r *request) reply(body []byte) {
	r.service.waiting.Add(-1)
	if r.message.ID != 0 { // the client expects an answer
		_ = r.conn.Reply(&r.message, body) // it fails for a connection that ends
	}
}

func (r *request) refuse(why error) {
	r.service.waiting.Add(-1)
	_ = r.conn.ReplyError(&r.message, why)
}
