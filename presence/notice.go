package presence

import (
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// A notice is never dropped: a client that does not keep up is closed, and watches anew when it is back.
var noticeOptions = &engine.SendOptions{Policy: engine.SlowClose}

// note adds what the present tick tells a watcher.
func (s *Service) note(w *watcher, p *Presence) {
	s.ticks.spent++
	if len(w.out) == 0 {
		s.ticks.touched = append(s.ticks.touched, w)
	}
	w.out = append(w.out, p)
}

// send sends what the tick tells: to each session a notice for each name.
func (s *Service) send() {
	var by [Stealth + 1][]Presence
	var last [len(by)]*Presence
	single := make(map[*Presence]*protocol.Message) // most watchers are told of one change, and many of the same
	for _, w := range s.ticks.touched {
		s.told.Add(uint64(len(w.out)))
		for _, p := range w.out {
			by[p.State], last[p.State] = append(by[p.State], *p), p
		}
		w.out = nil
		for state, all := range by {
			by[state] = all[:0]
			if len(all) != 1 {
				s.sendNotices(w, State(state), all)
				continue
			}
			m := single[last[state]]
			if m == nil {
				m = s.notices(State(state), all)[0]
				single[last[state]] = m
			}
			s.sendTo(w, m)
		}
	}
	s.ticks.touched = nil
}

func (s *Service) sendNotices(w *watcher, state State, all []Presence) {
	for _, m := range s.notices(state, all) {
		s.sendTo(w, m)
	}
}

func (s *Service) sendTo(w *watcher, m *protocol.Message) {
	for c := range w.sessions {
		s.sendOne(c, m)
	}
}

func (s *Service) sendOne(c *engine.Conn, m *protocol.Message) {
	s.frames.Add(1)
	_ = c.SendMessage(m, noticeOptions) // it fails for a connection that ends
}

// notices returns the notices of some users in one state: one, unless that would be too large.
func (s *Service) notices(state State, all []Presence) (ms []*protocol.Message) {
	o := protocol.Operation{Op: protocol.PresenceNotice, Fields: s.ticks.fields[state]}
	for len(all) > 0 {
		var body []byte
		body, all = s.encode(&o, all)
		ms = append(ms, &protocol.Message{Type: protocol.TypePresence, Body: body})
	}
	return ms
}

// operationRoom is enough for what an operation has besides its list, with the usual fields.
const operationRoom = 64

// encode returns the body of an operation with as many of some users as fit, and the rest. One always fits.
func (s *Service) encode(o *protocol.Operation, all []Presence) (body []byte, rest []Presence) {
	for n := len(all); ; n = (n + 1) / 2 {
		list, rest, err := system.AppendPresences(s.ticks.list[:0], all[:n])
		if err != nil { // an ID of the application's that is no user's: no session can have it
			return s.encode(o, withoutFaults(all))
		}
		s.ticks.list, o.Content = list, list
		body, err := protocol.AppendOperation(make([]byte, 0, len(list)+operationRoom), o)
		if err != nil || len(body) <= s.maxBody || n <= 1 {
			return body, all[n-len(rest):]
		}
	}
}

// withoutFaults leaves out what no list can have.
func withoutFaults(all []Presence) (rest []Presence) {
	for _, p := range all {
		if _, _, err := system.AppendPresences(nil, []Presence{p}); err == nil {
			rest = append(rest, p)
		}
	}
	return rest
}
