package presence

import (
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// A notice is never dropped: a client that does not keep up is closed, and watches anew when it is back.
var noticeOptions = &engine.SendOptions{Policy: engine.SlowClose}

// note adds what the present tick tells a watcher.
func (s *Service) note(w *watcher, p Presence) {
	s.ticks.spent++
	s.told.Add(1)
	if len(w.out) == 0 {
		s.ticks.touched = append(s.ticks.touched, w)
	}
	w.out = append(w.out, p)
}

// send sends what the tick tells: to each session a notice for each name.
func (s *Service) send() {
	single := make(map[Presence]*protocol.Message) // most watchers are told of one change, and many of the same
	for _, w := range s.ticks.touched {
		var by [Stealth + 1][]Presence
		for _, p := range w.out {
			by[p.State] = append(by[p.State], p)
		}
		w.out = nil
		for state, all := range by {
			if len(all) != 1 {
				s.sendNotices(w, State(state), all)
				continue
			}
			m := single[all[0]]
			if m == nil {
				m = s.notices(State(state), all)[0]
				single[all[0]] = m
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
	for len(all) > 0 {
		var body []byte
		body, all = s.encode(&protocol.Operation{Op: protocol.PresenceNotice, Fields: map[string]string{"name": s.cfg.Names.name(state)}}, all)
		ms = append(ms, &protocol.Message{Type: protocol.TypePresence, Body: body})
	}
	return ms
}

// encode returns the body of an operation with as many of some users as fit, and the rest. One always fits.
func (s *Service) encode(o *protocol.Operation, all []Presence) (body []byte, rest []Presence) {
	for n := len(all); ; n = (n + 1) / 2 {
		list, rest, err := system.AppendPresences(nil, all[:n])
		if err != nil { // an ID of the application's that is no user's: no session can have it
			return s.encode(o, withoutFaults(all))
		}
		o.Content = list
		body, err := protocol.AppendOperation(nil, o)
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
